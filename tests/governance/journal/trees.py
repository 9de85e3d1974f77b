"""Trees in memory, computed as RFC 6962 defines them and not as the product does."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache


def leaf(number: int) -> bytes:
    """Return the leaf hash of one entry of the tree that tests share."""
    return hashlib.sha256(b"\x00entry %d" % number).digest()


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """Return the Merkle tree hash by its definition (section 2.1), over leaf hashes."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:half]) + naive_root(leaves[half:])).digest()


@cache
def perfect(level: int, index: int) -> bytes:
    """Return the root over the leaves `index << level` and on of the shared tree: a `ReadHash`."""
    if level == 0:
        return leaf(index)
    halves = perfect(level - 1, 2 * index) + perfect(level - 1, 2 * index + 1)
    return hashlib.sha256(b"\x01" + halves).digest()
