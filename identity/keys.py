"""Sealing of small secrets: ChaCha20-Poly1305 (RFC 8439) under keys derived by HKDF-SHA256 (RFC 5869).

A sealed value is one byte naming the root key, a 12-byte nonce and the ciphertext with its tag. The
additional data binds it to one field of one row: a copy placed anywhere else does not open.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kernel.errors import InvalidError

ROOT_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16


@dataclass(frozen=True, slots=True)
class FieldKey:
    """The key of one model under one root. `key_id` tells roots apart, it reveals nothing of them."""

    key_id: int
    secret: bytes = field(repr=False)


def field_key(root: bytes, model: str) -> FieldKey:
    """Derive the key of `model`. A root shorter than 32 bytes is a ValueError."""
    if len(root) < ROOT_BYTES:
        raise ValueError(f"a root key has at least {ROOT_BYTES} bytes")
    derived = HKDF(
        algorithm=SHA256(), length=32, salt=None, info=f"palyra/identity/v1/{model}".encode()
    ).derive(root)
    return FieldKey(key_id=hashlib.sha256(b"palyra/identity/v1/key-id|" + root).digest()[0], secret=derived)


def field_aad(model: str, row_id: str, field_name: str) -> bytes:
    """Return the additional data of one field: `<model>|<id>|<field>`."""
    return f"{model}|{row_id}|{field_name}".encode()


def seal(key: FieldKey, plaintext: bytes, aad: bytes) -> bytes:
    """Return the sealed form. Two seals of one text differ, because each draws its own nonce."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return bytes([key.key_id]) + nonce + ChaCha20Poly1305(key.secret).encrypt(nonce, plaintext, aad)


def unseal(key: FieldKey, sealed: bytes, aad: bytes) -> bytes:
    """Return the plaintext, or raise InvalidError `integrity_failed` for any other key, row or byte."""
    if len(sealed) < 1 + NONCE_BYTES + TAG_BYTES or sealed[0] != key.key_id:
        raise InvalidError("integrity_failed", "A sealed value does not open.")
    nonce, body = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
    try:
        return ChaCha20Poly1305(key.secret).decrypt(nonce, body, aad)
    except InvalidTag:
        raise InvalidError("integrity_failed", "A sealed value does not open.") from None
