"""The sealing keys of this installation, derived from the key file that settings read."""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache

from django.conf import settings

from identity.keys import FieldKey, field_aad, field_key, seal, unseal


@lru_cache(maxsize=16)
def _key(root_hex: str, model: str) -> FieldKey:
    return field_key(bytes.fromhex(root_hex), model)


def seal_field(model: str, row_id: str, field: str, plaintext: bytes) -> bytes:
    """Return the sealed form of one field of one row."""
    return seal(_key(settings.SECRET_KEY, model), plaintext, field_aad(model, row_id, field))


def open_field(model: str, row_id: str, field: str, sealed: bytes) -> bytes:
    """Return the plaintext, or raise InvalidError `integrity_failed`."""
    return unseal(_key(settings.SECRET_KEY, model), sealed, field_aad(model, row_id, field))


def keyed_digest(model: str, text: str) -> bytes:
    """Return 32 bytes that tell texts apart and that nobody without the key file can search for.

    Meant for what is too short for a plain digest.
    """
    key = _key(settings.SECRET_KEY, f"{model}/digest")
    return hmac.digest(key.secret, text.encode("utf-8", "replace"), hashlib.sha256)
