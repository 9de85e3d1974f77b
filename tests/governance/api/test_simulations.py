"""Simulations and shadows over HTTP: who may, what comes back, what is refused, and whose calls are shown."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import transaction

from governance.api.wire_simulations import flips_as_csv
from governance.jobs.services import MOST_OPEN
from governance.journal.models import JournalEvent
from governance.models import Job
from identity.models import Workspace
from identity.roles import WorkspaceRole
from kernel.clock import utc_now
from policy.models import DecisionRecord, PolicySet, ShadowResult, SimulationFlip, SimulationRun
from policy.set_selectors import active_set
from tests.governance.api.stepping import fresh
from tests.governance.api.world import Answer, Caller, World, add_person, owner_principal
from tests.policy.recording import FORBID_ALL, FORBID_EVIL, draft_with, validated_with

pytestmark = pytest.mark.django_db
BROKEN = '@id("broken") permit(principal, action, resource) when { context.nothing };'
ELSEWHERE = "wsp_01JD00000000000000000ELSEW"


@dataclass(frozen=True, slots=True)
class People:
    """An administrator of the instance, one of the workspace, and one of its operators."""

    world: World
    wide: Caller
    local: Caller
    operator: Caller


@pytest.fixture
def people(world: World) -> People:
    now = utc_now()
    with transaction.atomic():
        owner = owner_principal(world, now)
        instance = Workspace.objects.get(slug="instance")
        wide = add_person("wide", instance, owner, WorkspaceRole.ADMIN, now=now)
        local = add_person("local", world.workspace, owner, WorkspaceRole.ADMIN, now=now)
        operator = add_person("operator", world.workspace, owner, WorkspaceRole.OPERATOR, now=now)
    for number in range(3):
        world.agent.propose("echo", {"text": str(number)})
    return People(world, fresh(wide), fresh(local), fresh(operator))


def simulate(caller: Caller, policy_set: PolicySet, **body: object) -> Answer:
    return caller.post(f"policy-sets/{policy_set.pk}/simulate", body)


def done(caller: Caller, policy_set: PolicySet, **body: object) -> dict[str, Any]:
    answer = simulate(caller, policy_set, **body)
    assert answer.status_code == 200, answer.content
    made: dict[str, Any] = answer.json()
    return made


def elsewhere() -> str:
    """Move one record to another workspace, as if an agent there had made the call; return its id."""
    record = DecisionRecord.objects.order_by("pk").last()
    assert record is not None
    DecisionRecord.objects.filter(pk=record.pk).update(workspace_id=ELSEWHERE)
    return record.pk


def test_a_simulation_answers_its_counts_and_can_be_read_again(people: People) -> None:
    draft = draft_with(FORBID_ALL, now=utc_now())
    made = done(people.wide, draft)
    active = active_set()
    assert active is not None
    assert (made["object"], made["number"], made["state"]) == ("policy_simulation", 1, "succeeded")
    assert made["against"] == {"id": active.pk, "hash": active.hash}
    assert (made["total"], made["tightened"], made["loosened"]) == (3, 3, 0)
    assert made["matrix"] == {"allow": {"deny": 3}}
    assert made["asked"] == {"n": 1000, "since": None, "agent": None, "tool": None, "workspace": None}
    path = f"policy-sets/{draft.pk}/simulations"
    assert people.wide.get(f"{path}/1").json() == made
    assert people.wide.get(path).json()["data"] == [made]
    assert JournalEvent.objects.filter(type="policy.simulated", subject=draft.pk).count() == 1


def test_flips_are_a_list_and_a_spreadsheet(people: People) -> None:
    draft = draft_with(FORBID_ALL, now=utc_now())
    done(people.wide, draft)
    path = f"policy-sets/{draft.pk}/simulations/1/flips"
    flips = people.wide.get(f"{path}?limit=2").json()
    assert (len(flips["data"]), flips["has_more"]) == (2, True)
    rest = people.wide.get(f"{path}?limit=2&cursor={flips['next_cursor']}").json()
    assert len(rest["data"]) == 1
    (one,) = rest["data"]
    assert (one["direction"], one["old_effect"], one["new_effect"], one["new_policies"]) == (
        "tightened",
        "allow",
        "deny",
        ["no_tools"],
    )
    assert people.wide.get(f"{path}?direction=loosened").json()["data"] == []
    assert len(people.wide.get(f"{path}?direction=tightened&direction=loosened").json()["data"]) == 3
    answer = people.wide.get(f"{path}?format=csv")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["Content-Disposition"]
    rows = list(csv.reader(io.StringIO(answer.content.decode())))
    assert (rows[0][0], len(rows), rows[1][0]) == ("direction", 4, "tightened")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_of_the_spreadsheet_is_a_formula(start: str) -> None:
    flip = SimulationFlip(
        record_id="evt_1",
        principal_id=f"{start}cmd|'/c calc'!A0",
        resource_id=f'{start}HYPERLINK("x"),"\r\nnext',
        old_effect="allow",
        new_effect="deny",
        old_policies=[f"{start}one", "two"],
        direction="tightened",
        exact=True,
        decided_at=utc_now(),
    )
    rows = list(csv.reader(io.StringIO(flips_as_csv([flip]), newline="")))
    assert len(rows) == 2
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in rows[1])
    assert f"'{start}one two" in rows[1]


def test_somebody_of_a_workspace_replays_its_records_and_that_allows_no_activation(people: People) -> None:
    moved = elsewhere()
    policy_set = validated_with(FORBID_ALL, now=utc_now())
    made = done(people.operator, policy_set)
    assert (made["total"], made["available"]) == (2, 3)
    assert made["asked"]["workspace"] == people.world.workspace.pk
    assert moved not in set(SimulationFlip.objects.values_list("record_id", flat=True))
    tag = people.wide.get(f"policy-sets/{policy_set.pk}").headers["ETag"]
    body = {"reason": "because it is safer", "simulation": 1, "acknowledged_loosened": 0}
    refused = people.wide.post(f"policy-sets/{policy_set.pk}/activate", body, If_Match=tag)
    assert (refused.status_code, refused.json()["code"]) == (409, "simulation_stale")


def test_flips_of_another_workspace_are_shown_to_the_instance_only(people: People) -> None:
    moved = elsewhere()
    draft = draft_with(FORBID_ALL, now=utc_now())
    assert done(people.wide, draft)["total"] == 3
    path = f"policy-sets/{draft.pk}/simulations/1/flips"
    assert len(people.wide.get(path).json()["data"]) == 3
    for reader in (people.local, people.operator, people.world.auditor):
        shown = people_rows(reader, path)
        assert len(shown) == 2
        assert moved not in {row["record_id"] for row in shown}
        assert moved not in reader.get(f"{path}?format=csv").content.decode()


def people_rows(caller: Caller, path: str) -> list[dict[str, Any]]:
    answer = caller.get(path)
    assert answer.status_code == 200, answer.content
    rows: list[dict[str, Any]] = answer.json()["data"]
    return rows


def test_agents_auditors_and_strangers_simulate_nothing(people: People) -> None:
    draft = draft_with(FORBID_ALL, now=utc_now())
    world = people.world
    for caller in (world.agent, world.auditor, world.approver, world.stranger):
        answer = simulate(caller, draft)
        assert answer.status_code == 403, answer.content
    assert world.nobody.post(f"policy-sets/{draft.pk}/simulate").status_code == 401
    assert not SimulationRun.objects.exists()
    for caller in (world.agent, world.stranger):
        assert caller.get(f"policy-sets/{draft.pk}/simulations/1").status_code == 403
        assert caller.get(f"policy-sets/{draft.pk}/simulations/1/flips").status_code == 403


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"n": 0}, 422),
        ({"n": 50_001}, 422),
        ({"n": "10"}, 422),
        ({"since": "yesterday"}, 422),
        ({"since": "2026-01-05T00:00:00"}, 422),
        ({"agent": 5}, 422),
        ({"tool": "x" * 65}, 422),
        ({"tool": "a\u0000b"}, 422),
        ({"workspace": "wsp_1"}, 400),
        ({"records": 5}, 400),
        ([], 400),
    ],
)
def test_a_body_that_is_not_understood_simulates_nothing(people: People, body: Any, status: int) -> None:
    draft = draft_with(FORBID_ALL, now=utc_now())
    answer = people.wide.post(f"policy-sets/{draft.pk}/simulate", body)
    assert answer.status_code == status, answer.content
    assert not SimulationRun.objects.exists()


@pytest.mark.parametrize(
    "path",
    [
        "policy-sets/pol_01JD0000000000000000000000/simulations/1",
        "policy-sets/pol_01JD0000000000000000000000/simulations/1/flips",
        "policy-sets/pol_01JD0000000000000000000000/shadow-results",
        "policy-sets/active/simulations/1",
        "policy-sets/active/simulations/999999999",
    ],
)
def test_what_does_not_exist_is_not_found(people: People, path: str) -> None:
    assert people.wide.get(path).status_code == 404


@pytest.mark.parametrize("number", ["0", "-1", "one", "1.0", "01", "9999999999", "\u0661"])
def test_a_number_that_is_none_is_refused(people: People, number: str) -> None:
    assert people.wide.get(f"policy-sets/active/simulations/{number}").status_code == 400


@pytest.mark.parametrize("query", ["direction=sideways", "format=xml", "since=1", "limit=0"])
def test_a_query_that_is_not_understood_is_refused(people: People, query: str) -> None:
    draft = draft_with(FORBID_ALL, now=utc_now())
    done(people.wide, draft)
    assert people.wide.get(f"policy-sets/{draft.pk}/simulations/1/flips?{query}").status_code == 400


def test_the_set_in_force_is_not_simulated_and_a_faulty_text_is_refused_with_its_place(
    people: People,
) -> None:
    answer = people.wide.post("policy-sets/active/simulate", {})
    assert (answer.status_code, answer.json()["code"]) == (409, "state_changed")
    broken = simulate(people.wide, draft_with(BROKEN, now=utc_now()))
    assert (broken.status_code, broken.json()["code"]) == (422, "policy_invalid")
    (finding,) = broken.json()["errors"]
    assert (finding["pointer"], finding["policy_id"]) == ("/files/added_0.cedar", "broken")
    assert not SimulationRun.objects.exists()


def test_one_key_is_one_simulation(people: People) -> None:
    draft = draft_with(FORBID_ALL, now=utc_now())
    path = f"policy-sets/{draft.pk}/simulate"
    first = people.wide.post(path, {}, Idempotency_Key="one")
    second = people.wide.post(path, {}, Idempotency_Key="one")
    assert first.json() == second.json()
    assert second.headers["Idempotency-Replayed"] == "true"
    assert SimulationRun.objects.count() == 1


def test_a_large_simulation_becomes_a_job(people: People) -> None:
    draft = draft_with(FORBID_ALL, now=utc_now())
    answer = people.wide.post(f"policy-sets/{draft.pk}/simulate", {"n": 2001}, Idempotency_Key="big")
    assert answer.status_code == 202, answer.content
    job = answer.json()
    assert (job["object"], job["kind"], job["state"], job["subject"]) == (
        "job",
        "simulation",
        "queued",
        draft.pk,
    )
    assert answer.headers["Location"] == f"/api/v1/jobs/{job['id']}"
    assert people.wide.get(f"policy-sets/{draft.pk}/simulations/1").json()["state"] == "queued"
    Job.objects.filter(pk=job["id"]).update(state="running", done=7)
    again = people.wide.post(f"policy-sets/{draft.pk}/simulate", {"n": 2001}, Idempotency_Key="big")
    assert (again.status_code, again.json()["id"], again.json()["done"]) == (202, job["id"], 7)
    assert Job.objects.count() == 1


def test_one_person_has_a_few_open_jobs_at_once_and_others_theirs(people: People) -> None:
    draft = draft_with(FORBID_ALL, now=utc_now())

    def ask(who: Caller) -> int:
        return simulate(who, draft, n=2001).status_code

    assert [ask(people.wide) for _ in range(MOST_OPEN + 1)] == [202] * MOST_OPEN + [409]
    assert SimulationRun.objects.count() == MOST_OPEN
    assert ask(people.operator) == 202
    Job.objects.filter(subject=draft.pk).update(state="cancelled", finished_at=utc_now())
    assert ask(people.wide) == 202


def test_a_validated_set_goes_into_shadow_and_out_again(people: People) -> None:
    policy_set = validated_with(FORBID_EVIL, now=utc_now())
    path = f"policy-sets/{policy_set.pk}/shadow"
    put = people.wide.post(path, {"enabled": True})
    assert (put.status_code, put.json()["enabled"]) == (200, True), put.content
    assert put.json()["since"] is not None
    taken = people.wide.post(path, {"enabled": False})
    assert taken.json() == {"id": policy_set.pk, "object": "policy_shadow", "enabled": False, "since": None}
    events = JournalEvent.objects.filter(type="policy.shadow_changed", subject=policy_set.pk)
    assert events.count() == 2


def test_an_administrator_of_one_workspace_changes_no_shadow(people: People) -> None:
    policy_set = validated_with(FORBID_EVIL, now=utc_now())
    for caller in (people.local, people.operator, people.world.auditor, people.world.agent):
        answer = caller.post(f"policy-sets/{policy_set.pk}/shadow", {"enabled": True})
        assert answer.status_code == 403, answer.content
    policy_set.refresh_from_db()
    assert policy_set.shadow_since is None


@pytest.mark.parametrize("body", [{}, {"enabled": "true"}, {"enabled": 1}, {"enabled": None}])
def test_shadow_takes_true_or_false(people: People, body: object) -> None:
    policy_set = validated_with(FORBID_EVIL, now=utc_now())
    assert people.wide.post(f"policy-sets/{policy_set.pk}/shadow", body).status_code == 422


def test_a_draft_goes_into_no_shadow_and_neither_does_a_fourth_set(people: People) -> None:
    now = utc_now()
    draft = people.wide.post(f"policy-sets/{draft_with(FORBID_EVIL, now=now).pk}/shadow", {"enabled": True})
    assert (draft.status_code, draft.json()["code"]) == (409, "state_changed")
    for number in range(4):
        policy_set = validated_with(FORBID_EVIL, now=now)
        answer = people.wide.post(f"policy-sets/{policy_set.pk}/shadow", {"enabled": True})
        assert answer.status_code == (200 if number < 3 else 409), answer.content
    assert answer.json()["code"] == "conflict"


def test_results_are_listed(people: People) -> None:
    policy_set = validated_with(FORBID_EVIL, now=utc_now())
    ShadowResult.objects.create(
        policy_set=policy_set,
        hour=utc_now().replace(minute=0, second=0, microsecond=0),
        old_effect="allow",
        new_effect="deny",
        count=3,
        errors=1,
        examples=["evt_1"],
    )
    (row,) = people.world.auditor.get(f"policy-sets/{policy_set.pk}/shadow-results").json()["data"]
    assert (row["object"], row["count"], row["errors"], row["examples"]) == (
        "policy_shadow_result",
        3,
        1,
        ["evt_1"],
    )
    assert people.world.agent.get(f"policy-sets/{policy_set.pk}/shadow-results").status_code == 403
