"""Checkpoints as signed notes (C2SP `signed-note` and `tlog-checkpoint`), with Ed25519 throughout.

Three lines of text, an empty line, and one line for each signature. Every line has exactly one spelling,
so that no byte of a note is idle.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from governance.journal.chain import HASH_BYTES
from kernel.canonical import digest_bytes
from kernel.errors import InvalidError

SIGNED, COSIGNED = b"\x01", b"\x04"
MAX_BYTES = 64 * 1024
MAX_SIGNATURES = 32
_NAME = re.compile(r"[^\s+\x00-\x1f\x7f\ud800-\udfff]{1,200}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_KEY_HASH_BYTES, _STAMP_BYTES, _SIGNATURE_BYTES = 4, 8, 64


class Signer(Protocol):
    """An Ed25519 key that stays where it is. `sign` returns the 64 raw bytes."""

    @property
    def public_key(self) -> bytes: ...

    @property
    def sign(self) -> Callable[[bytes], bytes]: ...


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a note says, and which of the trusted keys (by their ids) signed it."""

    origin: str
    size: int
    root: bytes
    signed_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A witness that saw the checkpoint at `time`, in seconds since 1970."""

    witness: str
    time: int


@dataclass(frozen=True, slots=True)
class Note:
    """A note taken apart: the signed bytes, what they say, and name and bytes of each signature."""

    body: bytes
    origin: str
    size: int
    root: bytes
    signatures: tuple[tuple[str, bytes], ...]


def is_origin(text: str) -> bool:
    """Tell whether a text may name a log: 1 to 200 characters, no space, control, plus or lone surrogate."""
    return _NAME.fullmatch(text) is not None


def body(origin: str, size: int, root: bytes) -> bytes:
    """Return the bytes that get signed. ValueError for an origin, size or root that no note can hold."""
    if not is_origin(origin) or not 0 <= size < 1 << 63 or len(root) != HASH_BYTES:
        raise ValueError("not a checkpoint")
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n".encode()


def sign(origin: str, size: int, root: bytes, *signers: Signer) -> str:
    """Return the note of a tree, signed by each signer under the log's own name."""
    text = body(origin, size, root)
    lines = [_line(origin, key_hash(origin, one.public_key) + one.sign(text)) for one in signers]
    return text.decode() + "\n" + "".join(lines)


def key_hash(name: str, public_key: bytes, kind: bytes = SIGNED) -> bytes:
    """Return the 4 bytes by which a signature line names its key."""
    return hashlib.sha256(name.encode() + b"\n" + kind + public_key).digest()[:_KEY_HASH_BYTES]


def verifier_key(name: str, public_key: bytes) -> str:
    """Return a public key in the C2SP form `name+hash+key`, as other tools take it."""
    key = base64.b64encode(SIGNED + public_key).decode()
    return f"{name}+{key_hash(name, public_key).hex()}+{key}"


def parse(text: str) -> Note:
    """Take a note apart without judging its signatures; InvalidError `journal.note_malformed`."""
    head, separator, tail = text.partition("\n\n")
    lines = head.split("\n")
    if not separator or len(text) > MAX_BYTES or len(lines) != 3 or not tail.endswith("\n"):
        raise _malformed()
    origin, size, root = lines
    if not is_origin(origin) or _SIZE.fullmatch(size) is None or int(size) >= 1 << 63:
        raise _malformed()
    signatures = tuple(_signature(line) for line in tail[:-1].split("\n"))
    if len(signatures) > MAX_SIGNATURES:
        raise _malformed()
    return Note(f"{head}\n".encode(), origin, int(size), _decoded(root, HASH_BYTES), signatures)


def open(text: str, trusted: Mapping[str, bytes]) -> Checkpoint:  # noqa: A001  # the term of the standard
    """Return the checkpoint when a trusted key signed it. `trusted` maps key ids to raw public keys.

    Raises InvalidError: `journal.note_malformed`, `journal.key_unknown` when no line is by a trusted
    key, `journal.signature_invalid` when a line by a trusted key does not hold. Other lines are ignored.
    """
    found = parse(text)
    known = {key_hash(found.origin, key): (key_id, key) for key_id, key in trusted.items()}
    signed_by = []
    for name, data in found.signatures:
        named = known.get(data[:_KEY_HASH_BYTES])
        if name != found.origin or named is None:
            continue
        if not _holds(named[1], data[_KEY_HASH_BYTES:], found.body):
            raise InvalidError("journal.signature_invalid", "A signature of the checkpoint does not hold.")
        signed_by.append(named[0])
    if not signed_by:
        raise InvalidError("journal.key_unknown", "No signature of the checkpoint is by a known key.")
    return Checkpoint(found.origin, found.size, found.root, tuple(signed_by))


def cosignatures(text: str, witnesses: Mapping[str, bytes]) -> tuple[Cosignature, ...]:
    """Return the cosignatures that hold; `witnesses` maps their names to raw public keys.

    C2SP `tlog-cosignature`, type 0x04: eight bytes of time, then a signature over time and body.
    """
    found = parse(text)
    seen = []
    for name, data in found.signatures:
        key = witnesses.get(name)
        if key is None or data[:_KEY_HASH_BYTES] != key_hash(name, key, COSIGNED):
            continue
        stamp = data[_KEY_HASH_BYTES : _KEY_HASH_BYTES + _STAMP_BYTES]
        signature = data[_KEY_HASH_BYTES + _STAMP_BYTES :]
        if _holds(key, signature, cosigned_bytes(found.body, int.from_bytes(stamp, "big"))):
            seen.append(Cosignature(name, int.from_bytes(stamp, "big")))
    return tuple(seen)


def cosigned_bytes(signed_body: bytes, time: int) -> bytes:
    """Return what a witness signs."""
    return b"cosignature/v1\ntime %d\n%b" % (time, signed_body)


def key_id(public_key: bytes) -> str:
    """Return the id under which this server knows a key."""
    return digest_bytes(public_key)


def _line(name: str, data: bytes) -> str:
    return f"— {name} {base64.b64encode(data).decode()}\n"


def _signature(line: str) -> tuple[str, bytes]:
    dash, _, rest = line.partition(" ")
    name, space, encoded = rest.partition(" ")
    if dash != "—" or not space or not is_origin(name):
        raise _malformed()
    data = _decoded(encoded, None)
    if len(data) < _KEY_HASH_BYTES + 1:
        raise _malformed()
    return name, data


def _decoded(text: str, size: int | None) -> bytes:
    """Standard base64 in its one canonical spelling, of `size` bytes."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _malformed() from error
    if base64.b64encode(data).decode() != text or size not in (None, len(data)):
        raise _malformed()
    return data


def _holds(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return len(signature) == _SIGNATURE_BYTES


def _malformed() -> InvalidError:
    return InvalidError("journal.note_malformed", "The checkpoint is not a well-formed note.")
