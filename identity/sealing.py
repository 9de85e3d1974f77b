"""The sealing keys of this installation, derived from the key files that settings read.

New values are sealed under the present key file. What was sealed under an older one opens while that file
is listed; `manage.py reseal_identity` ends the need for it.
"""

from __future__ import annotations

import hashlib
import hmac
from contextlib import suppress
from functools import lru_cache

from django.conf import settings

from identity.keys import FieldKey, field_aad, field_key, seal, unseal
from kernel.errors import InvalidError


@lru_cache(maxsize=64)
def _key(root_hex: str, model: str) -> FieldKey:
    return field_key(bytes.fromhex(root_hex), model)


def seal_field(model: str, row_id: str, field: str, plaintext: bytes) -> bytes:
    """Return the sealed form of one field of one row."""
    return seal(_key(settings.SECRET_KEY, model), plaintext, field_aad(model, row_id, field))


def open_field(model: str, row_id: str, field: str, sealed: bytes) -> bytes:
    """Return the plaintext, or raise InvalidError `integrity_failed` when no key file opens it."""
    aad = field_aad(model, row_id, field)
    for root in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        with suppress(InvalidError):
            return unseal(_key(root, model), sealed, aad)
    raise InvalidError("integrity_failed", "A sealed value does not open.")


def is_under_present_key(model: str, row_id: str, field: str, sealed: bytes) -> bool:
    """Tell whether a value opens without any older key file."""
    try:
        unseal(_key(settings.SECRET_KEY, model), sealed, field_aad(model, row_id, field))
    except InvalidError:
        return False
    return True


def keyed_digest(model: str, text: str) -> bytes:
    """Return 32 bytes that tell texts apart and that nobody without the key file can search for.

    Meant for what is too short for a plain digest.
    """
    return keyed_digests(model, text)[0]


def keyed_digests(model: str, text: str) -> tuple[bytes, ...]:
    """Return the digest under the present key file, then those under the older ones that are listed."""
    data = text.encode("utf-8", "replace")
    roots = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    return tuple(hmac.digest(_key(root, f"{model}/digest").secret, data, hashlib.sha256) for root in roots)
