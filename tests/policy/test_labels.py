"""Labels and marks as they are stored, and how they end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from kernel.errors import ConflictError, InvalidError, NotFoundError, RefusedError
from kernel.record import Actor
from policy import mark_store
from policy.label_models import LabelHolder, SessionLabel, SessionValueMark
from policy.labels import MAX_CALLS, Holder, add_labels, declassify, labels_beside, labels_of
from policy.mark_store import add_marks, tainted_by
from policy.marks import MAX_MARKS
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, Cast

DAY = timedelta(hours=24)
SESSION = "ses_01JD0000000000000000000000"
AGENT = "agt_01JD0000000000000000000000"
ATTACKER = "eve@evil.example"
REASON = "I read all of it myself"


def holder(cast: Cast, name: str = SESSION) -> Holder:
    return Holder(name, cast.default.pk)


def add(cast: Cast, *names: str, call: str = "call_1", name: str = SESSION, **more: Any) -> RecordedEvents:
    record = RecordedEvents()
    given: dict[str, Any] = {"actor": SYSTEM, "now": NOW, "record": record}
    add_labels(
        holder=holder(cast, name), labels=frozenset(names), call_id=call, run_id=None, **(given | more)
    )
    return record


def take(cast: Cast, label: str = "private_data", **more: Any) -> SessionLabel:
    given: dict[str, Any] = {"actor": SYSTEM, "now": NOW, "record": RecordedEvents(), "reason": REASON}
    return declassify(holder_id=SESSION, label=label, **(given | more))


def mark(cast: Cast, data: object, origin: str = "untrusted", *, name: str = SESSION, **more: Any) -> None:
    add_marks(holder=holder(cast, name), data=data, origin=origin, **({"now": NOW} | more))


def tainted(cast: Cast, text: str, *, name: str = SESSION, **more: Any) -> bool:
    return tainted_by(holder=holder(cast, name), tool_input={"to": text}, **({"now": NOW} | more)) == {"to"}


def test_a_label_names_every_call_that_added_it_up_to_sixteen(cast: Cast) -> None:
    calls = [f"call_{number:02d}" for number in range(MAX_CALLS + 3)]
    for call in calls:
        add(cast, "private_data", call=call)
    assert labels_of(SESSION, NOW) == {"private_data": calls[:MAX_CALLS]}


def test_adding_a_label_again_tells_the_journal_nothing_new(cast: Cast) -> None:
    assert add(cast, "private_data", "untrusted_content").names == ["label.added", "label.added"]
    assert add(cast, "private_data", call="call_2").names == []
    assert add(cast, "private_data", call="call_2").names == []


def test_a_call_counts_what_others_added_and_not_what_only_it_did(cast: Cast) -> None:
    add(cast, "private_data", "untrusted_content", call="call_1")
    add(cast, "private_data", call="call_2")
    assert labels_beside(SESSION, "call_1", NOW) == {"private_data"}
    assert labels_beside(SESSION, "call_3", NOW) == {"private_data", "untrusted_content"}


def test_a_declassified_label_comes_back_with_the_calls_that_bring_it_back(cast: Cast) -> None:
    add(cast, "private_data")
    row = take(cast)
    assert (row.declassified_by, row.declassified_reason) == ("system", REASON)
    assert labels_of(SESSION, NOW) == {}
    assert add(cast, "private_data", call="call_9").names == ["label.added"]
    assert labels_of(SESSION, NOW) == {"private_data": ["call_9"]}
    assert SessionLabel.objects.get(label="private_data").declassified_at is None


@pytest.mark.parametrize("name", ["", "ab", "a" * 33, "Private", "team-a", "team a", "t\u00e9am", "team1"])
def test_a_label_has_a_plain_name(cast: Cast, name: str) -> None:
    with pytest.raises(InvalidError):
        add(cast, name)


def test_labels_of_one_workspace_are_not_those_of_another(cast: Cast) -> None:
    add(cast, "private_data")
    elsewhere = Holder(SESSION, cast.instance.pk)
    with pytest.raises(ConflictError):
        add_labels(
            holder=elsewhere,
            labels=frozenset({"private_data"}),
            call_id="call_2",
            run_id=None,
            actor=SYSTEM,
            now=NOW,
            record=RecordedEvents(),
        )


def test_labels_of_an_agent_last_a_day_after_the_last_call_and_those_of_a_session_stay(cast: Cast) -> None:
    for name in (AGENT, SESSION):
        add(cast, "private_data", name=name)
    add(cast, "private_data", name=AGENT, now=NOW + timedelta(hours=10))
    assert labels_of(AGENT, NOW + timedelta(hours=33)) != {}
    assert labels_of(AGENT, NOW + timedelta(hours=34)) == {}
    assert labels_of(SESSION, NOW + timedelta(days=900)) != {}
    again = add(cast, "private_data", call="call_2", name=AGENT, now=NOW + 2 * DAY)
    assert again.names == ["label.added"]
    assert labels_of(AGENT, NOW + 2 * DAY) == {"private_data": ["call_2"]}


def test_nobody_declassifies_what_is_not_there(cast: Cast) -> None:
    with pytest.raises(NotFoundError):
        take(cast)
    add(cast, "private_data")
    with pytest.raises(NotFoundError):
        take(cast, "untrusted_content")
    take(cast)
    with pytest.raises(ConflictError):
        take(cast)


@pytest.mark.parametrize("who", ["agent_owner", "approver", "auditor", "stranger"])
def test_the_service_itself_asks_who_declassifies(cast: Cast, who: str) -> None:
    add(cast, "private_data")
    actor = Actor("user", getattr(cast, who).pk, "session", "console")
    with pytest.raises(RefusedError):
        take(cast, actor=actor)
    with pytest.raises(RefusedError):
        take(cast, actor=Actor("agent", cast.agent.pk, "token", "api"))
    assert labels_of(SESSION, NOW) == {"private_data": ["call_1"]}


@pytest.mark.parametrize("reason", ["", "too short", " " * 20, "x" * 501])
def test_a_declassification_says_why(cast: Cast, reason: str) -> None:
    add(cast, "private_data")
    with pytest.raises(InvalidError):
        take(cast, reason=reason)


def test_marks_taint_in_their_own_session_only(cast: Cast) -> None:
    mark(cast, f"write to {ATTACKER}")
    assert tainted(cast, ATTACKER)
    assert not tainted(cast, ATTACKER, name="ses_01JD0000000000000000000001")
    assert not tainted(cast, "bob@corp.example")


def test_a_task_clears_what_it_names_whenever_it_came(cast: Cast) -> None:
    mark(cast, f"write to {ATTACKER}")
    mark(cast, f"yes, write to {ATTACKER}", "task")
    assert not tainted(cast, ATTACKER)


def test_marks_show_nothing_and_stand_once(cast: Cast) -> None:
    for _ in range(2):
        mark(cast, ATTACKER)
    stored = [bytes(found) for found in SessionValueMark.objects.values_list("mark", flat=True)]
    assert len(stored) == len(set(stored)) == len({"eve@evil.example", "evil.example"})
    assert {len(found) for found in stored} == {16}


def test_marks_under_an_older_key_still_count(cast: Cast, settings: Any) -> None:
    mark(cast, ATTACKER)
    old, settings.SECRET_KEY = settings.SECRET_KEY, "ab" * 32
    assert not tainted(cast, ATTACKER)
    settings.SECRET_KEY_FALLBACKS = [old]
    assert tainted(cast, ATTACKER)


def test_a_session_that_is_full_keeps_no_marks_and_taints_everything(cast: Cast) -> None:
    half = MAX_MARKS // 4 + 10  # each word is a value, and so are its digits
    mark(cast, " ".join(f"first{number:06d}" for number in range(half)))
    assert not tainted(cast, "hello")
    mark(cast, " ".join(f"other{number:06d}" for number in range(half, 2 * half)))
    assert LabelHolder.objects.get(pk=SESSION).marks_full
    assert tainted(cast, "hello")
    assert not SessionValueMark.objects.filter(holder_id=SESSION).exists()
    mark(cast, "hello", "task")
    assert tainted(cast, "hello")
    assert tainted(cast, "hello", now=NOW + timedelta(days=900))


def test_marks_of_an_agent_last_a_day(cast: Cast) -> None:
    mark(cast, ATTACKER, name=AGENT)
    assert tainted(cast, ATTACKER, name=AGENT, now=NOW + DAY - timedelta(seconds=1))
    assert not tainted(cast, ATTACKER, name=AGENT, now=NOW + DAY)
    mark(cast, ATTACKER, name=AGENT, now=NOW + timedelta(hours=20))
    assert tainted(cast, ATTACKER, name=AGENT, now=NOW + timedelta(hours=30))


def test_a_full_agent_starts_anew_when_its_last_label_has_ended(cast: Cast, monkeypatch: Any) -> None:
    monkeypatch.setattr(mark_store, "MAX_MARKS", 3)
    add(cast, "untrusted_content", name=AGENT)
    mark(cast, "first1111 second2222 third3333 fourth4444", name=AGENT)
    assert tainted(cast, "hello", name=AGENT)
    later = NOW + DAY
    assert not tainted(cast, "hello", name=AGENT, now=later)
    add(cast, "untrusted_content", name=AGENT, now=later)
    mark(cast, ATTACKER, name=AGENT, now=later)
    assert not LabelHolder.objects.get(pk=AGENT).marks_full
    assert tainted(cast, ATTACKER, name=AGENT, now=later)
    assert not tainted(cast, "hello", name=AGENT, now=later)


def test_an_argument_of_more_values_than_one_question_takes_is_still_compared(cast: Cast) -> None:
    mark(cast, "needle99")
    text = " ".join(f"straw{number:06d}" for number in range(1_500))
    assert tainted(cast, f"{text} needle99")
    assert not tainted(cast, text)
