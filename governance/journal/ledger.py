"""Appending to the journal: one event, one encrypted payload, one row that waits to be sealed.

The cost does not depend on how many events there are: nothing is counted and no earlier row is read.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from django.apps import apps
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import F

from governance.journal import envelope
from governance.journal.events import EventName, checked
from governance.journal.models import (
    Instance,
    JournalEvent,
    JournalPayload,
    JournalPending,
    JournalSubjectKey,
)
from governance.journal.redact import clean
from governance.notifications import outbox
from governance.safety.secrets import mask, scan
from kernel.canonical import canonical, digest_bytes
from kernel.errors import UnavailableError
from kernel.ids import new_id
from kernel.record import Actor, request_marks
from vault import services as vault
from vault.envelope import KEY_BYTES, aad, seal
from vault.types import WrappedKey

SYSTEM_SUBJECT = "system"
SYSTEM_FAMILIES = frozenset(
    {
        "allowlist", "freeze", "journal", "membership", "policy", "posture", "publisher", "system", "tool",
        "workspace",
    }
)  # fmt: skip
SALT_BYTES = 32


def record(
    *,
    event: str,
    actor: Actor,
    subject: str,
    now: datetime,
    data: Mapping[str, object],
    run: str | None = None,
    call: str | None = None,
) -> str:
    """Append one event in the caller's transaction and return its `evt_` id (kernel's `Record`).

    Raises RuntimeError outside a transaction, ValueError or TypeError for what the register does not
    know, UnavailableError when the vault is not ready or the database refuses (`journal_unavailable`).
    Whatever it raises, the transaction can only roll back: swallowing the error saves no effect.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("an event belongs into the transaction of its effect")
    try:
        name, fields, secret = checked(event, data)
        plain = _Plain.of(fields, secret)
        event_id = _append(name, plain, actor=actor, subject=subject, now=now, run=run, call=call)
        outbox.enqueue(event=name.value, event_id=event_id, subject=subject, now=now)
    except DatabaseError as error:
        transaction.set_rollback(True)
        raise UnavailableError("journal_unavailable", "The journal cannot be written.") from error
    except Exception:
        transaction.set_rollback(True)
        raise
    return event_id


@dataclass(frozen=True, slots=True)
class _Plain:
    """What gets encrypted: `{"salt", "data"}` in canonical form, and how much was taken out of it."""

    content: bytes = field(repr=False)
    redactions: int
    policy_set: str | None = None

    @classmethod
    def of(cls, fields: Mapping[str, object], secret: frozenset[str]) -> _Plain:
        salt = os.urandom(SALT_BYTES)
        cleaned = clean(fields, scan=scan, salt=salt, secret_fields=secret)
        encoded = urlsafe_b64encode(salt).decode().rstrip("=")
        rules = fields.get("policy_set")
        content = canonical({"salt": encoded, "data": cleaned.data})
        return cls(content, cleaned.count, rules if isinstance(rules, str) else None)


def _append(
    name: EventName,
    plain: _Plain,
    *,
    actor: Actor,
    subject: str,
    now: datetime,
    run: str | None,
    call: str | None,
) -> str:
    marks = request_marks()
    header = envelope.Header(
        id=new_id("evt", now),
        type=name.value,
        time=now,
        instance=instance_id(now),
        actor=actor,
        subject=subject,
        data_digest=digest_bytes(plain.content),
        redactions=plain.redactions,
        run=run,
        run_seq=_next_in_run(run),
        call=call,
        policy_set=plain.policy_set,
        request_id=_without_secrets(marks.request_id),
        trace_id=marks.trace_id,
    )
    _insert(header, plain.content, _subject_of(name, actor, subject, run), now)
    return header.id


def _without_secrets(given: str | None) -> str | None:
    """An envelope is never encrypted, and the caller may have chosen the id of the request."""
    return given if given is None or mask(given).text == given else None


def _insert(header: envelope.Header, plain: bytes, subject: str, now: datetime) -> None:
    key_id, key = _subject_key(subject, now)
    sealed = seal(plain, key=key, context=payload_context(header.id, key_id))
    row = JournalEvent.objects.create(
        id=header.id,
        envelope=envelope.build(header),
        type=header.type,
        time=header.time,
        actor=header.actor.id,
        subject=header.subject,
        run_id=header.run,
        run_seq=header.run_seq,
        call_id=header.call,
    )
    JournalPayload.objects.create(event=row, key_id=key_id, nonce=sealed.nonce, ciphertext=sealed.ciphertext)
    JournalPending.objects.create(event=row)


def payload_context(event_id: str, key_id: str) -> bytes:
    """Return the associated data of a payload: it opens only as this event's, under this key."""
    return aad("journal", event_id, key_id)


def key_context(subject: str, key_id: str) -> bytes:
    """Return the associated data of a wrapped subject key."""
    return aad("journal-key", subject, key_id)


def _subject_of(name: EventName, actor: Actor, subject: str, run: str | None) -> str:
    """Whose key encrypts: the run's, else that of the person, agent or device the event is about.

    Events of policy, key, role and freeze belong to nobody and cannot be erased.
    """
    if name.value.partition(".")[0] in SYSTEM_FAMILIES:
        return SYSTEM_SUBJECT
    if run is not None:
        return run
    if subject.startswith(("usr_", "agt_", "dev_")):
        return subject
    return SYSTEM_SUBJECT if actor.kind == "system" else actor.id


def _next_in_run(run: str | None) -> int | None:
    if run is None:
        return None
    runs = apps.get_model("governance", "Run").objects.filter(pk=run)
    if runs.update(event_seq=F("event_seq") + 1) != 1:
        raise ValueError("the event's run does not exist")
    return int(runs.values_list("event_seq", flat=True).get())


def _subject_key(subject: str, now: datetime) -> tuple[str, bytes]:
    row = _active_key(subject)
    if row is None:
        row = _new_key(subject, now)
    wrapped = WrappedKey(row.kek_id, bytes(row.wrapped_key or b""))
    return row.id, vault.unwrap_data_key(wrapped, aad=key_context(subject, row.id))


def _active_key(subject: str) -> JournalSubjectKey | None:
    return JournalSubjectKey.objects.filter(subject=subject, destroyed_at__isnull=True).first()


def _new_key(subject: str, now: datetime) -> JournalSubjectKey:
    """Make the subject's key; of two transactions that try at once, one wins and both use its row."""
    key_id = new_id("jsk", now)
    wrapped = vault.wrap_data_key(os.urandom(KEY_BYTES), aad=key_context(subject, key_id))
    try:
        with transaction.atomic():
            return JournalSubjectKey.objects.create(
                id=key_id,
                subject=subject,
                wrapped_key=wrapped.wrapped,
                kek_id=wrapped.kek_id,
                created_at=now,
            )
    except IntegrityError:
        row = _active_key(subject)
        if row is None:
            raise
        return row


def instance_id(now: datetime) -> str:
    """Return the name of this installation, `ins_…`, made at its first use."""
    row = Instance.objects.first()
    if row is not None:
        return row.id
    Instance.objects.bulk_create([Instance(id=new_id("ins", now), created_at=now)], ignore_conflicts=True)
    return Instance.objects.get().id
