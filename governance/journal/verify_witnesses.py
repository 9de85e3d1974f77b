"""Whether enough witnesses cosigned a recent checkpoint, and whether the stored cosignatures hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta

from django.conf import settings

from governance.journal import note, witnesses
from governance.journal.findings import Code, Finding
from governance.journal.models import JournalCheckpoint, JournalCosignature
from governance.journal.verify_leaves import CHUNK
from kernel.errors import InvalidError, UnavailableError

BEHIND = timedelta(hours=24)
"""How much newer than the newest witnessed checkpoint the newest one may be."""


def _witness_keys() -> Mapping[str, bytes]:
    """Return the configured witnesses; a setting that cannot be read is not the same as none."""
    try:
        return witnesses.keys()
    except ValueError as error:
        raise UnavailableError("not_ready", "A configured witness cannot be read.") from error


def witness_findings(size: int) -> Iterator[Finding]:
    """Check every stored cosignature, and that as many as are demanded stand under a recent checkpoint."""
    known, demanded = _witness_keys(), settings.PALYRA_JOURNAL_REQUIRE_WITNESS
    witnessed: int | None = None
    after = 0
    while rows := list(_cosigned(after, size)):
        for row in rows:
            lines = list(row.cosignatures.order_by("pk"))
            faults, holding = _judged(row, lines, known)
            yield from faults
            if demanded and holding >= demanded:
                witnessed = row.tree_size
        after = rows[-1].tree_size
    if demanded and size:
        yield from _shortfall(witnessed, size, demanded)


def _cosigned(after: int, size: int) -> list[JournalCheckpoint]:
    rows = JournalCheckpoint.objects.filter(tree_size__gt=after, tree_size__lte=size)
    return list(rows.filter(cosignatures__isnull=False).distinct().order_by("tree_size")[:CHUNK])


def _judged(
    row: JournalCheckpoint, lines: list[JournalCosignature], known: Mapping[str, bytes]
) -> tuple[list[Finding], int]:
    """Return what is wrong with the lines, and how many witnesses stand under the checkpoint.

    A line of a witness that is not configured any more counts for nothing and is no fault.
    """
    faults, holding = [], 0
    for line in lines:
        key = known.get(line.witness)
        if key is None:
            continue
        if _holds(row.note, line, key):
            holding += 1
            continue
        detail = f"checkpoint {row.tree_size}: the cosignature of {line.witness} does not hold"
        faults.append(Finding(Code.SIGNATURE_INVALID, row.tree_size - 1, None, detail))
    return faults, holding


def _holds(text: str, line: JournalCosignature, key: bytes) -> bool:
    body, _, _ = text.partition("\n\n")
    try:
        return len(note.cosignatures(f"{body}\n\n{line.line.strip()}\n", {line.witness: key})) == 1
    except InvalidError:
        return False


def _shortfall(witnessed: int | None, size: int, demanded: int) -> Iterator[Finding]:
    if witnessed is None:
        detail = f"{demanded} witnesses are demanded, and no checkpoint has so many"
        yield Finding(Code.SIGNATURE_INVALID, size - 1, None, detail)
        return
    rows = JournalCheckpoint.objects.filter(tree_size__in=(witnessed, size))
    times = dict(rows.values_list("tree_size", "sealed_at"))
    if times[size] - times[witnessed] > BEHIND:
        detail = f"{demanded} witnesses are demanded, and saw no checkpoint after that of {witnessed}"
        yield Finding(Code.SIGNATURE_INVALID, witnessed, None, detail)
