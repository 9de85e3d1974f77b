"""What others hold against this log: checkpoints kept elsewhere, and public keys handed in from outside."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from django.conf import settings

from governance.journal import checkpoint_log, note
from governance.journal.chain import HASH_BYTES
from governance.journal.findings import Code, Finding
from governance.journal.models import JournalCheckpoint
from governance.journal.verify_signatures import KeyRing
from governance.journal.verify_tree import edge_at, newest_size
from kernel.errors import InvalidError, UnavailableError

MOST_BYTES = 1 << 20
"""What is read from a URL, which serves one checkpoint."""

_TIMEOUT_SECONDS = 10.0
_HEADER = re.compile(r"(?:Palyra-Checkpoint: *)?([0-9]{1,18}) ([A-Za-z0-9+/]{43}=)", re.ASCII | re.IGNORECASE)
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Anchor:
    """A size and a root that somebody holds. `text` is the signed note, None for a client's bare value."""

    size: int
    root: bytes
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where anchors come from. A `required` one must hold a checkpoint of this log."""

    name: str
    lines: tuple[str, ...] | None = None
    required: bool = True


def anchor_of(text: str) -> Anchor | None:
    """Read the value of a `Palyra-Checkpoint` header, `1042 <base64 root>`; None for anything else."""
    match = _HEADER.fullmatch(text.strip())
    if match is None:
        return None
    try:
        root = base64.b64decode(match[2], validate=True)
    except binascii.Error:
        return None
    return Anchor(int(match[1]), root) if len(root) == HASH_BYTES else None


def read_key(text: str) -> bytes:
    """Return the 32 raw bytes of an Ed25519 public key given as PEM, base64 or C2SP `name+hash+key`.

    InvalidError `invalid` for anything else, and for a `name+hash+key` whose hash is not its own.
    """
    given = text.strip()
    for read in (_plain_key, _verifier_key, _pem_key):
        try:
            key = read(given)
        except (ValueError, UnsupportedAlgorithm):
            continue
        if key is not None and len(key) == _KEY_BYTES:
            return key
    raise InvalidError("invalid", "A key is PEM, base64 or name+hash+key of an Ed25519 public key.")


def _plain_key(given: str) -> bytes | None:
    """Base64 may hold plus signs too, so this form is tried before the one that they separate."""
    return _decoded(given)


def _verifier_key(given: str) -> bytes | None:
    name, _, rest = given.partition("+")
    key = _decoded(rest.partition("+")[2])[1:]
    return key if note.verifier_key(name, key) == given else None


def _pem_key(given: str) -> bytes | None:
    key = load_pem_public_key(given.encode())
    return key.public_bytes_raw() if isinstance(key, Ed25519PublicKey) else None


class Anchors:
    """Compares what others hold with the stored log. `checked` counts the checkpoints of this log."""

    def __init__(self, ring: KeyRing, origins: tuple[str, ...], given: tuple[bytes, ...]) -> None:
        """`origins` are the names that this log has had, the present one last."""
        self._publics = {**ring.publics, **{note.key_id(key): key for key in given}}
        self._origins = origins
        self.checked = self._largest = 0

    def findings(self, source: Source) -> Iterator[Finding]:
        """Compare one source, line by line in constant memory.

        UnavailableError when it cannot be read, holds something else, or nothing of this log though it must.
        """
        found, self._largest = 0, 0
        try:
            for anchor in self._anchors(source):
                found += 1
                yield from self._compare(anchor, source.name)
        except (OSError, ValueError, httpx.HTTPError, InvalidError) as error:
            raise _unreadable(f"{source.name} cannot be read as checkpoints") from error
        if source.required and not found:
            raise _unreadable(f"{source.name} holds no checkpoint of {self._origins[-1]}")
        self.checked += found
        size = newest_size()
        if self._largest > size:
            detail = f"{source.name}: the log had {self._largest} events and has {size}"
            yield Finding(Code.TRUNCATED, size, None, detail)

    def _anchors(self, source: Source) -> Iterator[Anchor]:
        if source.lines is not None:
            yield from self._read(source.lines, source.required)
        elif source.name.startswith(("http://", "https://")):
            yield from self._read(_fetched(source.name).splitlines(keepends=True), source.required)
        else:
            with Path(source.name).open(encoding="utf-8") as file:
                yield from self._read(file, source.required)

    def _read(self, lines: Iterable[str], is_required: bool) -> Iterator[Anchor]:
        """Take a log of checkpoints, one note, or clients' values, whichever the first line begins."""
        rest = iter(lines)
        first = next(rest, "")
        if first.startswith("{"):
            for text in checkpoint_log.notes(_complete([first], rest)):
                yield from self._noted(text, is_required)
            return
        if (anchor := anchor_of(first)) is not None:
            yield anchor
            for line in rest:
                if (anchor := anchor_of(line)) is None:
                    raise ValueError("not a checkpoint")
                yield anchor
            return
        yield from self._noted(first + "".join(_bounded(rest)), is_required)

    def _noted(self, text: str, is_required: bool) -> Iterator[Anchor]:
        """A checkpoint of another log says nothing about this one.

        The server's own file goes on through a change of the name by the setting, which is how one gives up
        what is lost. The name by default comes out of the database, which gives up nothing.
        """
        parsed = note.parse(text)
        is_chosen = bool(settings.PALYRA_JOURNAL_ORIGIN)
        if parsed.origin in (self._origins[-1:] if is_chosen and not is_required else self._origins):
            yield Anchor(parsed.size, parsed.root, text)

    def _compare(self, anchor: Anchor, name: str) -> Iterator[Finding]:
        stored = JournalCheckpoint.objects.filter(tree_size=anchor.size).values_list("root", "note").first()
        seq = max(anchor.size - 1, 0)
        fault = None if stored is not None and stored[1] == anchor.text else self._signature_fault(anchor)
        if fault is not None:
            detail = f"{name}: checkpoint {anchor.size} is not signed by a key of this log"
            yield Finding(fault, seq, None, detail)
            return
        self._largest = max(self._largest, anchor.size)
        if stored is None and anchor.size > newest_size():
            return
        if stored is None and anchor.size:
            yield Finding(Code.CHECKPOINT_MISSING, seq, None, f"{name}: checkpoint {anchor.size} is not here")
        if anchor.root != (bytes(stored[0]) if stored is not None else _root_at(anchor.size)):
            detail = f"{name}: checkpoint {anchor.size} has another root"
            yield Finding(Code.INCONSISTENT_CHECKPOINTS, seq, None, detail)

    def _signature_fault(self, anchor: Anchor) -> Code | None:
        """A client's bare value is trusted as it was handed in."""
        if anchor.text is None:
            return None
        try:
            note.open(anchor.text, self._publics)
        except InvalidError as error:
            is_unknown = error.code == "journal.key_unknown"
            return Code.KEY_UNKNOWN if is_unknown else Code.SIGNATURE_INVALID
        return None


def _root_at(size: int) -> bytes | None:
    """Return the root over the first `size` stored leaves; None when some are gone."""
    edge = edge_at(size)
    return None if edge is None else edge.root()


def _complete(first: list[str], rest: Iterator[str]) -> Iterator[str]:
    """Return the lines of a log that end; what a crash tore off was never a line."""
    for lines in (iter(first), rest):
        yield from (line for line in lines if line.endswith("\n"))


def _bounded(lines: Iterator[str]) -> Iterator[str]:
    taken = 0
    for line in lines:
        taken += len(line)
        if taken > note.MAX_BYTES:
            raise ValueError("too long for a note")
        yield line


def _fetched(url: str) -> str:
    with httpx.stream("GET", url, timeout=_TIMEOUT_SECONDS, follow_redirects=False) as answer:
        answer.raise_for_status()
        body = bytearray()
        for block in answer.iter_bytes():
            body += block
            if len(body) > MOST_BYTES:
                raise ValueError("too long for a checkpoint")
    return body.decode()


def _decoded(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _unreadable(detail: str) -> UnavailableError:
    return UnavailableError("journal_unavailable", f"{detail[0].upper()}{detail[1:]}.")
