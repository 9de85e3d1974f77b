"""Where a tile stands: the paths of C2SP tlog-tiles."""

from __future__ import annotations

import re
from dataclasses import dataclass

from governance.journal.merkle import TILE_WIDTH

_PLACE = re.compile(r"((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")
_LEVEL = re.compile(r"[0-9]|[1-5][0-9]|6[0-3]")
_LONGEST = 40


@dataclass(frozen=True, slots=True)
class Place:
    """A tile within its level, and how many hashes of it are meant: 1 to 256, all by default."""

    index: int
    width: int = TILE_WIDTH

    def is_full(self) -> bool:
        return self.width == TILE_WIDTH

    def path(self) -> str:
        """Return `x001/x234/067` or `000.p/8`; groups of three digits, all but the last marked."""
        digits = str(self.index)
        padded = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [padded[at : at + 3] for at in range(0, len(padded), 3)]
        joined = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        return joined if self.is_full() else f"{joined}.p/{self.width}"


def place_of(text: str) -> Place | None:
    """Undo `path`; None for everything it does not return."""
    match = _PLACE.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        return None
    found = Place(int(match[1].replace("/", "").replace("x", "")), int(match[2] or TILE_WIDTH))
    return found if found.path() == text and found.width <= TILE_WIDTH else None


def level_of(text: str) -> int | None:
    """Return the level of a tile, 0 to 63 without a leading zero, or None."""
    return int(text) if _LEVEL.fullmatch(text) else None
