"""What the broker makes of a child's answer, whatever the child says."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from sandbox.runners.wasm_abi import Stopped, judge, output_invalid, parse_reply
from sandbox.types import ErrorKind, Status

SOUND: dict[str, object] = {
    "end": "returned",
    "code": 0,
    "output_b64": "e30=",
    "output_overflow": False,
    "error_b64": "",
    "log": [],
    "fuel": 10,
    "memory_peak": 65_536,
    "max_rss": 1,
    "cpu_ms": 1,
}
MEMORY = 16 * 1024 * 1024
ENDS = [
    "returned",
    "trap",
    "limit",
    "import_denied",
    "module_invalid",
    "entrypoint_missing",
    "memory_missing",
]


def said(**changes: object) -> bytes:
    return json.dumps({**SOUND, **changes}).encode()


def test_sound_answer_is_a_success() -> None:
    reply = parse_reply(said())
    assert reply is not None
    assert reply.output == b"{}"
    assert judge(reply, Stopped.NO, MEMORY).status is Status.SUCCEEDED


@pytest.mark.parametrize(
    "name", ["end", "output_b64", "output_overflow", "error_b64", "log", "fuel", "cpu_ms"]
)
def test_answer_without_a_field_is_no_answer(name: str) -> None:
    assert parse_reply(json.dumps({key: SOUND[key] for key in SOUND if key != name}).encode()) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"end": 1},
        {"code": True},
        {"code": "0"},
        {"output_b64": "e30"},
        {"output_b64": "e3 0="},
        {"error_b64": None},
        {"log": "text"},
        {"log": [1]},
        {"fuel": 1.5},
        {"memory_peak": None},
    ],
)
def test_answer_of_wrong_types_is_no_answer(changes: dict[str, object]) -> None:
    assert parse_reply(said(**changes)) is None


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"\xff", b'{"end":"returned","end":"trap"}', b"{" * 100]
)
def test_answer_that_is_no_object_is_no_answer(body: bytes) -> None:
    assert parse_reply(body) is None


def test_overflow_counts_unless_it_is_plainly_denied() -> None:
    reply = parse_reply(said(output_overflow="no"))
    judgement = judge(reply, Stopped.NO, MEMORY)
    assert (judgement.kind, judgement.detail) == (ErrorKind.QUOTA_EXCEEDED, {"resource": "output"})


@pytest.mark.parametrize(
    ("changes", "stopped", "status", "kind"),
    [
        ({"code": 3}, Stopped.NO, Status.FAILED, ErrorKind.RUNTIME_FAILURE),
        ({}, Stopped.DEADLINE, Status.SUCCEEDED, None),
        ({}, Stopped.CANCELLED, Status.CANCELLED, ErrorKind.CANCELLED),
        ({"end": "trap", "trap": "INTERRUPT"}, Stopped.NO, Status.TIMED_OUT, ErrorKind.TIMED_OUT),
        ({"end": "trap", "trap": "INTERRUPT"}, Stopped.CANCELLED, Status.CANCELLED, ErrorKind.CANCELLED),
        ({"end": "trap", "trap": "OUT_OF_FUEL"}, Stopped.NO, Status.FAILED, ErrorKind.QUOTA_EXCEEDED),
        ({"end": "trap", "trap": "OUT_OF_FUEL"}, Stopped.DEADLINE, Status.TIMED_OUT, ErrorKind.TIMED_OUT),
        ({"end": "import_denied"}, Stopped.NO, Status.FAILED, ErrorKind.CAPABILITY_DENIED),
        ({"end": "anything"}, Stopped.NO, Status.FAILED, ErrorKind.RUNTIME_FAILURE),
    ],
)
def test_ends_have_their_status_and_kind(
    changes: dict[str, object], stopped: Stopped, status: Status, kind: ErrorKind | None
) -> None:
    judgement = judge(parse_reply(said(**changes)), stopped, MEMORY)
    assert (judgement.status, judgement.kind) == (status, kind)


def test_child_that_says_nothing_crashed_unless_it_was_stopped() -> None:
    assert judge(None, Stopped.NO, MEMORY).code == "skill.host_crashed"
    assert judge(None, Stopped.DEADLINE, MEMORY).kind is ErrorKind.TIMED_OUT
    assert judge(None, Stopped.CANCELLED, MEMORY).kind is ErrorKind.CANCELLED


def test_guest_text_stays_out_of_the_message() -> None:
    judgement = judge(parse_reply(said(end="import_denied", name="evil.name")), Stopped.NO, MEMORY)
    assert "evil" not in judgement.message
    assert judgement.detail == {"name": "evil.name"}


def test_unusable_output_is_a_failure() -> None:
    assert output_invalid("why").kind is ErrorKind.OUTPUT_INVALID


@given(
    end=st.sampled_from(ENDS) | st.text(max_size=20),
    code=st.integers(-(2**31), 2**31 - 1),
    trap=st.text(max_size=20),
    stopped=st.sampled_from(Stopped),
    peak=st.integers(0, MEMORY),
)
def test_only_a_clean_return_succeeds(end: str, code: int, trap: str, stopped: Stopped, peak: int) -> None:
    reply = parse_reply(said(end=end, code=code, trap=trap, memory_peak=peak))
    judgement = judge(reply, stopped, MEMORY)
    clean = end == "returned" and code == 0 and stopped is not Stopped.CANCELLED
    assert (judgement.status is Status.SUCCEEDED) is clean
    assert (judgement.kind is None) is clean


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(body: bytes) -> None:
    assert judge(parse_reply(body), Stopped.NO, MEMORY).status is Status.FAILED
