"""The tree against the published vectors of Certificate Transparency, and against its definition."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings, strategies as st

from governance.journal.chain import START, leaf_hash, link
from governance.journal.merkle import (
    EMPTY_ROOT,
    TILE_WIDTH,
    Frontier,
    consistency_proof,
    hash_reader,
    inclusion_proof,
    root,
    tile_root,
    verify_consistency,
    verify_inclusion,
)
from tests.governance.journal.trees import leaf, naive_root, perfect

Path = tuple[bytes, ...]

MOST = 600
LEAVES = [leaf(number) for number in range(MOST + 1)]
ROOTS = [root(LEAVES[:size]) for size in range(MOST + 1)]

ENTRIES = [
    bytes.fromhex(entry)
    for entry in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
PUBLISHED_ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
"""Over the first 0 to 8 entries: the reference test of Certificate Transparency."""

PUBLISHED_PATHS = [
    (0, 8, ["96a296d2", "5f083f0a", "6b47aaf2"]),
    (5, 8, ["bc1a0643", "ca854ea1", "d37ee418"]),
    (2, 3, ["fac54203"]),
    (1, 5, ["6e340b9c", "5f083f0a", "bc1a0643"]),
]
"""Sequence, size and how each hash of the published audit path begins."""


def published_tree(size: int) -> Callable[[int, int], bytes]:
    def read_hash(level: int, index: int) -> bytes:
        assert (index + 1) << level <= size
        return naive_root([leaf_hash(one) for one in ENTRIES[index << level : (index + 1) << level]])

    return read_hash


@pytest.mark.parametrize("size", range(9))
def test_the_root_is_the_published_one(size: int) -> None:
    assert root(leaf_hash(entry) for entry in ENTRIES[:size]).hex() == PUBLISHED_ROOTS[size]


@pytest.mark.parametrize(("seq", "size", "begins"), PUBLISHED_PATHS)
def test_the_audit_path_is_the_published_one(seq: int, size: int, begins: list[str]) -> None:
    path = inclusion_proof(published_tree(size), seq, size)
    assert [one.hex()[:8] for one in path] == begins
    assert verify_inclusion(leaf_hash(ENTRIES[seq]), seq, size, path, bytes.fromhex(PUBLISHED_ROOTS[size]))


@pytest.mark.parametrize(
    ("old", "new", "begins"),
    [
        (1, 8, ["96a296d2", "5f083f0a", "6b47aaf2"]),
        (6, 8, ["0ebc5d34", "ca854ea1", "d37ee418"]),
        (2, 5, ["5f083f0a", "bc1a0643"]),
        (1, 1, []),
    ],
)
def test_the_consistency_proof_is_the_published_one(old: int, new: int, begins: list[str]) -> None:
    path = consistency_proof(published_tree(new), old, new)
    assert [one.hex()[:8] for one in path] == begins
    old_root, new_root = (bytes.fromhex(PUBLISHED_ROOTS[size]) for size in (old, new))
    assert verify_consistency(old, new, old_root, new_root, path)


def test_the_chain_begins_with_zeros_and_is_neither_a_leaf_nor_a_node() -> None:
    first = link(START, leaf(0))
    assert bytes(32) == START
    assert first not in (leaf_hash(START + leaf(0)), naive_root([START, leaf(0)]))
    assert link(first, leaf(1)) != link(first, leaf(2))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(min_size=32, max_size=32), max_size=200))
def test_the_edge_has_the_root_of_the_definition_and_survives_a_column(leaves: list[bytes]) -> None:
    frontier = Frontier()
    for one in leaves:
        frontier = frontier.extend(one)
    assert frontier.root() == naive_root(leaves) == root(leaves)
    assert Frontier.split(len(leaves), frontier.joined()) == frontier


@pytest.mark.parametrize(
    ("size", "count"), [(-1, 0), (0, 1), (1, 0), (3, 1), (3, 3), (255, 7), (4, 2), (2**62, 2)]
)
def test_bytes_that_are_no_edge_of_this_size_are_refused(size: int, count: int) -> None:
    with pytest.raises(ValueError, match="frontier"):
        Frontier.split(size, bytes(32 * count))
    with pytest.raises(ValueError, match="frontier"):
        Frontier.split(1, bytes(31))


@settings(max_examples=20, deadline=None)
@given(size=st.integers(1, MOST), other=st.integers(1, MOST), more=st.integers(1, MOST))
@example(size=600, other=599, more=1)
@example(size=257, other=256, more=128)
def test_every_leaf_is_included_at_its_place_and_nowhere_else(size: int, other: int, more: int) -> None:
    for seq in range(size):
        path = inclusion_proof(perfect, seq, size)
        elsewhere = (seq + more) % size
        assert verify_inclusion(LEAVES[seq], seq, size, path, ROOTS[size])
        assert elsewhere == seq or not verify_inclusion(LEAVES[seq], elsewhere, size, path, ROOTS[size])
        assert elsewhere == seq or not verify_inclusion(LEAVES[elsewhere], seq, size, path, ROOTS[size])
        assert other == size or not verify_inclusion(LEAVES[seq], seq, other, path, ROOTS[other])


def test_in_small_trees_no_other_leaf_place_or_tree_takes_a_proof() -> None:
    for size in range(1, 13):
        for seq in range(size):
            path = inclusion_proof(perfect, seq, size)
            taken = [
                (which, place, tree)
                for tree in range(1, 13)
                for place in range(13)
                for which in range(13)
                if verify_inclusion(LEAVES[which], place, tree, path, ROOTS[tree])
            ]
            assert taken == [(seq, seq, size)]


@settings(max_examples=20, deadline=None)
@given(new=st.integers(0, MOST), other=st.integers(0, MOST))
@example(new=600, other=512)
def test_every_older_tree_is_the_beginning_of_the_newer_and_no_other_is(new: int, other: int) -> None:
    for old in range(new + 1):
        path = consistency_proof(perfect, old, new)
        assert verify_consistency(old, new, ROOTS[old], ROOTS[new], path)
        if old != other and 0 < other < new and old > 0:
            assert not verify_consistency(old, new, ROOTS[other], ROOTS[new], path)
            assert not verify_consistency(old, new, ROOTS[old], ROOTS[other], path)


def test_a_changed_short_or_long_path_proves_nothing() -> None:
    size, seq, old = 300, 137, 201

    def includes(path: Path) -> bool:
        return verify_inclusion(LEAVES[seq], seq, size, path, ROOTS[size])

    def begins(path: Path) -> bool:
        return verify_consistency(old, size, ROOTS[old], ROOTS[size], path)

    _assert_only(inclusion_proof(perfect, seq, size), includes)
    _assert_only(consistency_proof(perfect, old, size), begins)


def _assert_only(path: Path, holds: Callable[[Path], bool]) -> None:
    assert holds(path)
    for at in range(len(path)):
        flipped = bytes([path[at][0] ^ 1]) + path[at][1:]
        assert not holds((*path[:at], flipped, *path[at + 1 :]))
        assert not holds((*path[:at], *path[at + 1 :]))
        assert not holds((*path[:at], path[at], *path[at:]))
        assert not holds((*path[:at], path[at][:-1], *path[at + 1 :]))
    assert not holds((*path, leaf(0)))
    assert not holds(tuple(reversed(path)))


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=40)
)


@settings(max_examples=200, deadline=None)
@given(st.tuples(JUNK, JUNK, JUNK, JUNK), st.lists(JUNK, max_size=4))
def test_whatever_comes_is_judged_and_never_raises(junk: Any, path: Any) -> None:
    a, b, c, d = junk
    for judged in (
        verify_inclusion(a, b, c, path, d),
        verify_inclusion(leaf(0), b, c, path, leaf(1)),
        verify_consistency(a, b, c, d, path),
        verify_consistency(b, c, leaf(0), leaf(1), path),
    ):
        assert judged is False


@pytest.mark.parametrize(("seq", "size"), [(-1, 3), (3, 3), (4, 3), (0, 0), (0, -1)])
def test_there_is_no_proof_of_a_leaf_that_is_not_there(seq: int, size: int) -> None:
    with pytest.raises(ValueError, match="no such leaf"):
        inclusion_proof(perfect, seq, size)
    assert not verify_inclusion(leaf(0), seq, size, (), leaf(0))


@pytest.mark.parametrize(("old", "new"), [(-1, 3), (4, 3), (1, 0), (0, -1)])
def test_there_is_no_proof_from_a_larger_tree(old: int, new: int) -> None:
    with pytest.raises(ValueError, match="older tree"):
        consistency_proof(perfect, old, new)
    assert not verify_consistency(old, new, leaf(0), leaf(0), ())


class Tiles:
    """The tiles of a tree, by the arithmetic of the format, and which of them were read how wide."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.levels = [leaves]
        while len(self.levels[-1]) >= TILE_WIDTH:
            below = self.levels[-1]
            full = range(0, len(below) - TILE_WIDTH + 1, TILE_WIDTH)
            self.levels.append([tile_root(b"".join(below[at : at + TILE_WIDTH])) for at in full])
        self.read: dict[tuple[int, int], int] = {}

    def read_tile(self, level: int, index: int, width: int) -> bytes:
        self.read[level, index] = width
        hashes = self.levels[level][index * TILE_WIDTH : index * TILE_WIDTH + width]
        assert len(hashes) == width
        return b"".join(hashes)


def test_a_tree_of_70000_leaves_has_edges_of_112_17_and_1() -> None:
    """And an inclusion proof reads one tile of each level beside them."""
    size = 70_000
    leaves = [leaf_hash(b"%d" % number) for number in range(size)]
    whole = root(leaves)
    tiles = Tiles(leaves)
    assert [len(level) % TILE_WIDTH for level in tiles.levels] == [112, 17, 1]
    for seq in (0, 255, 256, 65_535, 65_536, 69_887, 69_888, size - 1):
        tiles.read.clear()
        path = inclusion_proof(hash_reader(tiles.read_tile, size), seq, size)
        assert verify_inclusion(leaves[seq], seq, size, path, whole)
        edges = {place: width for place, width in tiles.read.items() if width < TILE_WIDTH}
        assert edges.items() <= {(0, 273): 112, (1, 1): 17, (2, 0): 1}.items()
        assert len(tiles.read) - len(edges) <= 2
    for old, new in pairwise((1, 300, 65_536, 65_537, 70_000)):
        tiles.read.clear()
        path = consistency_proof(hash_reader(tiles.read_tile, new), old, new)
        assert verify_consistency(old, new, root(leaves[:old]), root(leaves[:new]), path)


def test_the_empty_tree_is_the_beginning_of_every_tree() -> None:
    assert verify_consistency(0, 9, EMPTY_ROOT, ROOTS[9], ())
    assert not verify_consistency(0, 9, leaf(0), ROOTS[9], ())
    assert not verify_consistency(0, 9, EMPTY_ROOT, ROOTS[9], (leaf(0),))
