"""Who sees what of an event."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings, strategies as st

from governance.journal.event_names import EventName
from governance.journal.events import registered
from governance.streams.shown import _TOLD, Party, Reader, shown

AGENT, OWNER, APPROVER = "agt_1", "usr_owner", "usr_approver"
PARTY = Party(AGENT, OWNER)
SENDER = Reader(AGENT, is_person=False, reveals=False)
VIEWER = Reader("usr_viewer", is_person=True, reveals=False)
AUDITOR = Reader("usr_auditor", is_person=True, reveals=True)
PROPOSED = {"tool": "echo", "input": {"text": "secret"}, "input_bytes": 17}
DECIDED = {"decision": "allow", "close_code": "decided", "grant": "grt_1", "single_operator": False}
REVIEWED = {"verdict": "allow", "scope": "once", "comment": "Ann says yes", "seen_version": 1}


def see(event: str, data: dict[str, object], reader: Reader, actor: str = APPROVER) -> dict[str, object]:
    return shown(event, data, actor=actor, party=PARTY, reader=reader)


def test_an_input_is_for_its_sender_and_for_those_who_may_reveal() -> None:
    for reader in (SENDER, AUDITOR):
        assert see("tool_call.proposed", PROPOSED, reader)["input"] == {"text": "secret"}
    assert see("tool_call.proposed", PROPOSED, VIEWER) == {**PROPOSED, "input": None}
    own = Party(VIEWER.id, VIEWER.id)
    person = shown("tool_call.proposed", PROPOSED, actor=VIEWER.id, party=own, reader=VIEWER)
    assert person["input"] == {"text": "secret"}


def test_who_acts_in_the_run_sees_an_approver_and_no_name() -> None:
    assert see("approval.decided", DECIDED, SENDER) == {
        "decision": "allow",
        "close_code": "decided",
        "by": "approver",
    }
    assert see("approval.reviewed", REVIEWED, SENDER) == {"verdict": "allow", "by": "approver"}
    assert see("approval.cancelled", {"close_code": "run_closed"}, SENDER, OWNER)["by"] == "owner"
    assert see("approval.cancelled", {"close_code": "run_closed"}, SENDER, AGENT)["by"] == AGENT
    assert see("approval.expired", {"close_code": "timeout"}, SENDER, "sweeper")["by"] == "system"


def test_people_see_who_decided_and_what_they_said() -> None:
    assert see("approval.reviewed", REVIEWED, VIEWER) == {**REVIEWED, "by": APPROVER}


def test_an_event_that_is_on_no_list_shows_an_agent_nothing() -> None:
    assert see("grant.created", {"request": "apr_1", "scope": "always"}, SENDER) == {}
    assert see("never.heard_of", {"by": APPROVER}, SENDER) == {}


def test_an_erased_event_says_so_to_everybody() -> None:
    erased: dict[str, object] = {"_erased": True, "at": "2026-01-05T10:00:00.000Z"}
    for reader in (SENDER, VIEWER, AUDITOR):
        assert see("tool_call.proposed", erased, reader) == erased


@pytest.mark.parametrize("event", _TOLD)
def test_the_lists_name_fields_that_exist(event: str) -> None:
    fields = {field.name for field in dataclasses.fields(registered()[EventName(event)])}
    assert _TOLD[event] <= fields


@settings(max_examples=60, deadline=None)
@given(
    event=st.sampled_from(sorted(EventName)),
    actor=st.sampled_from([APPROVER, "usr_other", OWNER, AGENT, "sweeper"]),
)
def test_no_name_of_another_person_reaches_an_agent_through_who_acted(event: str, actor: str) -> None:
    assert see(event, {}, SENDER, actor).get("by", "") in ("", "approver", "owner", "system", AGENT)
