"""Sessions and their labels over HTTP."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.db import transaction

from governance import labelling
from governance.journal.ledger import record
from governance.models import Run, Session
from kernel.clock import utc_now
from kernel.record import system_actor
from policy.label_models import SessionValueMark
from policy.labels import add_labels
from tests.governance.api.stepping import fresh
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.world import Caller, World

REASON = {"reason": "I read all of it myself"}
UNKNOWN = "ses_01JD0000000000000000000000"


def opened(caller: Caller, **wishes: object) -> Run:
    return Run.objects.get(id=caller.open_run(**wishes))


def labelled(caller: Caller, *names: str, **wishes: object) -> Run:
    """Open a run and give its holder labels, as a call of it would."""
    run = opened(caller, **wishes)
    with transaction.atomic():
        add_labels(
            holder=labelling.holder_of(run),
            labels=frozenset(names or {"untrusted_content"}),
            call_id="call_01JD0000000000000000000000",
            run_id=run.id,
            actor=system_actor("worker"),
            now=utc_now(),
            record=record,
        )
    return run


def path(run: Run, label: str = "") -> str:
    holder = run.session_id or run.principal_id
    return f"sessions/{holder}/labels" + (f"/{label}/declassify" if label else "")


def test_a_run_shows_the_session_of_its_key(world: World) -> None:
    first = world.agent.post("runs", {"session_key": "chat 7"}).json()
    assert first["session_id"].startswith("ses_")
    assert world.agent.post("runs", {"session_key": "chat 7"}).json()["session_id"] == first["session_id"]
    assert world.agent.post("runs", {}).json()["session_id"] is None
    assert Session.objects.get(pk=first["session_id"]).key == "chat 7"


@pytest.mark.parametrize("key", ["", " ", "x" * 129, 7, None, "a\0b", "a\u202eb"])
def test_a_key_that_is_none_is_refused(world: World, key: object) -> None:
    assert_problem(world.agent.post("runs", {"session_key": key}), 422, "invalid")
    assert not Session.objects.exists()


def test_a_task_leaves_marks_and_no_text(world: World) -> None:
    run = opened(world.agent, session_key="chat", task_text="Answer bob@corp.example today")
    marks = SessionValueMark.objects.filter(holder_id=run.session_id)
    assert set(marks.values_list("origin", flat=True)) == {"task"}
    assert all(b"corp" not in bytes(mark) for mark in marks.values_list("mark", flat=True))


@pytest.mark.parametrize("text", ["x" * (32 * 1024 + 1), "\u20ac" * (11 * 1024), 7, ["x"]])
def test_a_task_that_is_too_long_or_no_text_is_refused(world: World, text: object) -> None:
    assert_problem(world.agent.post("runs", {"task_text": text}), 422, "invalid")


def test_labels_are_shown_with_their_calls_and_end(world: World) -> None:
    run = labelled(world.agent, "untrusted_content", "private_data", session_key="chat")
    answer = world.owner.get(path(run))
    assert answer.status_code == 200
    found = answer.json()
    assert [row["label"] for row in found["data"]] == ["private_data", "untrusted_content"]
    assert found["data"][0] == {
        "id": "private_data",
        "object": "session_label",
        "session_id": run.session_id,
        "label": "private_data",
        "state": "active",
        "calls": ["call_01JD0000000000000000000000"],
        "added_at": found["data"][0]["added_at"],
        "expires_at": None,
        "declassified_by": None,
        "declassified_at": None,
        "declassified_reason": None,
    }


def test_an_agent_stands_for_its_runs_without_a_session_for_a_day(world: World) -> None:
    run = labelled(world.agent)
    assert world.owner.get(f"sessions/{world.agent.id}/labels").json()["data"][0]["state"] == "active"
    with time_machine.travel(utc_now() + timedelta(hours=25)):
        assert world.owner.get(path(run)).json()["data"][0]["state"] == "expired"


def test_a_session_without_labels_has_an_empty_list(world: World) -> None:
    run = opened(world.agent, session_key="chat")
    assert world.owner.get(path(run)).json()["data"] == []


def test_an_agent_sees_its_own_labels_and_nobody_elses(world: World) -> None:
    run = labelled(world.agent, session_key="chat")
    assert world.agent.get(path(run)).status_code == 200
    assert world.agent.get(f"sessions/{world.agent.id}/labels").status_code == 200
    assert_problem(world.other_agent.get(path(run)), 404, "not_found")
    assert_problem(world.other_agent.get(f"sessions/{world.agent.id}/labels"), 404, "not_found")
    assert world.auditor.get(path(run)).status_code == 200


@pytest.mark.parametrize(
    "name", [UNKNOWN, "agt_01JD0000000000000000000000", "usr_01JD0000000000000000000000", "chat"]
)
def test_what_is_no_session_is_not_found(world: World, name: str) -> None:
    assert_problem(world.owner.get(f"sessions/{name}/labels"), 404, "not_found")


def test_a_person_with_a_fresh_code_declassifies_once(world: World) -> None:
    run = labelled(world.agent, session_key="chat")
    assert_problem(world.owner.post(path(run, "untrusted_content"), REASON), 401, "step_up_required")
    owner = fresh(world.owner)
    answer = owner.post(path(run, "untrusted_content"), REASON)
    assert answer.status_code == 200, answer.content
    gone = answer.json()
    assert (gone["state"], gone["declassified_by"]) == ("declassified", world.owner.id)
    assert gone["declassified_reason"] == REASON["reason"]
    assert_problem(owner.post(path(run, "untrusted_content"), REASON), 409, "state_changed")
    assert_problem(owner.post(path(run, "private_data"), REASON), 404, "not_found")


def test_the_same_key_declassifies_once_and_answers_twice_alike(world: World) -> None:
    run = labelled(world.agent, session_key="chat")
    owner = fresh(world.owner)
    first = owner.post(path(run, "untrusted_content"), REASON, Idempotency_Key="once")
    again = owner.post(path(run, "untrusted_content"), REASON, Idempotency_Key="once")
    assert first.json() == again.json()
    assert again.headers["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize("body", [{}, {"reason": "short"}, {"reason": "x" * 501}, {"reason": 7}])
def test_a_declassification_says_why(world: World, body: object) -> None:
    run = labelled(world.agent, session_key="chat")
    assert_problem(fresh(world.owner).post(path(run, "untrusted_content"), body), 422, "invalid")
    extra = REASON | {"label": "private_data"}
    assert_problem(fresh(world.owner).post(path(run, "untrusted_content"), extra), 400, "unknown_field")


def test_nobody_else_declassifies(world: World) -> None:
    run = labelled(world.agent, session_key="chat")
    for caller in (world.auditor, world.approver, world.agent_owner, world.agent):
        assert world.agent.get(path(run)).json()["data"][0]["state"] == "active"
        assert caller.post(path(run, "untrusted_content"), REASON).status_code in (401, 403, 404)
    stranger = world.stranger.post(path(run, "untrusted_content"), REASON)
    assert stranger.status_code in (401, 403, 404)
    assert world.agent.get(path(run)).json()["data"][0]["state"] == "active"


def test_two_principals_with_one_key_never_meet(world: World) -> None:
    mine, theirs = (labelled(caller, session_key="chat") for caller in (world.agent, world.other_agent))
    assert mine.session_id != theirs.session_id
    owner = fresh(world.owner)
    assert owner.post(path(mine, "untrusted_content"), REASON).status_code == 200
    assert owner.get(path(theirs)).json()["data"][0]["state"] == "active"
