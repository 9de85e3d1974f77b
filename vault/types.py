"""Plain values of the vault. None of them shows key material in its repr."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class KekState(StrEnum):
    ACTIVE = "active"
    RETIRING = "retiring"
    RETIRED = "retired"
    DESTROYED = "destroyed"


class KeyPurpose(StrEnum):
    """What a signing key of the instance signs; no key serves two."""

    ATTESTATION = "attestation"
    CHECKPOINT = "checkpoint"


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A data key under a KEK. `wrapped` may be stored; it opens only with the same associated data."""

    kek_id: str
    wrapped: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Signer:
    """An Ed25519 key in use. `key_id` is the digest of the 32 raw public bytes.

    `sign` returns the 64 raw signature bytes (RFC 8032); the private half stays inside it.
    """

    key_id: str
    public_key: bytes
    sign: Callable[[bytes], bytes] = field(repr=False)


class KekProvider(Protocol):
    """Where key-encryption keys live. A locator names a key and never contains it."""

    kind: str

    def create(self, number: int) -> str:
        """Make key `number` durable, or find it made already, and return its locator."""
        ...

    def check_value(self, locator: str) -> bytes:
        """Return the 16 bytes that recognise the key."""
        ...

    def wrap(self, locator: str, data_key: bytes, context: bytes) -> bytes: ...

    def unwrap(self, locator: str, wrapped: bytes, context: bytes) -> bytes: ...
