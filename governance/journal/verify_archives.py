"""Whether rows that are gone lie in an archive that was read back and is still what it was."""

from __future__ import annotations

from collections.abc import Iterator

from governance.journal.archived_rows import Restored, Unit, verified
from governance.journal.archiving import path_of, require_file
from governance.journal.findings import Code, Finding
from governance.journal.models import JournalArchive, JournalEvent, JournalLeaf, JournalPayload
from governance.journal.restoring import range_of
from governance.journal.verify_rows import Payloads, fields_of
from kernel.errors import InvalidError

ARCHIVED = "journal.archived"
_MISSING = {
    Code.EVENT_MISSING: "the row of a sealed event is gone",
    Code.PAYLOAD_MISSING: "the payload is neither there, nor erased, nor archived",
}


class Archives:
    """Explains missing rows. Each archive is looked at once; `covered` counts the rows it explains.

    `gone` are the ranges of leaves whose events are not here and lie in an archive: what a row of the table
    says beyond that explains nothing.
    """

    def __init__(self, payloads: Payloads | None) -> None:
        """With `payloads` those in the files are opened too."""
        self.covered = 0
        self.gone: list[tuple[int, int]] = []
        self._payloads = payloads
        self._archive: JournalArchive | None = None
        self._fault = ""

    def explain(self, seq: int, event_id: str, otherwise: Code) -> Iterator[Finding]:
        """Say why a row is gone: archived, archived and not provable, or simply gone."""
        archive = self._archive
        if archive is None or not archive.first_seq <= seq < archive.end_seq:
            archive = self._archive = _archive_over(seq)
            if archive is None:
                yield Finding(otherwise, seq, event_id, _MISSING[otherwise])
                return
            wrong: list[Finding] = []
            self._fault = _fault_of(archive, self._payloads, wrong)
            yield _said(archive, self._fault, seq)
            yield from wrong
        self.covered += not self._fault
        if otherwise is Code.EVENT_MISSING:
            self._note_gone(seq)

    def _note_gone(self, seq: int) -> None:
        if self.gone and self.gone[-1][1] == seq:
            self.gone[-1] = (self.gone[-1][0], seq + 1)
        else:
            self.gone.append((seq, seq + 1))


def _said(archive: JournalArchive, fault: str, seq: int) -> Finding:
    place = f"archive of {archive.first_seq} to {archive.end_seq}"
    if fault:
        return Finding(Code.ARCHIVE_UNPROVEN, seq, archive.event, f"{place}: {fault}")
    return Finding(Code.ARCHIVED, seq, archive.event, f"rows lie in the {place}")


def _archive_over(seq: int) -> JournalArchive | None:
    rows = JournalArchive.objects.filter(first_seq__lte=seq, end_seq__gt=seq, verified_at__isnull=False)
    return rows.order_by("-first_seq").first()


def _fault_of(archive: JournalArchive, payloads: Payloads | None, wrong: list[Finding]) -> str:
    """Return why an archive proves nothing, or nothing: its file, its range, its events and its own event.

    A digest in a row would not do: whoever can write the row can write a file that fits. So what the file
    holds in the place of a payload that is gone is judged as the payload was, and added to `wrong`.
    """
    path = path_of(archive)
    try:
        require_file(archive, path)
        if range_of(path) != Unit(archive.first_seq, archive.end_seq):
            return "its file holds another range"
        seq = archive.first_seq
        for batch in verified(path):
            if payloads is not None:
                wrong += _payload_findings(batch, seq, payloads)
            seq += len(batch)
    except InvalidError as error:
        return error.detail
    return "" if _is_recorded(archive) else "no event of the log records it"


def _payload_findings(batch: list[Restored], first: int, payloads: Payloads) -> Iterator[Finding]:
    ids = [one.event.pk for one in batch]
    here = set(JournalPayload.objects.filter(pk__in=ids).values_list("pk", flat=True))
    for seq, one in enumerate(batch, start=first):
        if one.event.pk not in here:
            kept = one.archived
            row = (kept.key_id, kept.nonce, kept.ciphertext)
            yield from payloads.findings(one.event.pk, seq, fields_of(kept.envelope) or {}, row)


def _is_recorded(archive: JournalArchive) -> bool:
    """The event of an archive may lie in a later archive; then its leaf is there."""
    kind = JournalEvent.objects.filter(pk=archive.event).values_list("type", flat=True).first()
    if kind is not None:
        return kind == ARCHIVED
    return JournalLeaf.objects.filter(event_id=archive.event).exists()
