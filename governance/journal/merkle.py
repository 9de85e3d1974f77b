"""The Merkle tree of RFC 6962, section 2.1, and its proofs. Bytes in, bytes out.

`verify_*` are total: whatever is wrong with sizes, lengths or types is False and never an exception.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from governance.journal.chain import HASH_BYTES

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
EMPTY_ROOT = hashlib.sha256(b"").digest()

ReadHash = Callable[[int, int], bytes]
"""`(level, index)` to the root of the perfect subtree over leaves `index << level` and the next ones."""

ReadTile = Callable[[int, int, int], bytes]
"""`(tile level, tile index, width)` to `width` hashes of 32 bytes each; width is 1 to 256."""

_NODE = b"\x01"


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the 32-byte hash of an inner node."""
    return hashlib.sha256(_NODE + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """The right edge of a tree: the roots of its perfect subtrees, the largest first."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def extend(self, leaf: bytes) -> Frontier:
        """Return the edge with one more leaf."""
        hashes, size = [*self.hashes, leaf], self.size
        while size & 1:
            right = hashes.pop()
            hashes.append(node_hash(hashes.pop(), right))
            size >>= 1
        return Frontier(self.size + 1, tuple(hashes))

    def root(self) -> bytes:
        """Return the root of the tree; the empty one has the hash of nothing."""
        if not self.hashes:
            return EMPTY_ROOT
        root = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            root = node_hash(left, root)
        return root

    def joined(self) -> bytes:
        """Return the hashes as one run of bytes, for a column."""
        return b"".join(self.hashes)

    @classmethod
    def split(cls, size: int, joined: bytes) -> Frontier:
        """Undo `joined`; ValueError when the bytes are not as many as a tree of this size has."""
        if size < 0 or len(joined) != size.bit_count() * HASH_BYTES:
            raise ValueError("not the frontier of a tree of this size")
        return cls(size, tuple(chunked(joined)))


def root(leaves: Iterable[bytes]) -> bytes:
    """Return the root over these leaf hashes."""
    frontier = Frontier()
    for leaf in leaves:
        frontier = frontier.extend(leaf)
    return frontier.root()


def chunked(joined: bytes) -> list[bytes]:
    """Return a run of hashes one by one."""
    return [joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES)]


def tile_root(hashes: bytes) -> bytes:
    """Return the root over the hashes of a tile, a power of two of them."""
    level = chunked(hashes)
    while len(level) > 1:
        level = [node_hash(level[at], level[at + 1]) for at in range(0, len(level), 2)]
    return level[0]


def hash_reader(read_tile: ReadTile, size: int) -> ReadHash:
    """Return a `ReadHash` over the tiles of a tree of `size` leaves. It reads each tile once."""
    tiles: dict[tuple[int, int], bytes] = {}

    def read_hash(level: int, index: int) -> bytes:
        tile_level, height = divmod(level, TILE_HEIGHT)
        tile_index, start = divmod(index << height, TILE_WIDTH)
        if (tile_level, tile_index) not in tiles:
            width = min(TILE_WIDTH, (size >> (tile_level * TILE_HEIGHT)) - tile_index * TILE_WIDTH)
            tiles[tile_level, tile_index] = read_tile(tile_level, tile_index, width)
        hashes = tiles[tile_level, tile_index]
        return tile_root(hashes[start * HASH_BYTES : (start + (1 << height)) * HASH_BYTES])

    return read_hash


def inclusion_proof(read_hash: ReadHash, seq: int, size: int) -> tuple[bytes, ...]:
    """Return the audit path of leaf `seq` in the tree of `size` leaves, from the leaf up.

    Raises ValueError unless 0 <= seq < size.
    """
    if not 0 <= seq < size:
        raise ValueError("no such leaf in this tree")
    path: list[bytes] = []
    first, end = 0, size
    while end - first > 1:
        middle = first + _split(end - first)
        if seq < middle:
            path.append(_range_root(read_hash, middle, end))
            end = middle
        else:
            path.append(_range_root(read_hash, first, middle))
            first = middle
    return tuple(reversed(path))


def consistency_proof(read_hash: ReadHash, old: int, new: int) -> tuple[bytes, ...]:
    """Return the proof that the tree of `new` leaves begins with that of `old` ones (section 2.1.2).

    Empty for equal sizes and for an empty old tree. Raises ValueError unless 0 <= old <= new.
    """
    if not 0 <= old <= new:
        raise ValueError("the older tree is not the larger one")
    if old in (0, new):
        return ()
    path: list[bytes] = []
    first, end, is_whole = 0, new, True
    while end != old:
        middle = first + _split(end - first)
        if old <= middle:
            path.append(_range_root(read_hash, middle, end))
            end = middle
        else:
            path.append(_range_root(read_hash, first, middle))
            first, is_whole = middle, False
    if not is_whole:
        path.append(_range_root(read_hash, first, end))
    return tuple(reversed(path))


def verify_inclusion(leaf: bytes, seq: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Tell whether `path` leads from the leaf hash at `seq` to the root of `size` leaves.

    The algorithm of RFC 9162, section 2.1.3.2. It binds the size only together with a signed root.
    """
    if not _are_hashes(leaf, root, *path) or not _are_sizes(seq, size) or seq >= size:
        return False
    node, at, last = leaf, seq, size - 1
    for sibling in path:
        if last == 0:
            return False
        if at & 1 or at == last:
            node = node_hash(sibling, node)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and node == root


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Tell whether `path` shows the tree of `old` leaves to be the beginning of that of `new`.

    The algorithm of RFC 9162, section 2.1.4.2.
    """
    if not _are_hashes(old_root, new_root, *path) or not _are_sizes(old, new) or old > new:
        return False
    if old == new:
        return not path and old_root == new_root
    if old == 0:
        return not path and old_root == EMPTY_ROOT
    steps = list(path) if old & (old - 1) else [old_root, *path]
    if not steps:
        return False
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    older = newer = steps[0]
    for sibling in steps[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            older, newer = node_hash(sibling, older), node_hash(sibling, newer)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            newer = node_hash(newer, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and older == old_root and newer == new_root


def _split(count: int) -> int:
    """Return the largest power of two below `count`, which is at least 2."""
    return 1 << ((count - 1).bit_length() - 1)


def _range_root(read_hash: ReadHash, first: int, end: int) -> bytes:
    """Return the root over leaves first to end; only the right edge of a tree is not one perfect subtree."""
    perfect: list[bytes] = []
    while first < end:
        level = (end - first).bit_length() - 1
        perfect.append(read_hash(level, first >> level))
        first += 1 << level
    node = perfect.pop()
    while perfect:
        node = node_hash(perfect.pop(), node)
    return node


def _are_hashes(*values: object) -> bool:
    return all(isinstance(value, bytes) and len(value) == HASH_BYTES for value in values)


def _are_sizes(*values: object) -> bool:
    return all(isinstance(value, int) and not isinstance(value, bool) and value >= 0 for value in values)
