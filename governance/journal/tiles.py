"""The tree as it is stored: full tiles, and its right edge read from leaves and the roots of full tiles."""

from __future__ import annotations

from governance.journal.chain import HASH_BYTES
from governance.journal.merkle import TILE_WIDTH, ReadHash, hash_reader
from governance.journal.models import JournalLeaf, JournalTile
from kernel.errors import NotFoundError


def read_tile(level: int, index: int, width: int) -> bytes:
    """Return `width` hashes of the tile (32 bytes each); NotFoundError when the tree has fewer."""
    if width == TILE_WIDTH:
        full = JournalTile.objects.filter(level=level, index=index).values_list("hashes", flat=True).first()
        if full is None:
            raise NotFoundError
        return bytes(full)
    return gather(level, index, width)


def gather(level: int, index: int, width: int) -> bytes:
    """Return the hashes of a tile from what lies below it, as for one that is not full or not stored yet."""
    first = index * TILE_WIDTH
    hashes = b"".join(_edge(level, first, first + width))
    if len(hashes) != width * HASH_BYTES:
        raise NotFoundError
    return hashes


def reader(size: int) -> ReadHash:
    """Return the hashes of the stored tree at `size` leaves, at most one query for each tile."""
    return hash_reader(read_tile, size)


def _edge(level: int, first: int, end: int) -> list[bytes]:
    if level == 0:
        leaves = JournalLeaf.objects.filter(seq__gte=first, seq__lt=end).order_by("seq")
        return [bytes(one) for one in leaves.values_list("leaf_hash", flat=True)]
    below = JournalTile.objects.filter(level=level - 1, index__gte=first, index__lt=end).order_by("index")
    return [bytes(one) for one in below.values_list("root", flat=True)]
