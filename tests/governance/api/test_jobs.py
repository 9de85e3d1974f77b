"""Jobs over HTTP: who sees which, waiting for one, and stopping it."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection, transaction

from governance.jobs import runner, services
from governance.jobs.kinds import SIMULATION
from governance.jobs.lifecycle import JobState
from governance.journal.sealing import seal
from governance.models import Job
from governance.operations import jobs
from identity.models import Workspace
from identity.roles import WorkspaceRole
from kernel.clock import utc_now
from kernel.record import system_actor
from tests.governance.api.stepping import fresh
from tests.governance.api.world import Caller, World, add_person, owner_principal

SHELL = system_actor("shell")
ULID = "01JD0000000000000000000000"


def queued(world: World, *, workspace_id: str | None = None) -> Job:
    with transaction.atomic():
        return services.queue_job(
            kind=SIMULATION,
            subject="pol_x",
            workspace_id=workspace_id or world.workspace.pk,
            total=10,
            actor=SHELL,
            now=utc_now(),
        )


@pytest.fixture
def operator(world: World) -> Caller:
    now = utc_now()
    with transaction.atomic():
        owner = owner_principal(world, now)
        return fresh(add_person("operator", world.workspace, owner, WorkspaceRole.OPERATOR, now=now))


@pytest.mark.django_db
def test_a_job_is_listed_shown_and_cancelled(world: World, operator: Caller) -> None:
    job = queued(world)
    shown: dict[str, Any] = operator.get(f"jobs/{job.pk}").json()
    assert (shown["object"], shown["state"], shown["total"], shown["error_code"]) == (
        "job",
        "queued",
        10,
        None,
    )
    assert operator.get("jobs").json()["data"] == [shown]
    assert operator.get("jobs?state=running").json()["data"] == []
    assert operator.get("jobs?state=queued&kind=simulation").json()["data"] == [shown]
    ended = operator.post(f"jobs/{job.pk}/cancel")
    assert (ended.status_code, ended.json()["state"], ended.json()["error_code"]) == (
        200,
        "cancelled",
        "job.cancelled",
    )
    again = operator.post(f"jobs/{job.pk}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "state_changed")


@pytest.mark.django_db
def test_a_running_job_is_asked_to_stop(world: World, operator: Caller) -> None:
    job = queued(world)
    jobs.claim(job_id=job.pk, worker_id="w:1", now=utc_now())
    answer = operator.post(f"jobs/{job.pk}/cancel", {}, Idempotency_Key="stop")
    assert (answer.status_code, answer.json()["state"], answer.json()["cancel_asked"]) == (
        202,
        "running",
        True,
    )
    repeated = operator.post(f"jobs/{job.pk}/cancel", {}, Idempotency_Key="stop")
    assert repeated.status_code == 202
    assert repeated.headers["Idempotency-Replayed"] == "true"


@pytest.mark.django_db
def test_without_the_permission_of_any_kind_there_is_nothing_to_see(world: World) -> None:
    job = queued(world)
    for caller in (world.agent, world.approver, world.stranger):
        for path in ("jobs", f"jobs/{job.pk}"):
            assert caller.get(path).status_code == 403, path
        assert caller.post(f"jobs/{job.pk}/cancel").status_code == 403
    assert world.nobody.get("jobs").status_code == 401
    job.refresh_from_db()
    assert job.state == "queued"


@pytest.mark.django_db
def test_a_job_of_another_place_answers_like_an_unknown_one(world: World, operator: Caller) -> None:
    foreign = queued(world, workspace_id=Workspace.objects.get(slug="instance").pk)
    unknown = operator.get(f"jobs/job_{ULID}")
    for answer in (operator.get(f"jobs/{foreign.pk}"), operator.post(f"jobs/{foreign.pk}/cancel"), unknown):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert operator.get("jobs").json()["data"] == []
    assert world.owner.get(f"jobs/{foreign.pk}").status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", ["jobs?state=lost", "jobs?kind=telepathy", "jobs?x=1", "jobs/job_1", f"jobs/job_{ULID}?wait=61"]
)
def test_what_is_not_understood_is_refused(world: World, operator: Caller, path: str) -> None:
    assert operator.get(path).status_code == 400


@pytest.mark.django_db
def test_cancelling_takes_no_body(world: World, operator: Caller) -> None:
    job = queued(world)
    assert operator.post(f"jobs/{job.pk}/cancel", {"reason": "x"}).status_code == 400
    job.refresh_from_db()
    assert job.state == "queued"


@pytest.mark.django_db
def test_a_job_that_has_ended_is_not_waited_for(world: World, operator: Caller) -> None:
    job = queued(world)
    operator.post(f"jobs/{job.pk}/cancel")
    assert operator.get(f"jobs/{job.pk}?wait=60").json()["state"] == "cancelled"


@pytest.mark.postgres
def test_waiting_ends_when_the_job_does(committed_world: World) -> None:
    world = committed_world
    job = queued(world)
    jobs.claim(job_id=job.pk, worker_id="w:1", now=utc_now())
    claimed = Job.objects.get(pk=job.pk)
    found: list[dict[str, Any]] = []

    def wait() -> None:
        try:
            found.append(world.owner.get(f"jobs/{job.pk}?wait=30").json())
        finally:
            connection.close()

    thread = threading.Thread(target=wait)
    thread.start()
    services_ended = services.Ended(JobState.FAILED, "job.failed")
    jobs.abandon(job=claimed, ended=services_ended, now=utc_now())
    thread.join(timeout=25)
    assert [one["state"] for one in found] == ["failed"]


@pytest.mark.django_db
def test_the_journal_is_verified_by_a_job_whose_answer_has_the_report(world: World) -> None:
    seal(now=utc_now())
    owner, body = world.owner, {"from": 0, "cross_check": True}
    answer = owner.post("journal/verify", body, Idempotency_Key="verify")
    started = answer.json()
    assert (answer.status_code, started["kind"], started["state"]) == (202, "journal_verify", "queued")
    replayed = owner.post("journal/verify", body, Idempotency_Key="verify")
    assert (replayed.status_code, replayed.json()["id"]) == (202, started["id"])
    again = owner.post("journal/verify", {})
    assert (again.status_code, again.json()["code"]) == (409, "conflict")

    assert runner.work("w:1", utc_now) == 1

    shown = owner.get(f"jobs/{started['id']}").json()
    assert (shown["state"], shown["result"]["clean"], shown["result"]["findings"]) == ("succeeded", True, [])
    assert shown["done"] == shown["total"] == shown["result"]["events"] > 0


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"from": -1}, 422, "invalid"),
        ({"to": "7"}, 422, "invalid"),
        ({"quick": 1}, 422, "invalid"),
        ({"against": "/etc/passwd"}, 400, "unknown_field"),
        ({"from": 10**9}, 422, "invalid_range"),
        ({"from": 5, "to": 4}, 422, "invalid_range"),
        ({"to": 2**60}, 400, "malformed_json"),
    ],
)
def test_a_wish_to_verify_that_cannot_be_fulfilled(
    world: World, body: object, status: int, code: str
) -> None:
    seal(now=utc_now())
    answer = world.owner.post("journal/verify", body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert not Job.objects.exists()
