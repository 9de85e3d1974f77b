"""Whether rows that are gone lie in an archive that was read back and is still what it was."""

from __future__ import annotations

from collections.abc import Iterator

from governance.journal.archived_rows import Unit, verified
from governance.journal.archiving import path_of, require_file
from governance.journal.findings import Code, Finding
from governance.journal.models import JournalArchive, JournalEvent, JournalLeaf
from governance.journal.restoring import range_of
from kernel.errors import InvalidError

ARCHIVED = "journal.archived"
_MISSING = {
    Code.EVENT_MISSING: "the row of a sealed event is gone",
    Code.PAYLOAD_MISSING: "the payload is neither there, nor erased, nor archived",
}


class Archives:
    """Explains missing rows. Each archive is looked at once; `covered` counts the rows it explains."""

    def __init__(self) -> None:
        self.covered = 0
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
            self._fault = _fault_of(archive)
            yield _said(archive, self._fault, seq)
        self.covered += not self._fault


def _said(archive: JournalArchive, fault: str, seq: int) -> Finding:
    place = f"archive of {archive.first_seq} to {archive.end_seq}"
    if fault:
        return Finding(Code.ARCHIVE_UNPROVEN, seq, archive.event, f"{place}: {fault}")
    return Finding(Code.ARCHIVED, seq, archive.event, f"rows lie in the {place}")


def _archive_over(seq: int) -> JournalArchive | None:
    rows = JournalArchive.objects.filter(first_seq__lte=seq, end_seq__gt=seq, verified_at__isnull=False)
    return rows.order_by("-first_seq").first()


def _fault_of(archive: JournalArchive) -> str:
    """Return why an archive proves nothing, or nothing: its file, its range, its events and its own event.

    A digest in a row would not do: whoever can write the row can write a file that fits.
    """
    path = path_of(archive)
    try:
        require_file(archive, path)
        if range_of(path) != Unit(archive.first_seq, archive.end_seq):
            return "its file holds another range"
        for _ in verified(path):
            pass
    except InvalidError as error:
        return error.detail
    return "" if _is_recorded(archive) else "no event of the log records it"


def _is_recorded(archive: JournalArchive) -> bool:
    """The event of an archive may lie in a later archive; then its leaf is there."""
    kind = JournalEvent.objects.filter(pk=archive.event).values_list("type", flat=True).first()
    if kind is not None:
        return kind == ARCHIVED
    return JournalLeaf.objects.filter(event_id=archive.event).exists()
