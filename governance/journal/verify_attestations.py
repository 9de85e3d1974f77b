"""Whether each attestation is signed by a key of its time, says what its columns say, and has its event."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Exists, OuterRef

from governance.journal.findings import Code, Finding
from governance.journal.models import Attestation, JournalEvent, JournalLeaf
from governance.journal.reading import open_all
from governance.journal.verify_leaves import CHUNK
from governance.journal.verify_signatures import KeyRing
from governance.journal.verify_whole import MOST_NAMED
from kernel.clock import exact_time
from kernel.errors import InvalidError, UnavailableError
from sandbox.attestation import Statement, verify_envelope

RECORDED = "attestation.recorded"
COLUMNS = {
    "id": "attestation_id",
    "call_id": "call_id",
    "execution_sha256": "execution_sha256",
    "executor": "executor",
    "sandbox_enforcement": "sandbox_enforcement",
    "timed_out": "timed_out",
    "outcome": "outcome",
}
"""Columns of a row, and the members of its predicate that they copy."""


@dataclass(frozen=True, slots=True)
class _Recorded:
    """The event of an attestation; `seq` is None while it waits, `said` None when it was not opened."""

    event: str
    time: datetime
    call: str | None
    seq: int | None
    said: str | None


class Attestations:
    """Reads all attestations in chunks. `opens`: the events' data is compared as well.

    `archived`: events lie in archives, so one that recorded an attestation may be among them.
    """

    def __init__(self, ring: KeyRing, *, opens: bool, archived: bool) -> None:
        self._ring, self._publics, self._opens = ring, ring.publics, opens
        self._archived = archived
        self.checked = 0

    def chunks(self) -> Iterator[list[Finding]]:
        after = ""
        while rows := list(Attestation.objects.filter(pk__gt=after).order_by("pk")[:CHUNK]):
            recorded = self._recorded([row.pk for row in rows])
            yield [found for row in rows for found in self._findings(row, recorded.get(row.pk))]
            self.checked += len(rows)
            after = rows[-1].pk
        yield list(_gone())

    def _recorded(self, ids: list[str]) -> Mapping[str, _Recorded]:
        events = list(JournalEvent.objects.filter(type=RECORDED, subject__in=ids).order_by("-pk"))
        leaves = JournalLeaf.objects.filter(event_id__in=[event.pk for event in events])
        places = dict(leaves.values_list("event_id", "seq"))
        said = self._said(events)
        return {
            event.subject: _Recorded(event.pk, event.time, event.call_id, places.get(event.pk), told)
            for event, told in zip(events, said, strict=True)
        }

    def _said(self, events: list[JournalEvent]) -> list[str | None]:
        """Return the digest that each event tells; None where it is not opened, erased, or does not open.

        One that does not open is a finding of its own, at its leaf.
        """
        if not self._opens:
            return [None] * len(events)
        try:
            opened = open_all(events)
        except UnavailableError:
            return [None] if len(events) == 1 else [one for event in events for one in self._said([event])]
        told = [data.get("envelope_sha256") for data in opened]
        return [digest if isinstance(digest, str) else None for digest in told]

    def _findings(self, row: Attestation, recorded: _Recorded | None) -> Iterator[Finding]:
        seq, event = (recorded.seq, recorded.event) if recorded is not None else (None, None)
        for fault in self._faults(row, recorded):
            yield Finding(Code.ATTESTATION_INVALID, seq, event, f"{row.pk}: {fault}")

    def _faults(self, row: Attestation, recorded: _Recorded | None) -> Iterator[str]:
        digest = hashlib.sha256(row.envelope.encode()).hexdigest()
        if digest != row.envelope_sha256:
            yield "envelope_sha256 is not that of the envelope"
        try:
            statement = verify_envelope(row.envelope, self._publics)
        except InvalidError as error:
            yield error.code
        else:
            yield from _column_faults(row, statement)
        if recorded is None:
            if not self._archived:
                yield "no event records it"
            return
        if recorded.call != row.call_id:
            yield "its event is of another call"
        if recorded.said not in (None, digest):
            yield "its event recorded another envelope"
        yield from self._key_faults(row, recorded)

    def _key_faults(self, row: Attestation, recorded: _Recorded) -> Iterator[str]:
        named = _key_ids(row.envelope)
        if row.key_id not in named:
            yield "it names a key that did not sign it"
        keys = [self._ring.keys[key_id] for key_id in named if key_id in self._ring.keys]
        if keys and not any(key.counts_in_order(recorded.time, recorded.seq) for key in keys):
            yield "its key did not count any more when it was recorded, or not yet"


def _key_ids(envelope: str) -> tuple[str, ...]:
    """Return the keys that an envelope names; none for what is no envelope, which is told elsewhere."""
    try:
        return tuple(str(one["keyid"]) for one in json.loads(envelope)["signatures"])
    except (ValueError, KeyError, TypeError):
        return ()


def _column_faults(row: Attestation, statement: Statement) -> Iterator[str]:
    predicate = statement.predicate
    odd = [column for column, name in COLUMNS.items() if getattr(row, column) != predicate.get(name)]
    executed = exact_time(row.executed_at) if row.executed_at is not None else None
    if executed != predicate.get("executed_at"):
        odd.append("executed_at")
    if odd:
        yield f"columns: {', '.join(odd)}"


def _gone() -> Iterator[Finding]:
    """Name recorded attestations that are not there."""
    there = Attestation.objects.filter(pk=OuterRef("subject"))
    rows = JournalEvent.objects.filter(~Exists(there), type=RECORDED).order_by("pk")
    for event, subject in rows.values_list("pk", "subject")[:MOST_NAMED]:
        seq = JournalLeaf.objects.filter(event_id=event).values_list("seq", flat=True).first()
        yield Finding(Code.ATTESTATION_INVALID, seq, event, f"{subject}: it is gone")
