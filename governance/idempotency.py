"""Safe retries: one answer per (principal, route, key), whatever happens between.

The record is inserted before the work, in its own transaction, so a second request sees it. The
outcome is stored by the transaction that does the work. A `running` row that nobody finished
belongs to a process that died: its outcome is unknown, and it is never executed again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from django.db import IntegrityError, transaction

from governance.models import IdempotencyRecord
from kernel.canonical import digest
from kernel.errors import ConflictError, InvalidError, MalformedError, PalyraError

LIFETIME = timedelta(hours=24)
WORKER_PATIENCE = timedelta(minutes=5)
MAX_STORED_BYTES = 256 * 1024
Made = TypeVar("Made")
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class Ticket:
    """The right to do the work of one key, and the place where its answer goes."""

    record_id: int
    key: str


@dataclass(frozen=True, slots=True)
class Replay:
    """The stored answer. `object_id` names what it describes, so that state can be read afresh."""

    status: int
    body: dict[str, object]
    object_id: str | None


def begin(*, principal_id: str, route: str, key: str, body: object, now: datetime) -> Ticket | Replay:
    """Claim the key, or return the answer that the first request got.

    Raises MalformedError `idempotency_key_invalid`, InvalidError `idempotency_key_reused` for another
    body, ConflictError `idempotency_in_progress` or `idempotency_outcome_unknown`.
    """
    if not _KEY.fullmatch(key):
        raise MalformedError("idempotency_key_invalid", "Use 1 to 255 printable ASCII characters.")
    request_digest = digest(body)
    record = IdempotencyRecord(
        principal_id=principal_id,
        route=route,
        key=key,
        request_digest=request_digest,
        created_at=now,
        expires_at=now + LIFETIME,
    )
    try:
        with transaction.atomic():
            record.save(force_insert=True)
    except IntegrityError:
        return _answer_of_first(record, now)
    return Ticket(record.pk, key)


def store(ticket: Ticket | None, *, status: int, body: object, object_id: str | None = None) -> None:
    """Store the answer inside the transaction that did the work; without a ticket do nothing."""
    if ticket is None:
        return
    data = json.dumps(body, separators=(",", ":")).encode()
    if len(data) > MAX_STORED_BYTES:
        data = b"{}"
    IdempotencyRecord.objects.filter(id=ticket.record_id, state="running").update(
        state="done", status_code=status, response_body=data, object_id=object_id
    )


def store_rendered(
    ticket: Ticket | None, render: Callable[[Made], object] | None, made: Made, *, status: int, object_id: str
) -> None:
    """Store what `render` makes of the work's outcome, as `store`; without `render` do nothing."""
    if render is not None:
        store(ticket, status=status, body=render(made), object_id=object_id)


def forget(ticket: Ticket | None) -> None:
    """Give the key back: the work failed on our side before it had any effect."""
    if ticket is not None:
        IdempotencyRecord.objects.filter(id=ticket.record_id, state="running").delete()


def sweep(now: datetime) -> int:
    """Delete expired records and return how many there were."""
    deleted, _ = IdempotencyRecord.objects.filter(expires_at__lte=now).delete()
    return deleted


def _answer_of_first(asked: IdempotencyRecord, now: datetime) -> Ticket | Replay:
    first = IdempotencyRecord.objects.filter(
        principal_id=asked.principal_id, route=asked.route, key=asked.key
    ).first()
    if first is None:
        raise ConflictError("idempotency_in_progress", "Try again.", retry_after=1)
    if first.request_digest != asked.request_digest:
        raise InvalidError("idempotency_key_reused", "This key was used with another body.")
    if first.state == "done" and first.status_code is not None:
        body = json.loads(bytes(first.response_body or b"{}"))
        return Replay(first.status_code, body, first.object_id)
    if now - first.created_at > WORKER_PATIENCE:
        raise ConflictError(
            "idempotency_outcome_unknown", "The first request never finished; look the object up."
        )
    raise ConflictError("idempotency_in_progress", "The first request is still running.", retry_after=1)


def attempt(ticket: Ticket, work: Callable[[Ticket], Made], refused: Callable[[PalyraError], object]) -> Made:
    """Do the work of a ticket. A refusal is an answer too and is kept as `refused` shows it.

    401, 429 and failures of the server are not kept, so that a repeat with a code, or later, may succeed.
    """
    try:
        return work(ticket)
    except PalyraError as refusal:
        if refusal.status >= 500 or refusal.status in (401, 429):
            forget(ticket)
        else:
            store(ticket, status=refusal.status, body=refused(refusal))
        raise
    except Exception:
        forget(ticket)
        raise
