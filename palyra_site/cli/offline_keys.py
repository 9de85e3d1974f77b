"""Public keys that a person brings along: the anchor of every check without a server."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palyra_site.cli.failures import UsageError

CHECKPOINT, ATTESTATION = "checkpoint", "attestation"
_MOST_BYTES = 256 * 1024
_KEY_BYTES = 32
_SIGNED = 1


@dataclass(frozen=True, slots=True)
class Anchor:
    """A raw public key. `origin`: the one log it may sign for; `purpose`: what it may sign; None is any."""

    key: bytes
    origin: str | None = None
    purpose: str | None = None


@dataclass(frozen=True, slots=True)
class Anchors:
    """The keys of one command, and what was said of those that do not count."""

    known: tuple[Anchor, ...]
    left_out: tuple[str, ...] = ()

    def all_ids(self) -> set[str]:
        """Return the ids of all keys, whatever they may sign."""
        return set(_by_id(one.key for one in self.known))

    def checkpoint_keys(self, origin: str) -> dict[str, bytes]:
        """Return the keys by id that may sign a checkpoint of this log."""
        return _by_id(one.key for one in self.known if _fits(one, CHECKPOINT, origin))

    def attestation_keys(self) -> dict[str, bytes]:
        """Return the keys by id that may sign an attestation."""
        return _by_id(one.key for one in self.known if one.purpose in (None, ATTESTATION))


def read_anchors(given: Sequence[str]) -> Anchors:
    """Return the keys of all `--key`: each a file or the text itself, as PEM, raw base64, C2SP vkey
    (`name+hash+key`) or a palyra-keys.json. UsageError for whatever is none.

    A key that its list calls revoked is left out: nothing offline says when a signature was made.
    """
    known: list[Anchor] = []
    left_out: list[str] = []
    for one in given:
        text = _text(one).strip()
        if text.startswith("{"):
            found, revoked = _listed(text)
            known += found
            left_out += revoked
        else:
            known.append(_single(text))
    if not known:
        raise UsageError("None of the keys can be used.")
    return Anchors(tuple(known), tuple(left_out))


def _fits(one: Anchor, purpose: str, origin: str) -> bool:
    return one.purpose in (None, purpose) and one.origin in (None, origin)


def _by_id(keys: Iterable[bytes]) -> dict[str, bytes]:
    from kernel.canonical import digest_bytes

    return {digest_bytes(key): key for key in keys}


def _text(given: str) -> str:
    """Return the content of the file of this name, or the text when there is no such file."""
    try:
        path = Path(given)
        if not path.is_file():
            return given
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise UsageError(f"{given} is too large for a key.")
        return data.decode("utf-8")
    except (OSError, ValueError) as error:
        raise UsageError("A key could not be read.") from error


def _single(text: str) -> Anchor:
    if text.startswith("-----BEGIN PUBLIC KEY-----"):
        return Anchor(_from_pem(text))
    if text.count("+") >= 2 and not _is_raw(text):
        return _from_vkey(text)
    key = _decoded(text)
    if key is None or len(key) != _KEY_BYTES:
        raise UsageError(
            "A key is a file or a text: PEM, raw base64, name+hash+key, or a palyra-keys.json.",
            hint="the server shows its keys at /.well-known/palyra-keys.json",
        )
    return Anchor(key)


def _from_pem(text: str) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(text.encode())
    except ValueError as error:
        raise UsageError("The PEM text is no public key.") from error
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError("The journal is signed with Ed25519; this is another kind of key.")
    return key.public_bytes_raw()


def _from_vkey(text: str) -> Anchor:
    """The name must not hold a plus, so what follows the second one is base64 with pluses of its own."""
    from governance.journal.note import is_origin, key_hash

    name, digest, encoded = text.split("+", 2)
    data = _decoded(encoded)
    if data is None or len(data) != _KEY_BYTES + 1 or data[0] != _SIGNED or not is_origin(name):
        raise UsageError("The verifier key is not one of Ed25519.")
    if key_hash(name, data[1:]).hex() != digest:
        raise UsageError("The verifier key does not have the hash that it names.")
    return Anchor(data[1:], origin=name, purpose=CHECKPOINT)


def _listed(text: str) -> tuple[list[Anchor], list[str]]:
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError("The list of keys is no JSON.") from error
    rows = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UsageError("The list of keys has no keys.")
    known, left_out = [], []
    for row in rows:
        key = _decoded(row.get("public_key"))
        purpose = row.get("purpose")
        if key is None or len(key) != _KEY_BYTES or not isinstance(purpose, str | None):
            raise UsageError("The list of keys holds one that is no Ed25519 key.")
        if row.get("revoked_at"):
            left_out.append(f"{row.get('key_id')} is revoked and counts for nothing here")
        else:
            known.append(Anchor(key, purpose=purpose))
    return known, left_out


def _is_raw(text: str) -> bool:
    key = _decoded(text)
    return key is not None and len(key) == _KEY_BYTES


def _decoded(text: object) -> bytes | None:
    try:
        data = base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except (binascii.Error, ValueError):
        return None
    return data if data is not None and base64.b64encode(data).decode() == text else None
