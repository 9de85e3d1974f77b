"""The tree and the chain, computed again from the stored leaves, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.db.models import Max, QuerySet

from governance.journal.chain import HASH_BYTES, START, link
from governance.journal.findings import Code, Finding
from governance.journal.merkle import TILE_HEIGHT, TILE_WIDTH, Frontier, tile_root
from governance.journal.models import JournalCheckpoint, JournalLeaf, JournalTile
from governance.journal.tiles import gather, reader
from kernel.errors import NotFoundError

MOST_LEVELS = 8
MOST_SURPLUS = 100


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """The columns of a checkpoint that the tree decides, and whether its signature holds."""

    size: int
    root: bytes
    chain_head: bytes
    frontier: bytes
    is_signed: bool

    def edge(self) -> Frontier | None:
        """Return its frontier when that is the one of its root."""
        try:
            found = Frontier.split(self.size, self.frontier)
        except ValueError:
            return None
        return found if found.root() == self.root else None


class Tiles:
    """Compares stored tiles of every level with the hashes below them, as leaves go by."""

    def __init__(self, start: int) -> None:
        self._levels: list[bytearray | None] = []
        self._start = start

    def add(self, leaf: bytes, seq: int) -> Iterator[Finding]:
        """Take the next leaf. `seq` must be the one after the last."""
        yield from self._push(0, leaf, seq)

    def skip_to(self, seq: int) -> None:
        """Forget the tiles that a gap makes unknown: go on at the next that begins at `seq` or later."""
        self._levels = [None] * len(self._levels)
        self._start = seq

    def _push(self, level: int, digest: bytes, seq: int) -> Iterator[Finding]:
        if level == len(self._levels):
            self._levels.append(_filled(level, self._start))
        index = seq >> (TILE_HEIGHT * (level + 1))
        buffer = self._levels[level]
        if buffer is None:
            if (seq >> (TILE_HEIGHT * level)) % TILE_WIDTH:
                return
            buffer = self._levels[level] = bytearray()
        buffer += digest
        if len(buffer) < TILE_WIDTH * HASH_BYTES:
            return
        self._levels[level] = bytearray()
        root = tile_root(bytes(buffer))
        fault, stored_root = _compared(level, index, bytes(buffer), root)
        if fault:
            first = index << (TILE_HEIGHT * (level + 1))
            yield Finding(Code.TILE_MISMATCH, first, None, f"tile {level}/{index}: {fault}")
        yield from self._push(level + 1, stored_root, first_of(level, index))


def first_of(level: int, index: int) -> int:
    """Return the first leaf under a tile."""
    return index << (TILE_HEIGHT * (level + 1))


def _filled(level: int, start: int) -> bytearray | None:
    """Return what a tile already holds where the reading starts; None when that is not stored."""
    width = (start >> (TILE_HEIGHT * level)) % TILE_WIDTH
    if not width:
        return bytearray()
    try:
        return bytearray(gather(level, start >> (TILE_HEIGHT * (level + 1)), width))
    except NotFoundError:
        return None


def _compared(level: int, index: int, hashes: bytes, root: bytes) -> tuple[str, bytes]:
    """Return what is wrong with a stored tile, and the root by which the next level judges.

    A tile that holds together keeps its own root, so that one changed leaf is named once and not at
    every level above.
    """
    row = JournalTile.objects.filter(level=level, index=index).values_list("hashes", "root").first()
    if row is None:
        return "it is missing", root
    stored, stored_root = bytes(row[0]), bytes(row[1])
    if stored != hashes:
        whole = len(stored) == len(hashes) and tile_root(stored) == stored_root
        return "its hashes are not those below it", stored_root if whole else root
    if stored_root != root:
        return "its root is not that of its hashes", root
    return "", root


def surplus_tiles() -> Iterator[Finding]:
    """Name stored tiles that the tree does not have. The size is read after them, since the log grows."""
    beyond = newest_size()
    found = [
        (level, index)
        for level in range(MOST_LEVELS)
        for index in _indices(level).filter(index__gte=_tiles_of(beyond, level))[:MOST_SURPLUS]
    ]
    size = newest_size()
    for level, index in found:
        if index >= _tiles_of(size, level):
            yield Finding(Code.TILE_MISMATCH, None, None, f"tile {level}/{index}: the tree has no such tile")


def newest_size() -> int:
    """Return the size of the newest checkpoint, 0 without one."""
    return JournalCheckpoint.objects.aggregate(size=Max("tree_size"))["size"] or 0


def _indices(level: int) -> QuerySet[JournalTile, int]:
    return JournalTile.objects.filter(level=level).order_by("index").values_list("index", flat=True)


def _tiles_of(size: int, level: int) -> int:
    return size >> (TILE_HEIGHT * (level + 1))


class Tree:
    """The frontier, the chain and the tiles from leaf to leaf, compared at each checkpoint.

    Two frontiers are carried. One knows nothing but leaves. The other, once they differ, starts again from
    each checkpoint that holds together, so that one changed leaf is named at the next checkpoint only.
    """

    def __init__(self, start: int) -> None:
        self._next = start
        self._tiles = Tiles(start)
        self._chain = _chain_before(start)
        self._whole = self._near = edge_at(start)
        self._has_diverged = False
        self._other_history: int | None = None

    @property
    def next_seq(self) -> int:
        return self._next

    def leaf(self, seq: int, event_id: str, leaf: bytes, chain: bytes) -> Iterator[Finding]:
        """Take the next stored leaf; the numbers that are missing before it are a gap."""
        if seq != self._next:
            yield from self.gap(seq)
        if self._chain is not None and chain != link(self._chain, leaf):
            yield Finding(Code.CHAIN_BREAK, seq, event_id, "its link does not follow from the one before")
        self._chain = chain
        yield from self._tiles.add(leaf, seq)
        self._whole = self._whole.extend(leaf) if self._whole is not None else None
        if not self._has_diverged:
            self._near = self._whole
        elif self._near is not None:
            self._near = self._near.extend(leaf)
        self._next = seq + 1

    def gap(self, seq: int) -> Iterator[Finding]:
        """Name the leaves between the last one and `seq` as gone."""
        if seq > self._next:
            count = seq - self._next
            yield Finding(Code.SEQ_GAP, self._next, None, f"{count} leaves are missing from here")
            self._tiles.skip_to(seq)
            self._chain = self._whole = self._near = None
            self._has_diverged = True
            self._next = seq

    def checkpoint(self, stored: StoredCheckpoint) -> Iterator[Finding]:
        """Compare a checkpoint whose last leaf was the latest one, or lay in a gap before it."""
        seq, edge = stored.size - 1, stored.edge()
        if edge is None:
            yield Finding(Code.ROOT_MISMATCH, seq, None, "the stored frontier is not that of the root")
        if self._next != stored.size:
            return
        if self._chain is not None and self._chain != stored.chain_head:
            yield Finding(Code.CHAIN_BREAK, seq, None, f"checkpoint {stored.size} ends another chain")
        yield from self._compare(stored, seq)
        if self._has_diverged and edge is not None:
            self._near = edge

    def _compare(self, stored: StoredCheckpoint, seq: int) -> Iterator[Finding]:
        if self._whole is not None and self._whole.root() == stored.root:
            if self._other_history is not None and stored.is_signed:
                yield Finding(
                    Code.INCONSISTENT_CHECKPOINTS,
                    seq,
                    None,
                    f"checkpoints {self._other_history} and {stored.size} are signed and not one history",
                )
                self._other_history = None
            self._has_diverged = False
            return
        was_known = self._near is not None
        if self._near is not None and self._near.root() == stored.root:
            return
        self._has_diverged = True
        if was_known:
            detail = f"the leaves do not lead to the root of checkpoint {stored.size}"
            yield Finding(Code.ROOT_MISMATCH, seq, None, detail)
            self._other_history = stored.size if stored.is_signed else self._other_history


def _chain_before(start: int) -> bytes | None:
    if start == 0:
        return START
    found = JournalLeaf.objects.filter(seq=start - 1).values_list("chain_hash", flat=True).first()
    return None if found is None else bytes(found)


def edge_at(start: int) -> Frontier | None:
    """Return the frontier of the stored tree at a size; None when a part of it is not stored."""
    read_hash, first = reader(start), 0
    hashes: list[bytes] = []
    try:
        for level in range(start.bit_length() - 1, -1, -1):
            if start >> level & 1:
                hashes.append(read_hash(level, first >> level))
                first += 1 << level
    except NotFoundError:
        return None
    return Frontier(start, tuple(hashes))
