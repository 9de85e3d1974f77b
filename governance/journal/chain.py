"""The two hashes that every event adds: its leaf in the tree, and its link in the chain.

The leaf is that of RFC 6962, section 2.1; the chain has a prefix of its own, so neither can be the other.
"""

from __future__ import annotations

import hashlib

HASH_BYTES = 32
START = bytes(HASH_BYTES)
"""What the first link follows."""

_LEAF, _LINK = b"\x00", b"\x02"


def leaf_hash(envelope: bytes) -> bytes:
    """Return the 32-byte leaf of the exact bytes of an envelope."""
    return hashlib.sha256(_LEAF + envelope).digest()


def link(previous: bytes, leaf: bytes) -> bytes:
    """Return the 32-byte chain hash that follows `previous`."""
    return hashlib.sha256(_LINK + previous + leaf).digest()
