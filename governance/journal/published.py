"""The public halves of the signing keys, as they are handed out: in one document, each in three spellings."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from governance.journal import note
from governance.journal.keys import Window, origin, windows
from kernel.clock import exact_time
from vault.types import KeyPurpose


def key_document(now: datetime) -> dict[str, Any]:
    """Return `origin`, the name of the log, and its `keys`: all that ever signed, with their windows.

    A signature counts from `not_before` on, up to `retired_at`, and only before `revoked_at`. `vkey` is the
    C2SP form of a key for checkpoints and null for any other; `public_key` is the raw key in base64.
    """
    name = origin(now)
    return {
        "object": "key_set",
        "origin": name,
        "keys": [
            _key(key_id, purpose, window, name)
            for purpose in KeyPurpose
            for key_id, window in windows(purpose).items()
        ],
    }


def pem(public_key: bytes) -> str:
    """Return a raw Ed25519 key as PEM, for `openssl pkeyutl -pubin`."""
    key = Ed25519PublicKey.from_public_bytes(public_key)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _key(key_id: str, purpose: KeyPurpose, window: Window, name: str) -> dict[str, Any]:
    signs_notes = purpose is KeyPurpose.CHECKPOINT
    return {
        "key_id": key_id,
        "purpose": purpose.value,
        "algorithm": "ed25519",
        "public_key": base64.b64encode(window.public_key).decode(),
        "pem": pem(window.public_key),
        "vkey": note.verifier_key(name, window.public_key) if signs_notes else None,
        "not_before": exact_time(window.not_before),
        "retired_at": _time(window.retired_at),
        "revoked_at": _time(window.revoked_at),
    }


def _time(moment: datetime | None) -> str | None:
    return exact_time(moment) if moment else None
