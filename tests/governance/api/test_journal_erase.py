"""The route that asks for an erasure, from the wish to the answer of the second person."""

from __future__ import annotations

import pytest

from governance.journal.models import JournalEvent
from governance.journal.reading import open_data
from identity.roles import WorkspaceRole
from kernel.clock import utc_now
from tests.governance.api.world import Caller, World, add_person, owner_principal

pytestmark = pytest.mark.django_db
PATH = "journal/erase"


def closed(world: World) -> str:
    run = world.agent.open_run(purpose="write to Erika")
    world.agent.post(f"runs/{run}/cancel", {"reason": "done"})
    return run


def wish(subject: str, **more: object) -> dict[str, object]:
    return {"subject": subject, "reason": "request 4711", **more}


def test_one_asks_with_a_code_and_another_allows_it(world: World, second_owner: Caller) -> None:
    run = closed(world)
    asked = world.owner.post(PATH, wish(run, otp=world.owner.code()))
    assert asked.status_code == 202, asked.content
    approval = asked.json()["approval"]
    assert asked.json() == {"approval": approval}
    assert asked.headers["Location"] == f"/api/v1/approvals/{approval}"
    shown = second_owner.get(f"approvals/{approval}").json()
    assert (shown["risk"], shown["subject_type"]) == ("critical", "erasure")
    answer = {"decision": "allow", "comment": "seen the letter", "otp": second_owner.code()}
    answered = second_owner.post(f"approvals/{approval}/decision", answer)
    assert answered.status_code == 200, answered.content
    opened = JournalEvent.objects.get(run_id=run, type="run.opened")
    assert open_data(opened)["_erased"] is True
    assert world.owner.get(f"runs/{run}").json()["purpose"] == ""


def test_whoever_is_the_only_one_to_hold_the_permission_answers_alone_and_the_event_says_so(
    world: World,
) -> None:
    run = closed(world)
    asked = world.owner.post(PATH, wish(run, otp=world.owner.code(steps=-1)))
    assert asked.status_code == 202, asked.content
    answer = {"decision": "allow", "comment": "seen the letter", "otp": world.owner.code()}
    answered = world.owner.post(f"approvals/{asked.json()['approval']}/decision", answer)
    assert answered.status_code == 200, answered.content
    fact = JournalEvent.objects.get(type="journal.subject_erased", subject=run)
    assert open_data(fact)["single_operator"] is True


def test_without_a_code_one_is_asked_for(world: World) -> None:
    refused = world.owner.post(PATH, wish(closed(world)))
    assert (refused.status_code, refused.json()["code"]) == (401, "step_up_required")
    wrong = world.owner.post(PATH, wish(closed(world), otp="000000"))
    assert (wrong.status_code, wrong.json()["code"]) == (401, "step_up_required")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid"),
        (wish("run_1"), "invalid_id"),
        (wish("system"), "invalid_id"),
        (wish("evt_01JD0000000000000000000000"), "invalid_id"),
        (wish("run_01JD0000000000000000000000", more=1), "unknown_field"),
        (wish("run_01JD0000000000000000000000") | {"reason": ""}, "invalid"),
        (wish("run_01JD0000000000000000000000") | {"reason": 7}, "invalid"),
        (wish("run_01JD0000000000000000000000"), "not_found"),
    ],
)
def test_bad_wishes_are_refused(world: World, body: dict[str, object], code: str) -> None:
    answer = world.owner.post(PATH, body)
    assert answer.json()["code"] == code
    assert not JournalEvent.objects.filter(type="journal.subject_erased").exists()


def test_the_same_key_asks_once(world: World, second_owner: Caller) -> None:
    run = closed(world)
    first = world.owner.post(PATH, wish(run, otp=world.owner.code(steps=1)), Idempotency_Key="one")
    again = world.owner.post(PATH, wish(run, otp="123456"), Idempotency_Key="one")
    assert (first.status_code, again.status_code) == (202, 202), first.content
    assert first.json() == again.json()
    assert again.headers["Idempotency-Replayed"] == "true"


@pytest.fixture
def second_owner(world: World) -> Caller:
    """Another person who may allow an erasure."""
    now = utc_now()
    return add_person(
        "second-owner", world.workspace, owner_principal(world, now), WorkspaceRole.OWNER, now=now
    )
