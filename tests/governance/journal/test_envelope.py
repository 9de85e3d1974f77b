from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, strategies as st

from governance.journal.envelope import ACTOR_KINDS, MAX_BYTES, MAX_TEXT, Header, build, parse
from kernel.canonical import MAX_SAFE_INTEGER, canonical
from kernel.record import Actor

HEADER = Header(
    id="evt_01J00000000000000000000000",
    type="tool_call.decided",
    time=datetime(2026, 11, 20, 9, 12, 3, 123456, tzinfo=UTC),
    instance="ins_01J00000000000000000000000",
    actor=Actor(kind="agent", id="agt_1", auth="token", surface="api"),
    subject="call_1",
    data_digest="sha256:" + "0" * 64,
    redactions=2,
)

texts = st.text(st.characters(codec="utf-8"), max_size=MAX_TEXT)
words = texts.filter(lambda text: len(json.dumps(text)) < 200)
headers = st.builds(
    Header,
    id=words,
    type=words,
    time=st.datetimes(timezones=st.just(UTC)),
    instance=words,
    actor=st.builds(Actor, kind=st.sampled_from(sorted(ACTOR_KINDS)), id=words, auth=words, surface=words),
    subject=words,
    data_digest=words,
    redactions=st.integers(0, MAX_SAFE_INTEGER),
    call=st.none() | words,
    cause=st.none() | words,
)


@given(headers, st.none() | st.integers(0, MAX_SAFE_INTEGER))
def test_an_envelope_reads_back_as_it_was_built(header: Header, number: int | None) -> None:
    header = replace(header, run=None if number is None else "run_1", run_seq=number)
    fields = parse(build(header))
    assert canonical(fields) == build(header)
    assert (fields["subject"], fields["run_seq"], fields["cause"]) == (header.subject, number, header.cause)


def test_every_key_is_there_and_absence_is_null() -> None:
    assert build(HEADER).decode() == (
        '{"actor":{"auth":"token","id":"agt_1","kind":"agent","surface":"api"},"call":null,"cause":null,'
        '"data_digest":"sha256:' + "0" * 64 + '","id":"evt_01J00000000000000000000000",'
        '"instance":"ins_01J00000000000000000000000","policy_set":null,"redactions":2,"request_id":null,'
        '"run":null,"run_seq":null,"schema":"tool_call.decided/1","subject":"call_1",'
        '"time":"2026-11-20T09:12:03.123456Z","trace_id":null,"type":"tool_call.decided","v":1}'
    )


def test_time_is_utc_with_microseconds() -> None:
    elsewhere = timezone(timedelta(hours=2))
    moment = datetime(2026, 11, 20, 11, 12, 3, tzinfo=elsewhere)
    assert parse(build(replace(HEADER, time=moment)))["time"] == "2026-11-20T09:12:03.000000Z"


def actor(**changes: str) -> dict[str, Any]:
    return {"actor": replace(HEADER.actor, **changes)}


@pytest.mark.parametrize(
    "changes",
    [
        actor(kind="anonymous"),
        actor(kind=""),
        actor(id="x" * (MAX_TEXT + 1)),
        {"subject": "x" * (MAX_TEXT + 1)},
        {"request_id": "x" * (MAX_TEXT + 1)},
        {"run": "run_1"},
        {"run_seq": 1},
        {"run": "run_1", "run_seq": MAX_SAFE_INTEGER + 1},
        {"redactions": -MAX_SAFE_INTEGER - 1},
        dict.fromkeys(("subject", "call", "cause", "request_id", "trace_id", "policy_set"), "\0" * MAX_TEXT),
    ],
)
def test_what_no_envelope_may_say_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        build(replace(HEADER, **changes))


def test_the_largest_ordinary_envelope_fits() -> None:
    names = ("subject", "call", "cause", "request_id", "trace_id", "policy_set", "type", "id", "instance")
    assert len(build(replace(HEADER, **dict.fromkeys(names, "x" * MAX_TEXT)))) <= MAX_BYTES  # type: ignore[arg-type]  # all are texts


@pytest.mark.parametrize(
    "stored", [b"", b"{}", b"[]", b'{"v":2}', b'{"v":1 }', b'{"v":1,"v":1}', b"\xff", b"nul"]
)
def test_bytes_that_are_no_envelope_are_refused(stored: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse(stored)
