"""Whether rows that are gone lie in an archive that was read back and is still what it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from governance.journal.findings import Code, Finding
from governance.journal.models import JournalArchive

_BLOCK = 1 << 20
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
    """Return why the file of an archive proves nothing, or nothing."""
    try:
        found = _sha256(Path(archive.uri.removeprefix("file://")))
    except OSError:
        return "its file cannot be read"
    return "" if found == archive.sha256 else "its file is another"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
