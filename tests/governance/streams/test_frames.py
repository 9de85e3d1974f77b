"""What a frame is called, what it looks like on the wire, and how many streams there may be."""

from __future__ import annotations

import json
from contextlib import ExitStack
from functools import partial

import pytest
from hypothesis import given, settings, strategies as st

from governance.journal.event_names import EventName
from governance.streams.frames import Frame
from governance.streams.names import APPROVAL_TYPES, StreamName, stream_name
from governance.streams.places import PER_PRINCIPAL, PER_PROCESS, Places
from kernel.errors import UnavailableError
from tests.racing import at_once

VOCABULARY = {
    StreamName.TOOL_PROPOSAL: {"tool_call.proposed"},
    StreamName.TOOL_DECISION: {"tool_call.decided"},
    StreamName.APPROVAL_REQUEST: {"approval.requested", "approval.attached"},
    StreamName.APPROVAL_RESOLVED: {
        "approval.decided",
        "approval.expired",
        "approval.cancelled",
        "approval.failed",
    },
    StreamName.TOOL_EXECUTING: {"execution.started"},
    StreamName.TOOL_RESULT: {
        "execution.finished",
        "execution.refused",
        "execution.cancelled",
        "execution.lost",
        "tool_call.closed",
    },
    StreamName.TOOL_ATTESTATION: {"attestation.recorded"},
}


def test_every_event_of_the_register_has_its_name_in_the_stream() -> None:
    named = {name for names in VOCABULARY.values() for name in names}
    for name, types in VOCABULARY.items():
        for event_type in types:
            assert EventName(event_type)
            assert stream_name(event_type) is name
    for event in EventName:
        if event.value not in named:
            status = event.value.startswith(("run.", "freeze."))
            assert stream_name(event.value) is (StreamName.RUN_STATUS if status else StreamName.JOURNAL)
    assert (
        set(APPROVAL_TYPES)
        == VOCABULARY[StreamName.APPROVAL_REQUEST] | VOCABULARY[StreamName.APPROVAL_RESOLVED]
    )


@settings(max_examples=60, deadline=None)
@given(st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.lists(inner, max_size=3)))
def test_no_text_of_an_event_breaks_out_of_its_frame(value: object) -> None:
    frame = Frame("7", StreamName.TOOL_PROPOSAL, {"data": value})
    lines = frame.as_event().decode("ascii").split("\n")
    assert lines[:2] == ["id: 7", "event: tool_proposal"]
    assert lines[3:] == ["", ""]
    assert json.loads(lines[2].removeprefix("data: ")) == {"data": value}
    assert frame.as_line().decode("ascii").splitlines() == [lines[2].removeprefix("data: ")]


@pytest.mark.parametrize(
    "text", ["a\nid: 9\n\nevent: run_status", "a\r\r", "\u2028\u2029\x85", "\x00\x1b]52;"]
)
def test_line_breaks_and_controls_stay_inside_the_data(text: str) -> None:
    sent = Frame("1", StreamName.JOURNAL, {"data": text}).as_event()
    assert sent.count(b"\n") == 4
    assert b"\r" not in sent
    assert b"\x1b" not in sent


def test_one_principal_holds_five_streams_and_gets_a_place_back() -> None:
    places = Places()
    with ExitStack() as held:
        for _ in range(PER_PRINCIPAL):
            held.enter_context(places.take("agt_1"))
        with pytest.raises(UnavailableError) as refused:
            places.require_free("agt_1")
        assert (refused.value.code, refused.value.retry_after) == ("too_many_streams", 5)
        places.require_free("agt_2")
    places.require_free("agt_1")


def test_a_process_holds_five_hundred_streams() -> None:
    places = Places()
    with ExitStack() as held:
        for number in range(PER_PROCESS):
            held.enter_context(places.take(f"agt_{number}"))
        with pytest.raises(UnavailableError, match="no place"):
            places.require_free("agt_new")


def test_the_last_place_is_taken_once() -> None:
    for _ in range(50):
        places = Places()
        with ExitStack() as held:
            for _ in range(PER_PRINCIPAL - 1):
                held.enter_context(places.take("agt_1"))
            codes = at_once(*[partial(held.enter_context, places.take("agt_1")) for _ in range(4)])
            assert sorted(codes) == ["", *["too_many_streams"] * 3]
