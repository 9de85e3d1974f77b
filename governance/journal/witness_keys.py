"""The keys of witnesses as they are configured (C2SP vkey, type 0x04)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from governance.journal import note

_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Witness:
    """Who cosigns checkpoints. `url` is where one may be asked to; empty when it comes by itself."""

    name: str
    public_key: bytes
    url: str = ""


def parse(entry: str) -> Witness:
    """Return the witness of `name+hash+key` or `name+hash+key@https://…`.

    ValueError for anything else, a key of another type, and a hash that is not that of name and key.
    """
    named, plus, rest = entry.strip().partition("+")
    hashed, second, rest = rest.partition("+")
    encoded, _, url = rest.partition("@")
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("a witness has no key in base64") from error
    kind, key = data[:1], data[1:]
    if not plus or not second or not note.is_origin(named) or kind != note.COSIGNED or len(key) != _KEY_BYTES:
        raise ValueError("a witness is name+hash+key, with a key that cosigns (0x04)")
    if note.key_hash(named, key, note.COSIGNED).hex() != hashed:
        raise ValueError("the hash of a witness is not that of its name and key")
    if url and not url.startswith("https://"):
        raise ValueError("a witness is reached over https")
    return Witness(named, key, url)


def verifier_key(witness: Witness) -> str:
    """Return a witness as it is configured, without its address."""
    key = base64.b64encode(note.COSIGNED + witness.public_key).decode()
    return f"{witness.name}+{note.key_hash(witness.name, witness.public_key, note.COSIGNED).hex()}+{key}"
