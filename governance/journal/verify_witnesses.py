"""Whether enough witnesses cosigned a recent checkpoint, and whether the stored cosignatures hold."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from datetime import timedelta

from django.conf import settings

from governance.journal import note
from governance.journal.findings import Code, Finding
from governance.journal.models import JournalCheckpoint, JournalCosignature
from governance.journal.verify_leaves import CHUNK
from kernel.errors import InvalidError, UnavailableError

BEHIND = timedelta(hours=24)
"""How much newer than the newest witnessed checkpoint the newest one may be."""

_COSIGNING = b"\x04"
_KEY_BYTES = 32


def witness_keys() -> dict[str, bytes]:
    """Return the configured witnesses: names and raw public keys.

    UnavailableError for an entry that is not `name+hash+key` of a cosigning key, with `@https://…` behind
    it or not: a witness that cannot be checked is not left out.
    """
    found = {}
    for entry in settings.PALYRA_JOURNAL_WITNESSES:
        name, _, rest = entry.strip().partition("+")
        digest, _, encoded = rest.partition("@http")[0].partition("+")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except ValueError:
            raw = b""
        key = raw[1:]
        if (
            raw[:1] != _COSIGNING
            or len(key) != _KEY_BYTES
            or note.key_hash(name, key, _COSIGNING).hex() != digest
        ):
            raise UnavailableError("not_ready", "A configured witness is no key of a cosigner.")
        found[name] = key
    return found


def witness_findings(size: int) -> Iterator[Finding]:
    """Check every stored cosignature, and that as many as are demanded stand under a recent checkpoint."""
    witnesses, demanded = witness_keys(), settings.PALYRA_JOURNAL_REQUIRE_WITNESS
    witnessed: int | None = None
    after = 0
    while rows := list(_cosigned(after, size)):
        for row in rows:
            lines = list(row.cosignatures.order_by("pk"))
            faults, holding = _judged(row, lines, witnesses)
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
    row: JournalCheckpoint, lines: list[JournalCosignature], witnesses: Mapping[str, bytes]
) -> tuple[list[Finding], int]:
    """Return what is wrong with the lines, and how many witnesses stand under the checkpoint.

    A line of a witness that is not configured any more counts for nothing and is no fault.
    """
    faults, holding = [], 0
    for line in lines:
        key = witnesses.get(line.witness)
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
