"""The signed-over line of one event, version 1: who, what and when, by ids only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kernel.canonical import MAX_SAFE_INTEGER, canonical, parse as parse_json
from kernel.clock import exact_time
from kernel.errors import PalyraError
from kernel.record import Actor

VERSION = 1
MAX_BYTES = 4096
MAX_TEXT = 160
ACTOR_KINDS = frozenset({"user", "agent", "device", "service", "system"})
ACTOR_FIELDS = ("kind", "id", "auth", "surface")


@dataclass(frozen=True, slots=True)
class Header:
    """What an envelope says besides its version and the schema of its data."""

    id: str
    type: str
    time: datetime
    instance: str
    actor: Actor
    subject: str
    data_digest: str
    redactions: int
    run: str | None = None
    run_seq: int | None = None
    call: str | None = None
    policy_set: str | None = None
    cause: str | None = None
    request_id: str | None = None
    trace_id: str | None = None


def build(header: Header) -> bytes:
    """Return the RFC 8785 bytes of the envelope; every key is there, what is absent is null.

    Raises ValueError for an actor kind outside the list, text over 160 characters, a run without its
    number or the reverse, integers outside ±(2^53-1), and anything over 4 KiB.
    """
    _check(header)
    fields = {
        "v": VERSION,
        "id": header.id,
        "type": header.type,
        "time": exact_time(header.time),
        "instance": header.instance,
        "actor": {name: getattr(header.actor, name) for name in ACTOR_FIELDS},
        "subject": header.subject,
        "run": header.run,
        "run_seq": header.run_seq,
        "call": header.call,
        "policy_set": header.policy_set,
        "cause": header.cause,
        "request_id": header.request_id,
        "trace_id": header.trace_id,
        "schema": f"{header.type}/1",
        "data_digest": header.data_digest,
        "redactions": header.redactions,
    }
    encoded = canonical(fields)
    if len(encoded) > MAX_BYTES:
        raise ValueError(f"an envelope of {len(encoded)} bytes")
    return encoded


def parse(envelope: bytes) -> dict[str, object]:
    """Return the fields of stored envelope bytes, or raise ValueError when they are not canonical."""
    try:
        fields = parse_json(envelope)
        is_canonical = canonical(fields) == envelope
    except PalyraError as error:
        raise ValueError("an envelope is canonical JSON") from error
    if not isinstance(fields, dict) or fields.get("v") != VERSION or not is_canonical:
        raise ValueError("not an envelope of version 1")
    return fields


def _check(header: Header) -> None:
    if header.actor.kind not in ACTOR_KINDS:
        raise ValueError(f"unknown actor kind {header.actor.kind!r}")
    if (header.run is None) != (header.run_seq is None):
        raise ValueError("a run and its number come together")
    texts = (
        header.id, header.type, header.instance, header.actor.id, header.actor.auth, header.actor.surface,
        header.subject, header.data_digest, header.run, header.call, header.policy_set, header.cause,
        header.request_id, header.trace_id,
    )  # fmt: skip
    if any(text is not None and len(text) > MAX_TEXT for text in texts):
        raise ValueError(f"text over {MAX_TEXT} characters in an envelope")
    if any(abs(number) > MAX_SAFE_INTEGER for number in (header.run_seq or 0, header.redactions)):
        raise ValueError("a number beyond 2^53-1 in an envelope")
