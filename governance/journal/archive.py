"""The file that holds a unit of the journal: envelopes, encrypted payloads and leaves, in a plain zip.

`tile/entries/<N>` and `tile/0/<N>` are those of C2SP tlog-tiles for 256 events each, `payloads/<N>.jsonl`
has one line for every event in the same order, `checkpoint` is the first note over all of them, and
`manifest.json` names the range and the sha256 of every other member. Nothing in it opens a payload: keys stay
in the database. The same events make the same bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import struct
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO

from governance.journal.chain import leaf_hash
from governance.journal.merkle import TILE_WIDTH
from governance.journal.places import Place
from kernel.canonical import canonical, parse
from kernel.errors import InvalidError, PalyraError

FORMAT = "palyra.journal-archive.v1"
MANIFEST, CHECKPOINT = "manifest.json", "checkpoint"
MAX_MEMBER_BYTES = 48 * 1024 * 1024
MOST_EVENTS = 1 << 20
_MAX_MANIFEST_BYTES = 4 * 1024 * 1024
_ENCRYPTED = 0x1
_DATE = (1980, 1, 1, 0, 0, 0)
_READ_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Archived:
    """One sealed event with its payload, as the rows have it."""

    envelope: bytes
    key_id: str
    nonce: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a file says it holds: the leaves `first_seq` to before `end_seq` of the log `origin`."""

    origin: str
    first_seq: int
    end_seq: int
    members: dict[str, str]


def write(
    file: IO[bytes], *, origin: str, first_seq: int, checkpoint: str, events: Iterable[Archived]
) -> int:
    """Write the events from `first_seq` on, which begins a tile; return how many there were."""
    members: dict[str, str] = {}
    rows, seq = iter(events), first_seq
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as zipped:
        while batch := list(islice(rows, TILE_WIDTH)):
            for name, data in _bundle(seq // TILE_WIDTH, batch):
                members[name] = _add(zipped, name, data)
            seq += len(batch)
        members[CHECKPOINT] = _add(zipped, CHECKPOINT, checkpoint.encode())
        manifest = {
            "format": FORMAT, "origin": origin, "first_seq": first_seq, "end_seq": seq, "members": members,
        }  # fmt: skip
        _add(zipped, MANIFEST, canonical(manifest))
    return seq - first_seq


def sha256_of(path: Path) -> str:
    """Return the hex sha256 of a file, read in pieces. Raises OSError."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            found.update(piece)
    return found.hexdigest()


class Reader:
    """A file that was opened: `manifest`, and `batches` of up to 256 events from the first to the last.

    Each member is held against the manifest when it is read, and each envelope against its leaf.
    Whatever is wrong raises InvalidError `journal.archive_invalid`.
    """

    def __init__(self, zipped: zipfile.ZipFile) -> None:
        self._zipped = zipped
        self.manifest = _manifest(zipped)

    def checkpoint(self) -> str:
        """Return the note that came with the events, unjudged."""
        return _text(self._member(CHECKPOINT))

    def batches(self) -> Iterator[list[Archived]]:
        """Return the events in their order, one bundle at a time."""
        for first in range(self.manifest.first_seq, self.manifest.end_seq, TILE_WIDTH):
            count = min(TILE_WIDTH, self.manifest.end_seq - first)
            yield self._batch(first // TILE_WIDTH, count)

    def batch_over(self, seq: int) -> list[Archived]:
        """Return the bundle in which this leaf lies, which is one of the range."""
        first = seq - seq % TILE_WIDTH
        return self._batch(first // TILE_WIDTH, min(TILE_WIDTH, self.manifest.end_seq - first))

    def _batch(self, index: int, count: int) -> list[Archived]:
        envelopes = _envelopes(self._member(_entries_name(index, count)))
        lines = _text(self._member(_payloads_name(index))).splitlines()
        if (len(envelopes), len(lines)) != (count, count):
            raise invalid_archive("A bundle has not as many events as it should.")
        if self._member(_hashes_name(index, count)) != b"".join(map(leaf_hash, envelopes)):
            raise invalid_archive("The leaves in the file are not those of its envelopes.")
        return [_archived(envelope, line) for envelope, line in zip(envelopes, lines, strict=True)]

    def _member(self, name: str) -> bytes:
        data = _read(self._zipped, name, MAX_MEMBER_BYTES)
        if hashlib.sha256(data).hexdigest() != self.manifest.members.get(name):
            raise invalid_archive("A member is not what the manifest says.")
        return data


@contextmanager
def reading(path: Path) -> Iterator[Reader]:
    """Open a file; InvalidError `journal.archive_invalid` for one that cannot be read as an archive."""
    try:
        with zipfile.ZipFile(path) as zipped:
            yield Reader(zipped)
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, struct.error) as error:
        raise invalid_archive("The file cannot be read.") from error


def invalid_archive(detail: str) -> InvalidError:
    """Return the error for a file that is not the archive it should be."""
    return InvalidError("journal.archive_invalid", detail)


def _bundle(index: int, batch: list[Archived]) -> Iterator[tuple[str, bytes]]:
    entries = b"".join(len(one.envelope).to_bytes(2, "big") + one.envelope for one in batch)
    yield _entries_name(index, len(batch)), entries
    yield _hashes_name(index, len(batch)), b"".join(leaf_hash(one.envelope) for one in batch)
    yield _payloads_name(index), b"".join(_line(one) for one in batch)


def _line(one: Archived) -> bytes:
    payload = {"key": one.key_id, "nonce": _encoded(one.nonce), "ciphertext": _encoded(one.ciphertext)}
    return json.dumps(payload, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _add(zipped: zipfile.ZipFile, name: str, data: bytes) -> str:
    info = zipfile.ZipInfo(name, _DATE)
    info.external_attr = 0o600 << 16
    zipped.writestr(info, data)
    return hashlib.sha256(data).hexdigest()


def _manifest(zipped: zipfile.ZipFile) -> Manifest:
    try:
        said = parse(_read(zipped, MANIFEST, _MAX_MANIFEST_BYTES))
    except PalyraError as error:
        raise invalid_archive("The manifest cannot be read.") from error
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise invalid_archive("This is no archive of a journal.")
    origin, first, end, members = (said.get(name) for name in ("origin", "first_seq", "end_seq", "members"))
    if not isinstance(origin, str) or type(first) is not int or type(end) is not int:
        raise invalid_archive("The manifest names no range.")
    if first < 0 or first % TILE_WIDTH or not first < end <= first + MOST_EVENTS:
        raise invalid_archive("The manifest names no range of whole tiles.")
    if not isinstance(members, dict) or not all(isinstance(one, str) for one in members.values()):
        raise invalid_archive("The manifest names no members.")
    if sorted(zipped.namelist()) != sorted([*members, MANIFEST]):
        raise invalid_archive("The members are not those of the manifest.")
    return Manifest(origin, first, end, members)


def _read(zipped: zipfile.ZipFile, name: str, limit: int) -> bytes:
    try:
        info = zipped.getinfo(name)
    except KeyError as error:
        raise invalid_archive("A member is missing.") from error
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & _ENCRYPTED or info.file_size > limit:
        raise invalid_archive("A member is not as any archive has it.")
    return zipped.read(info)


def _envelopes(entries: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(entries):
        start = at + 2
        at = start + int.from_bytes(entries[at:start], "big")
        found.append(entries[start:at])
    if at != len(entries):
        raise invalid_archive("A bundle of entries is cut off.")
    return found


def _archived(envelope: bytes, line: str) -> Archived:
    try:
        said = json.loads(line)
        nonce, ciphertext = (base64.b64decode(said[name], validate=True) for name in ("nonce", "ciphertext"))
        key_id = said["key"]
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise invalid_archive("A payload cannot be read.") from error
    if not isinstance(key_id, str):
        raise invalid_archive("A payload names no key.")
    return Archived(envelope, key_id, nonce, ciphertext)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise invalid_archive("A member is no text.") from error


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _entries_name(index: int, width: int) -> str:
    return f"tile/entries/{Place(index, width).path()}"


def _hashes_name(index: int, width: int) -> str:
    return f"tile/0/{Place(index, width).path()}"


def _payloads_name(index: int) -> str:
    return f"payloads/{Place(index).path()}.jsonl"
