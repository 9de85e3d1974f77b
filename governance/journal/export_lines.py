"""The lines of an export, `palyra.journal.v1`: how they are written and how they are read back.

One JSON object a line: `seq, envelope, data, leaf_hash`, with `salt` where data is told. The last line is
the trailer. An envelope stands in its line with exactly its stored bytes, so its leaf can be recomputed.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from governance.journal.chain import HASH_BYTES

FORMAT = "palyra.journal.v1"
TRAILER = "export_trailer"
MAX_BYTES = 512 * 1024
"""The longest line but the last: 4 KiB of envelope and 64 KiB of data, whatever the escapes do to them."""

OUTSIDE, ARCHIVED, MISSING = "outside", "archived", "missing"


@dataclass(frozen=True, slots=True)
class Absent:
    """Sealed leaves that an export has no lines for, and the hashes of their subtrees (`ranges.cover`).

    `why`: not asked for, in the archive whose file has the digest `archive`, or gone without a reason.
    """

    first: int
    end: int
    why: str
    hashes: tuple[bytes, ...] = field(repr=False)
    archive: str | None = None

    def shown(self) -> dict[str, Any]:
        return {
            "first_seq": self.first,
            "end_seq": self.end,
            "why": self.why,
            "archive": self.archive,
            "hashes": [encoded(one) for one in self.hashes],
        }


@dataclass(frozen=True, slots=True)
class Line:
    """One event of an export. `data` is None where it was not told; `salt` comes with data alone."""

    seq: int
    envelope: bytes
    leaf_hash: bytes
    data: Mapping[str, Any] | None
    salt: str | None


def write(line: Line) -> bytes:
    """Return the line with its line break."""
    parts = [b'{"seq":%d,' % line.seq, _envelope(line.envelope), b',"data":', compact(line.data)]
    if line.salt is not None:
        parts += [b',"salt":', compact(line.salt)]
    parts.append(b',"leaf_hash":"%b"}\n' % encoded(line.leaf_hash).encode())
    return b"".join(parts)


def parse(text: bytes) -> dict[str, Any]:
    """Return the object of a line; ValueError for anything else, and for a name that stands twice."""
    try:
        value = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise _no("not an object")
    return value


def event_of(fields: Mapping[str, Any]) -> Line:
    """Return the event of a parsed line; ValueError when it is none."""
    seq, data, salt = fields.get("seq"), fields.get("data"), fields.get("salt")
    if not _is_count(seq) or not isinstance(data, dict | None) or not isinstance(salt, str | None):
        raise _no("not a line of an export")
    if "envelope_base64" in fields:
        envelope = decoded(fields["envelope_base64"])
    elif isinstance(fields.get("envelope"), dict):
        envelope = canonical_text(fields["envelope"])
    else:
        raise _no("a line without its envelope")
    return Line(int(str(seq)), envelope, _hash(fields.get("leaf_hash")), data, salt)


def absent_of(fields: object) -> Absent:
    """Return one entry of a trailer's `absent`; ValueError when it is none."""
    if not isinstance(fields, dict) or not isinstance(fields.get("hashes"), list):
        raise _no("not a range that is absent")
    first, end, why, archive = (fields.get(name) for name in ("first_seq", "end_seq", "why", "archive"))
    if not _is_count(first) or not _is_count(end) or not isinstance(why, str):
        raise _no("not a range that is absent")
    if not isinstance(archive, str | None):
        raise _no("not the digest of an archive")
    return Absent(int(str(first)), int(str(end)), why, tuple(map(_hash, fields["hashes"])), archive)


def canonical_text(value: object) -> bytes:
    """Return the RFC 8785 form of an envelope's fields: text, integers and null under ASCII names.

    Much faster than the general form, and equal to it for what an envelope holds.
    """
    try:
        return json.dumps(
            value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
        ).encode()
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def compact(value: object) -> bytes:
    """Return JSON in ASCII without spaces: it holds no line break of any kind."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def decoded(text: object) -> bytes:
    """Undo `encoded`; ValueError for everything but its one spelling."""
    try:
        data = base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if data is None or encoded(data) != text:
        raise ValueError("not canonical base64")
    return data


def _envelope(stored: bytes) -> bytes:
    """Bytes that are no canonical JSON any more are told as they are, for a verifier to find."""
    try:
        is_canonical = canonical_text(parse(stored)) == stored
    except ValueError:
        is_canonical = False
    if is_canonical:
        return b'"envelope":' + stored
    return b'"envelope":null,"envelope_base64":"%b"' % encoded(stored).encode()


def _hash(text: object) -> bytes:
    data = decoded(text)
    if len(data) != HASH_BYTES:
        raise ValueError("not a hash")
    return data


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name stands twice")
    return members


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _no(what: str) -> ValueError:
    return ValueError(what)
