"""Whether the row of one event says what its envelope says, and its payload what was digested."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from governance.journal import envelope
from governance.journal.archived_rows import archived_event
from governance.journal.archiving import path_of
from governance.journal.findings import Code, Finding
from governance.journal.ledger import SYSTEM_FAMILIES, key_context, payload_context
from governance.journal.models import (
    JournalArchive,
    JournalCheckpoint,
    JournalEvent,
    JournalLeaf,
    JournalSubjectKey,
)
from governance.models import Run
from kernel.canonical import digest_bytes
from kernel.clock import exact_time
from kernel.errors import InvalidError
from vault import services as vault
from vault.envelope import IntegrityError, Sealed, open_sealed
from vault.types import WrappedKey

EVENT_COLUMNS = (
    "id", "envelope", "type", "time", "actor", "subject", "run_id", "run_seq", "call_id",
)  # fmt: skip
MOST_KEYS = 1_024
LATEST = timedelta(hours=1)
"""How long after the destruction of its key an event may be sealed that was written before."""

ERASING = "journal.subject_erased"

EventRow = tuple[str, bytes, str, datetime | None, str, str, str | None, int | None, str | None]
"""The columns of an event, in the order of `EVENT_COLUMNS`."""

PayloadRow = tuple[str, bytes, bytes]
"""Key id, nonce and ciphertext."""


def fields_of(stored: bytes) -> Mapping[str, Any] | None:
    """Return what an envelope says, or None when it is not canonical JSON of version 1.

    An envelope holds texts, integers and nulls only. For those the plain encoder writes the canonical
    form, at a small part of the cost; whatever differs is judged by `envelope.parse`.
    """
    try:
        fields = json.loads(stored.decode())
        plain = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        if plain == stored and isinstance(fields, dict) and fields.get("v") == envelope.VERSION:
            return fields
        return envelope.parse(stored)
    except (ValueError, RecursionError):
        return None


def column_faults(row: EventRow, fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the columns that do not say what the envelope says."""
    event_id, _, kind, time, actor, subject, run, run_seq, call = row
    acting = fields.get("actor")
    pairs = (
        ("id", event_id, fields.get("id")),
        ("type", kind, fields.get("type")),
        ("time", exact_time(time) if time else None, fields.get("time") or ""),
        ("actor", actor, acting.get("id") if isinstance(acting, dict) else None),
        ("subject", subject, fields.get("subject")),
        ("run_id", run, fields.get("run")),
        ("run_seq", run_seq, fields.get("run_seq")),
        ("call_id", call, fields.get("call")),
    )
    return tuple(name for name, column, said in pairs if column != said)


@dataclass(frozen=True, slots=True)
class _SubjectKey:
    """`secret` is None for a key that was destroyed; `fault` says why its payloads cannot count."""

    subject: str
    secret: bytes | None
    fault: str = ""
    destroyed_at: datetime | None = None


class Payloads:
    """Opens payloads and compares their digests. `erased` counts those whose key was destroyed."""

    def __init__(self) -> None:
        self.erased = 0
        self._keys: dict[str, _SubjectKey] = {}
        self._batch: tuple[int, int] = (0, 0)
        self._time: datetime | None = None

    def findings(
        self, event_id: str, seq: int | None, fields: Mapping[str, Any], row: PayloadRow
    ) -> Iterator[Finding]:
        """Say what is wrong with one payload. The vault's own errors pass: then nothing can be said."""
        fault = self._fault(event_id, seq, fields, row)
        if fault:
            yield Finding(Code.PAYLOAD_MISMATCH, seq, event_id, fault)

    def _fault(self, event_id: str, seq: int | None, fields: Mapping[str, Any], row: PayloadRow) -> str:
        key_id, nonce, ciphertext = row
        key = self._key(key_id)
        if key.fault:
            return key.fault
        if key.subject not in _subjects(fields):
            return f"it lies under the key of {key.subject}, whom the event is not about"
        if key.secret is None:
            self.erased += 1
            return self._erasure_fault(seq, fields, key)
        try:
            plain = open_sealed(
                Sealed(nonce=nonce, ciphertext=ciphertext),
                key=key.secret,
                context=payload_context(event_id, key_id),
            )
        except IntegrityError:
            return "it does not open"
        return "" if digest_bytes(plain) == fields.get("data_digest") else "its digest is another"

    def _erasure_fault(self, seq: int | None, fields: Mapping[str, Any], key: _SubjectKey) -> str:
        """A destroyed key hides what it never encrypted: some events are never under one, none is later."""
        if str(fields.get("type")).partition(".")[0] in SYSTEM_FAMILIES:
            return "it lies under a destroyed key, and events of this kind are never erased"
        sealed = self._sealed_at(seq) if seq is not None else None
        if sealed is not None and key.destroyed_at is not None and sealed > key.destroyed_at + LATEST:
            return "it was sealed long after its key was destroyed"
        return ""

    def _sealed_at(self, seq: int) -> datetime | None:
        if not self._batch[0] <= seq < self._batch[1]:
            covering = JournalCheckpoint.objects.filter(tree_size__gt=seq).order_by("tree_size")
            row = covering.values_list("tree_size", "sealed_at").first()
            if row is None:
                return None
            self._batch, self._time = (seq, row[0]), row[1]
        return self._time

    def _key(self, key_id: str) -> _SubjectKey:
        found = self._keys.get(key_id)
        if found is None:
            if len(self._keys) >= MOST_KEYS:
                self._keys.clear()
            found = self._keys[key_id] = _load(key_id)
        return found


def _load(key_id: str) -> _SubjectKey:
    row = JournalSubjectKey.objects.filter(pk=key_id).first()
    if row is None:
        return _SubjectKey("", None, "its key is gone")
    if row.wrapped_key is None:
        fault = "" if _was_erased(row) else "its key is gone without an erasure"
        return _SubjectKey(row.subject, None, fault, row.destroyed_at)
    wrapped = WrappedKey(row.kek_id, bytes(row.wrapped_key))
    try:
        secret = vault.unwrap_data_key(wrapped, aad=key_context(row.subject, row.id))
    except IntegrityError:
        return _SubjectKey(row.subject, None, "its key does not open")
    return _SubjectKey(row.subject, secret)


def _was_erased(row: JournalSubjectKey) -> bool:
    """Tell whether the event of an erasure explains a destroyed key. An archived one is read from its file.

    An erasure takes in its subject and, of an agent or a person, every run.
    """
    event = JournalEvent.objects.filter(pk=row.destroyed_event).first() or _archived(row.destroyed_event)
    if event is None or event.type != ERASING:
        return False
    runs = Run.objects.filter(pk=row.subject, principal_id=event.subject)
    return event.subject == row.subject or runs.exists()


def _archived(event_id: str | None) -> JournalEvent | None:
    leaf = JournalLeaf.objects.filter(event_id=event_id).first()
    if leaf is None:
        return None
    over = JournalArchive.objects.filter(first_seq__lte=leaf.seq, end_seq__gt=leaf.seq)
    for row in over.filter(verified_at__isnull=False).order_by("-first_seq"):
        try:
            return archived_event(path_of(row), leaf)
        except InvalidError:
            continue
    return None


def _subjects(fields: Mapping[str, Any]) -> tuple[object, ...]:
    """Whose keys an event may lie under (`ledger`): its run, its subject, its actor, or nobody's."""
    actor = fields.get("actor")
    acting = actor.get("id") if isinstance(actor, dict) else None
    return (fields.get("run"), fields.get("subject"), acting, "system")
