"""Checking exports and proofs of a journal with nothing but files and a public key.

What holds is what the key signed: every line that was read is in the log, at its number, as it was sealed.
Memory does not grow with the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from governance.journal import note, proof
from governance.journal.chain import START, leaf_hash, link
from governance.journal.export_lines import (
    ARCHIVED,
    FORMAT,
    OUTSIDE,
    TRAILER,
    Absent,
    Line,
    absent_of,
    decoded,
    event_of,
    parse,
)
from governance.journal.ranges import Span
from kernel.canonical import canonical, digest_bytes
from kernel.errors import PalyraError
from palyra_site.cli.exits import Exit
from palyra_site.cli.failures import CliError
from palyra_site.cli.offline_keys import Anchors

PROOF_START = proof.FORMAT.encode()
_EXPORT_STARTS = (b'{"seq":', b'{"object":"export_trailer"')
_SUFFIXES = frozenset({".jsonl", ".ndjson", ".tlog-proof"})
MOST_FINDINGS = 1_000
_LONGEST_LINE = 8 * 1024 * 1024
_MOST_PIECES = 4_000
Told = Callable[[int, int], None]
"""`(bytes read, events seen)`, now and then."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`seq` and `event` are None where no one event is meant."""

    code: str
    detail: str
    seq: int | None = None
    event: str | None = None

    def shown(self) -> dict[str, Any]:
        return {"code": self.code, "seq": self.seq, "event": self.event, "detail": self.detail}


@dataclass(slots=True)
class Report:
    """What was checked. `findings` keeps the first thousand; `total` counts all of them."""

    events: int = 0
    checkpoints: int = 0
    total: int = 0
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    signed: dict[tuple[str, int], bytes] = field(default_factory=dict)

    def add(self, code: str, detail: str, seq: int | None = None, event: str | None = None) -> None:
        self.total += 1
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(Finding(code, detail, seq, event))

    def sign(self, checkpoint: note.Checkpoint) -> None:
        """Take note of a signed tree; two of one size with different roots are two histories."""
        place = (checkpoint.origin, checkpoint.size)
        if self.signed.setdefault(place, checkpoint.root) != checkpoint.root:
            self.add("inconsistent_checkpoints", f"two signed trees of {checkpoint.size} leaves differ")
        self.checkpoints = len(self.signed)


def check_path(path: Path, anchors: Anchors, told: Told) -> Report:
    """Check one export or proof, or every one in a directory. CliError when there is nothing to check."""
    report = Report()
    try:
        if path.is_dir():
            _check_directory(path, anchors, report, told)
        elif not check_file(path, anchors, report, told):
            raise _unchecked(f"{path} is neither an export nor a proof of a journal.")
    except OSError as error:
        raise _unchecked(f"{path} cannot be read: {error.strerror}.") from error
    return report


def check_file(path: Path, anchors: Anchors, report: Report, told: Told) -> bool:
    """Check one file into `report`; False when it is neither an export nor a proof."""
    with path.open("rb") as file:
        beginning = file.read(64)
        file.seek(0)
        if beginning.startswith(PROOF_START):
            _check_proof(file.read(proof.MAX_BYTES + 1), path.name, anchors, report)
        elif beginning.startswith(_EXPORT_STARTS):
            ExportCheck(anchors, report).run(file, told)
        elif path.suffix in _SUFFIXES:
            report.add("file_malformed", f"{path.name} is not what its name says")
        else:
            return False
    return True


def _check_directory(path: Path, anchors: Anchors, report: Report, told: Told) -> None:
    files = sorted(one for one in path.rglob("*") if one.is_file())
    checked = [one for one in files if check_file(one, anchors, report, told)]
    if not checked:
        raise _unchecked(f"{path} holds neither an export nor a proof of a journal.")
    skipped = [str(one.relative_to(path)) for one in files if one not in checked]
    if skipped:
        report.notes.append(f"{len(skipped)} files were not checked: {', '.join(skipped[:5])}")


def _check_proof(data: bytes, name: str, anchors: Anchors, report: Report) -> None:
    try:
        text = data.decode("utf-8")
        origin = note.parse(text.partition("\n\n")[2]).origin
    except (ValueError, PalyraError):
        report.add("proof_malformed", f"{name} is not a well-formed proof")
        return
    verdict = proof.check(text, anchors.checkpoint_keys(origin))
    if not verdict.ok or verdict.checkpoint is None or verdict.envelope is None:
        report.add(verdict.code.removeprefix("journal."), f"{name} does not hold")
        return
    report.events += 1
    report.sign(verdict.checkpoint)


@dataclass(slots=True)
class ExportCheck:
    """One export, read from its first line to its trailer."""

    anchors: Anchors
    report: Report
    _spans: list[Span] = field(default_factory=list)
    _chain: bytes | None = START
    _count: int = 0
    _erased: int = 0
    _withheld: int = 0

    def run(self, file: BinaryIO, told: Told) -> None:
        """Check everything that the file says, and that it says everything."""
        trailer: dict[str, Any] | None = None
        for number, text in enumerate(_lines(file), start=1):
            if trailer is not None:
                self.report.add("line_malformed", f"line {number} follows the trailer")
                return
            try:
                fields = parse(text)
                if fields.get("object") == TRAILER:
                    trailer = fields
                else:
                    self._take(event_of(fields))
            except ValueError:
                self.report.add("line_malformed", f"line {number} is not one of {FORMAT}")
            if number % 1_000 == 0:
                told(file.tell(), self.report.events)
        if trailer is None:
            self.report.add("truncated", "the export ends without its trailer")
            return
        self._close(trailer)

    def _take(self, line: Line) -> None:
        end = self._spans[-1].end if self._spans else None
        if end is not None and line.seq < end:
            self.report.add("order_mismatch", f"{line.seq} comes after {end - 1}", line.seq)
            return
        if line.seq != (end or 0):
            self._chain = None
        if line.seq != end:
            if len(self._spans) >= _MOST_PIECES:
                raise _unchecked("The export has more holes than can be checked.")
            self._spans.append(Span(line.seq))
        fields = _fields_of(line.envelope)
        event = str(fields.get("id"))
        if leaf_hash(line.envelope) != line.leaf_hash:
            self.report.add("leaf_mismatch", "the envelope is not the one that was sealed", line.seq, event)
        # The tree is built from what the line says, so that a wrong envelope is found at its own number.
        self._spans[-1].append(line.leaf_hash)
        if self._chain is not None:
            self._chain = link(self._chain, line.leaf_hash)
        self._check_data(line, fields.get("data_digest"), event)
        self._count += 1
        self.report.events += 1

    def _check_data(self, line: Line, digest: object, event: str) -> None:
        if line.data is None:
            self._withheld += 1
        elif line.salt is not None:
            if _digest_of(line) != digest:
                self.report.add("payload_mismatch", "the data is not what was recorded", line.seq, event)
        elif line.data.get("_erased") is True and set(line.data) <= {"_erased", "at"}:
            self._erased += 1
        else:
            self.report.add("payload_mismatch", "the data cannot be checked", line.seq, event)

    def _close(self, trailer: dict[str, Any]) -> None:
        try:
            first, end, size, count = (_count_of(trailer, name) for name in _NUMBERS)
            absent = [absent_of(one) for one in _list_of(trailer, "absent")]
            chain = decoded(trailer.get("chain_hash"))
            is_ours = trailer.get("format") == FORMAT
        except ValueError:
            is_ours = False
        if not is_ours:
            self.report.add("trailer_malformed", f"the last line is no trailer of {FORMAT}")
            return
        if count != self._count:
            self.report.add("truncated", f"the trailer counts {count} events, the file has {self._count}")
        self._check_tree(trailer.get("checkpoint"), size, self._whole(absent, size))
        self._check_chain(chain, first, end)
        self._tell(trailer, absent, first, end, size)

    def _whole(self, absent: list[Absent], size: int) -> bytes | None:
        """Return the root over lines and absent leaves, None when they leave a hole or lie over another."""
        pieces: dict[int, Span] = {span.first: span for span in self._spans}
        for one in absent:
            span = Span(one.first)
            try:
                span.skip(one.end, one.hashes)
            except ValueError:
                self.report.add("trailer_malformed", f"{one.first} to {one.end} has other hashes", one.first)
                return None
            if one.first == one.end or pieces.setdefault(one.first, span) is not span:
                self.report.add("order_mismatch", f"{one.first} is there twice", one.first)
                return None
        whole = Span(0)
        while (following := pieces.pop(whole.end, None)) is not None:
            whole.join(following)
        if pieces or whole.end != size:
            behind = min(pieces, default=size)
            self.report.add("seq_gap", f"{whole.end} to {behind} is neither there nor named", whole.end)
            return None
        return whole.root()

    def _check_tree(self, signed: object, size: int, root: bytes | None) -> None:
        if not isinstance(signed, str):
            self.report.add("checkpoint_missing", "the export holds no signed checkpoint")
            return
        try:
            origin = note.parse(signed).origin
            checkpoint = note.open(signed, self.anchors.checkpoint_keys(origin))
        except PalyraError as error:
            self.report.add(error.code.removeprefix("journal."), str(error.detail))
            return
        if checkpoint.size != size or (root is not None and checkpoint.root != root):
            self.report.add("root_mismatch", f"the lines do not lead to the signed tree of {checkpoint.size}")
            return
        self.report.sign(checkpoint)

    def _check_chain(self, chain: bytes, first: int, end: int) -> None:
        if first != 0 or self._chain is None or (self._spans[-1].end if self._spans else 0) != end:
            self.report.notes.append("the chain was not checked: it needs every event from the first one on")
        elif self._chain != chain:
            self.report.add("chain_break", f"the chain does not end as it was stored behind {end - 1}")

    def _tell(self, trailer: dict[str, Any], absent: list[Absent], first: int, end: int, size: int) -> None:
        for one in absent:
            if one.why == ARCHIVED:
                self.report.notes.append(f"archived: {one.first} to {one.end - 1}, file {one.archive}")
            elif one.why == OUTSIDE and (one.end <= first or one.first >= end):
                self.report.notes.append(f"not in this export: {one.first} to {one.end - 1} of {size}")
            else:
                self.report.add(
                    "event_missing", f"{one.first} to {one.end - 1} is sealed and gone", one.first
                )
        if self._erased:
            self.report.notes.append(f"{self._erased} events are told as erased")
        if self._withheld and trailer.get("data") == "revealed":
            self.report.add(
                "payload_missing", f"{self._withheld} lines lack the data that the trailer tells of"
            )
        elif self._withheld:
            self.report.notes.append(f"{self._withheld} events came without their data")


_NUMBERS = ("first_seq", "end_seq", "tree_size", "count")


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines. What is longer than any line can be is not read on."""
    while text := file.readline(_LONGEST_LINE + 1):
        if len(text) > _LONGEST_LINE:
            raise _unchecked("A line of the file is longer than any of an export.")
        yield text


def _fields_of(envelope: bytes) -> dict[str, Any]:
    try:
        return parse(envelope)
    except ValueError:
        return {}


def _digest_of(line: Line) -> str | None:
    try:
        return digest_bytes(canonical({"salt": line.salt, "data": line.data}))
    except PalyraError:
        return None


def _count_of(fields: dict[str, Any], name: str) -> int:
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise ValueError(name)
    return value


def _list_of(fields: dict[str, Any], name: str) -> list[Any]:
    value = fields.get(name)
    if not isinstance(value, list) or len(value) > _MOST_PIECES:
        raise ValueError(name)
    return value


def _unchecked(detail: str) -> CliError:
    return CliError("not_checked", detail, exit_code=Exit.INTERNAL)
