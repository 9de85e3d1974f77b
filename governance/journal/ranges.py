"""A tree from pieces: runs of leaves that were read, and the subtrees that stand for those that were not.

With the few hashes of `cover` for what is left out, any part of the log leads to the signed root, in
memory that grows with the logarithm of the tree. Bytes in, bytes out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from governance.journal.merkle import EMPTY_ROOT, ReadHash, node_hash


def cover(first: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield `(level, index)` of the fewest perfect subtrees over leaves first to end, from the left.

    ValueError unless 0 <= first <= end.
    """
    if not 0 <= first <= end:
        raise ValueError("not a range of leaves")
    while first < end:
        level = (end - first).bit_length() - 1
        if first:
            level = min(level, (first & -first).bit_length() - 1)
        yield level, first >> level
        first += 1 << level


def hashes_of(read_hash: ReadHash, first: int, end: int) -> tuple[bytes, ...]:
    """Return the hashes of the subtrees over leaves first to end, in the order of `cover`."""
    return tuple(read_hash(level, index) for level, index in cover(first, end))


@dataclass(slots=True)
class Span:
    """The leaves from `first` up to `end`, kept as the roots of their perfect subtrees."""

    first: int
    end: int = field(init=False)
    _nodes: list[tuple[int, int, bytes]] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        self.end = self.first

    def append(self, leaf: bytes) -> None:
        """Add the leaf at `end`."""
        self._push(0, self.end, leaf)

    def skip(self, end: int, hashes: Sequence[bytes]) -> None:
        """Add the leaves up to `end` by the hashes of their `cover`; ValueError when they are not as many."""
        places = list(cover(self.end, end))
        if len(places) != len(hashes):
            raise ValueError("not the hashes of this range")
        for (level, index), one in zip(places, hashes, strict=True):
            self._push(level, index, one)

    def join(self, following: Span) -> None:
        """Add all that `following` has; ValueError unless it begins where this one ends."""
        if following.first != self.end:
            raise ValueError("the spans do not meet")
        for level, index, one in following._nodes:
            self._push(level, index, one)

    def root(self) -> bytes:
        """Return the root of the tree; ValueError for a span that does not begin with leaf 0."""
        if self.first:
            raise ValueError("only a span from leaf 0 is a tree")
        if not self._nodes:
            return EMPTY_ROOT
        root = self._nodes[-1][2]
        for _, _, left in reversed(self._nodes[:-1]):
            root = node_hash(left, root)
        return root

    def _push(self, level: int, index: int, one: bytes) -> None:
        self.end = (index + 1) << level
        while self._nodes and index & 1 and self._nodes[-1][:2] == (level, index - 1):
            one = node_hash(self._nodes.pop()[2], one)
            level, index = level + 1, index >> 1
        self._nodes.append((level, index, one))
