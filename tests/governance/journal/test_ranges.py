"""A tree from pieces has the root of the whole, and of nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings, strategies as st

from governance.journal.chain import leaf_hash
from governance.journal.merkle import EMPTY_ROOT, Frontier, root, tile_root
from governance.journal.ranges import Span, cover, hashes_of

MOST = 80
LEAVES = tuple(leaf_hash(str(n).encode()) for n in range(MOST))


def read_hash(level: int, index: int) -> bytes:
    return tile_root(b"".join(LEAVES[index << level : (index + 1) << level]))


def pieced(cuts: Sequence[int], size: int, leaves: Sequence[bytes] = LEAVES) -> Span:
    """Join the pieces between cuts: by turns leaf by leaf, and by the hashes that stand for them."""
    whole = Span(0)
    for turn, (first, end) in enumerate(pairwise(cuts)):
        if turn % 2:
            whole.skip(end, hashes_of(read_hash, first, end))
        else:
            piece = Span(first)
            for seq in range(first, end):
                piece.append(leaves[seq])
            whole.join(piece)
    assert whole.end == size
    return whole


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_pieces_have_the_root_of_the_whole(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, MOST))
    between = data.draw(st.lists(st.integers(0, size), max_size=6))
    cuts = [0, *sorted(between), size]

    assert pieced(cuts, size).root() == root(LEAVES[:size])


@given(st.integers(0, 5_000), st.integers(0, 5_000))
def test_a_cover_is_made_of_whole_subtrees_without_gap(one: int, other: int) -> None:
    first, end = sorted((one, other))
    at = first
    places = list(cover(first, end))
    for level, index in places:
        assert index << level == at
        at = (index + 1) << level
    assert at == end
    assert len(places) <= 2 * max(1, (end - first).bit_length())


@given(st.integers(0, MOST))
def test_the_cover_from_the_first_leaf_is_the_frontier(size: int) -> None:
    frontier = Frontier()
    for leaf in LEAVES[:size]:
        frontier = frontier.extend(leaf)
    assert hashes_of(read_hash, 0, size) == frontier.hashes


def test_a_changed_leaf_changes_the_root_wherever_it_lies() -> None:
    for seq in range(11):
        leaves = list(LEAVES)
        leaves[seq] = hashlib.sha256(b"other").digest()
        assert pieced([0, 11], 11, leaves).root() != root(LEAVES[:11])


def test_what_does_not_fit_is_refused() -> None:
    assert Span(0).root() == EMPTY_ROOT
    for wrong in ((3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="not a range"):
            list(cover(*wrong))
    with pytest.raises(ValueError, match="do not meet"):
        Span(0).join(Span(1))
    with pytest.raises(ValueError, match="from leaf 0"):
        Span(1).root()
    for count in (0, 1, 3):
        with pytest.raises(ValueError, match="hashes of this range"):
            Span(0).skip(6, LEAVES[:count])
