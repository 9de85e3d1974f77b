"""QR codes as one SVG path, drawn by a template."""

from __future__ import annotations

from dataclasses import dataclass, field

import segno

QUIET_ZONE = 4


@dataclass(frozen=True, slots=True)
class QrCode:
    """`side` is the width of the square view box in modules, `path` the dark modules in it."""

    side: int
    path: str = field(repr=False)


def qr_code(text: str) -> QrCode:
    """Return the QR code of a text at error correction level M, with its quiet zone."""
    rows = [tuple(row) for row in segno.make(text, error="m", micro=False).matrix]
    runs = (
        f"M{start + QUIET_ZONE} {y + QUIET_ZONE}h{length}v1h-{length}z"
        for y, row in enumerate(rows)
        for start, length in _dark_runs(row)
    )
    return QrCode(len(rows) + 2 * QUIET_ZONE, "".join(runs))


def _dark_runs(row: tuple[int, ...]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for x, module in enumerate(row):
        if not module:
            continue
        if found and sum(found[-1]) == x:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((x, 1))
    return found
