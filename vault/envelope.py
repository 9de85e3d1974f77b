"""Authenticated encryption of small values: AES-256-GCM bound to what the value is for."""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass, field
from typing import ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kernel.errors import UnavailableError

ALGORITHM = "AES-256-GCM"
KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
CHECK_BYTES = 16

_DOMAIN = b"palyra.vault.v1\0"
_CHECK = b"palyra.vault.kek-check.v1"


class IntegrityError(UnavailableError):
    """Sealed data did not open. One text for every cause, so that it tells nothing of the cause."""

    default_code: ClassVar[str] = "vault.integrity_failed"

    def __init__(self) -> None:
        super().__init__(detail="Sealed data failed its integrity check.")


@dataclass(frozen=True, slots=True)
class Sealed:
    """What may be stored: a fresh 12-byte nonce, and the ciphertext with its 16-byte tag."""

    nonce: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)

    def joined(self) -> bytes:
        """Return nonce and ciphertext as one run of bytes, for a single column."""
        return self.nonce + self.ciphertext

    @classmethod
    def split(cls, joined: bytes) -> Sealed:
        """Undo `joined`; what is too short to be one raises IntegrityError."""
        if len(joined) < NONCE_BYTES + TAG_BYTES:
            raise IntegrityError
        return cls(nonce=joined[:NONCE_BYTES], ciphertext=joined[NONCE_BYTES:])


def aad(purpose: str, *fields: str) -> bytes:
    """Return the associated data that ties a ciphertext to its purpose and place.

    Every field is preceded by its length (4 bytes, big-endian), so no field can imitate a border.
    """
    return _DOMAIN + b"".join(_prefixed(text) for text in (purpose, *fields))


def bind(context: bytes, text: str) -> bytes:
    """Return `context` with one more field, in the form of `aad`."""
    return context + _prefixed(text)


def seal(plaintext: bytes, *, key: bytes, context: bytes) -> Sealed:
    """Encrypt under a 32-byte key with a random nonce. `context` must come from `aad`."""
    nonce = os.urandom(NONCE_BYTES)
    return Sealed(nonce=nonce, ciphertext=AESGCM(key).encrypt(nonce, plaintext, context))


def open_sealed(sealed: Sealed, *, key: bytes, context: bytes) -> bytes:
    """Return the plaintext, or raise IntegrityError for whatever is wrong."""
    try:
        return AESGCM(key).decrypt(sealed.nonce, sealed.ciphertext, context)
    except (InvalidTag, ValueError, TypeError, OverflowError):
        raise IntegrityError from None


def check_value(key: bytes) -> bytes:
    """Return 16 bytes that recognise a key and do not reveal it."""
    return hmac.new(key, _CHECK, hashlib.sha256).digest()[:CHECK_BYTES]


def _prefixed(text: str) -> bytes:
    encoded = text.encode("utf-8")
    return len(encoded).to_bytes(4, "big") + encoded
