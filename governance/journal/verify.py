"""Checking the journal against itself, against what was signed, and against what others hold.

One pass over the log in the order of seq, in constant memory, then what only the whole can show. It
writes nothing and takes no lock: what was appended since it began is left to the next time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from governance.journal import checkpoint_log, note, verify_state, verify_whole
from governance.journal.findings import Code, Finding, Report
from governance.journal.keys import origin
from governance.journal.merkle import TILE_WIDTH
from governance.journal.models import Instance, JournalCheckpoint
from governance.journal.verify_anchors import Anchors, Source
from governance.journal.verify_archives import Archives
from governance.journal.verify_attestations import Attestations
from governance.journal.verify_leaves import Leaves, Span
from governance.journal.verify_rows import Payloads
from governance.journal.verify_signatures import KeyRing, Signatures, key_ring
from governance.journal.verify_tree import newest_size, surplus_tiles
from governance.journal.verify_witnesses import witness_findings
from kernel.errors import InvalidError, UnavailableError
from vault import services as vault
from vault.types import KeyPurpose

QUICK_LEAVES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to look at. `last` is inclusive and None for the end; `keys` are raw public keys from outside.

    A range is widened to the borders of tiles and checkpoints. `quick` is the last 10,000 leaves.
    """

    first: int = 0
    last: int | None = None
    quick: bool = False
    payloads: bool = True
    cross_check: bool = False
    against: tuple[Source, ...] = ()
    keys: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """`done` of `total` leaves are read, and these findings came since the last step."""

    done: int
    total: int
    findings: tuple[Finding, ...]


class Verification:
    """One verification. `report` is complete when `steps` has come to its end."""

    def __init__(self, options: Options, now: datetime) -> None:
        """Raises InvalidError `invalid_range` for a range outside the log."""
        self._options, self._now = options, now
        self._size = newest_size()
        self._span = _span(options, self._size)
        self._is_whole = self._span == Span(0, self._size) and not options.quick
        self.report = Report(self._span.first, self._span.end, self._size)

    def steps(self) -> Iterator[Step]:
        """Verify, step by step. Raises UnavailableError, and whatever the database does, where it cannot.

        Then nothing is said about the log, however little was found before.
        """
        if self._options.payloads and not vault.is_ready():
            raise UnavailableError("not_ready", "The vault cannot open payloads now.")
        self._say_what_is_skipped()
        for findings in self._stages():
            for finding in findings:
                self.report.add(finding)
            yield Step(self.report.events, self._span.end - self._span.first, tuple(findings))

    def run(self) -> Report:
        """Verify to the end and return the report; raises as `steps`."""
        for _ in self.steps():
            pass
        return self.report

    def _stages(self) -> Iterator[list[Finding]]:
        options, payloads = self._options, Payloads() if self._options.payloads else None
        ring = self._ring(KeyPurpose.CHECKPOINT)
        archives = Archives(payloads)
        yield [*verify_whole.guards(), *verify_whole.beyond(), *ring.faults]
        yield from self._leaves(ring, payloads, archives)
        yield [*self._newest_key(), *witness_findings(self._size)]
        anchors = Anchors(ring, self._names(), options.keys)
        for source in self._sources():
            yield from ([finding] for finding in anchors.findings(source))
        self.report.anchors = anchors.checked
        if self._is_whole:
            yield from self._whole(payloads, archives.gone)
        if options.cross_check:
            yield from verify_state.divergences(self.report)
        self.report.erased = payloads.erased if payloads is not None else 0

    def _names(self) -> tuple[str, ...]:
        """Return every name of the log, the present one last; making one up is not for a reader."""
        known = Instance.objects.exists() or settings.PALYRA_JOURNAL_ORIGIN
        present = (origin(self._now),) if known else ()
        return (*(name for name in self.report.origins if name not in present), *present)

    def _leaves(
        self, ring: KeyRing, payloads: Payloads | None, archives: Archives
    ) -> Iterator[list[Finding]]:
        signatures = Signatures(ring, self._size)
        yield from Leaves(self._span, signatures, payloads, archives).chunks(self.report)
        self.report.checkpoints, self.report.archived = signatures.checked, archives.covered
        self.report.origins = signatures.origins

    def _whole(self, payloads: Payloads | None, archived: list[tuple[int, int]]) -> Iterator[list[Finding]]:
        yield [
            *surplus_tiles(),
            *verify_whole.inserted(),
            *verify_whole.stale(self._now),
        ]
        yield from verify_whole.waiting(payloads)
        yield from verify_whole.runs(archived)
        ring = self._ring(KeyPurpose.ATTESTATION)
        attestations = Attestations(ring, opens=self._options.payloads, archived=bool(archived))
        yield list(ring.faults)
        yield from attestations.chunks()
        self.report.attestations = attestations.checked

    def _ring(self, purpose: KeyPurpose) -> KeyRing:
        ring = key_ring(purpose, self._options.keys, ask_vault=self._options.payloads)
        self.report.keys.update(ring.vouched)
        return ring

    def _newest_key(self) -> Iterator[Finding]:
        """Whoever brings keys wants the newest checkpoint signed by one: it covers everything before it."""
        keys = {note.key_id(key): key for key in self._options.keys}
        newest = JournalCheckpoint.objects.filter(tree_size=self._size).first()
        if not keys or newest is None:
            return
        try:
            note.open(newest.note, keys)
        except InvalidError as error:
            unknown = error.code == "journal.key_unknown"
            code = Code.KEY_UNKNOWN if unknown else Code.SIGNATURE_INVALID
            detail = f"checkpoint {self._size} is not signed by a key that was given"
            yield Finding(code, self._size - 1, None, detail)

    def _sources(self) -> tuple[Source, ...]:
        """The server's own log of checkpoints counts whenever it is there."""
        own = checkpoint_log.path()
        named = {source.name for source in self._options.against}
        if str(own) in named or not own.exists():
            return self._options.against
        return (Source(str(own), required=False), *self._options.against)

    def _say_what_is_skipped(self) -> None:
        skipped = self.report.skipped
        if not self._options.payloads:
            skipped.append("payloads were not opened, and the vault was not asked about the signing keys")
        if not self._is_whole:
            skipped.append(
                f"of {self._size} leaves those from {self._span.first} to {self._span.end - 1} were read;"
                " events outside the log, runs and attestations are for a full verification"
            )
        if not self._options.cross_check:
            skipped.append("the state of calls, grants, budgets and policy was not compared with the events")
        if not self._sources():
            skipped.append("nothing held outside the database was compared")


def _span(options: Options, size: int) -> Span:
    """Return the leaves to read: from the border of a tile to the end of a checkpoint."""
    if not 0 <= options.first <= (size - 1 if options.last is None else options.last) and size:
        raise InvalidError("invalid_range", "The range ends before it begins.")
    if (options.last is not None and options.last >= size) or (options.first and options.first >= size):
        raise InvalidError("invalid_range", f"The log has {size} sealed events.")
    first = max(options.first, size - QUICK_LEAVES) if options.quick else options.first
    end = size
    if options.last is not None:
        covering = JournalCheckpoint.objects.filter(tree_size__gt=options.last).order_by("tree_size")
        end = covering.values_list("tree_size", flat=True)[0]
    return Span(first - first % TILE_WIDTH, end)
