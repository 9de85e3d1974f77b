"""What a verification of the journal can find, in words that machines and people can keep apart."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

FINDINGS_KEPT = 100
"""How many findings a report carries whole; all of them are counted."""


class Code(StrEnum):
    """The codes of journal part §3.8. A code never changes its meaning."""

    LEAF_MISMATCH = "leaf_mismatch"
    COLUMN_MISMATCH = "column_mismatch"
    PAYLOAD_MISMATCH = "payload_mismatch"
    PAYLOAD_MISSING = "payload_missing"
    EVENT_MISSING = "event_missing"
    EVENT_INSERTED = "event_inserted"
    SEQ_GAP = "seq_gap"
    ORDER_MISMATCH = "order_mismatch"
    RUN_GAP = "run_gap"
    CHAIN_BREAK = "chain_break"
    TILE_MISMATCH = "tile_mismatch"
    ROOT_MISMATCH = "root_mismatch"
    SIGNATURE_INVALID = "signature_invalid"
    KEY_UNKNOWN = "key_unknown"
    KEY_OUT_OF_WINDOW = "key_out_of_window"
    INCONSISTENT_CHECKPOINTS = "inconsistent_checkpoints"
    CHECKPOINT_MISSING = "checkpoint_missing"
    TRUNCATED = "truncated"
    UNSEALED_STALE = "unsealed_stale"
    TRIGGER_MISSING = "trigger_missing"
    ARCHIVE_UNPROVEN = "archive_unproven"
    ATTESTATION_INVALID = "attestation_invalid"
    STATE_DIVERGENCE = "state_divergence"
    ERASED = "erased"
    ARCHIVED = "archived"


INFO = frozenset({Code.ERASED, Code.ARCHIVED})
"""What is as it should be, and worth saying: rows that are gone on purpose."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not hold.

    `seq` is the leaf it is about: for a checkpoint its last leaf, for a tile its first, for leaves that
    are gone the first of them; None for what has no place in the log.
    """

    code: Code
    seq: int | None
    event: str | None
    detail: str

    @property
    def is_info(self) -> bool:
        return self.code in INFO

    def to_json(self) -> dict[str, object]:
        return {"code": self.code.value, "seq": self.seq, "event": self.event, "detail": self.detail}


@dataclass(slots=True)
class Report:
    """What was looked at, what was found, and what was left out.

    `first_seq` and `end_seq` (exclusive) are the leaves that were read. `keys` maps each key that
    signatures were checked with to what vouches for it; `origins` are the names of the log in their order.
    `skipped` names whatever was not checked. `first` are findings, `told` what is only worth saying.
    """

    first_seq: int = 0
    end_seq: int = 0
    tree_size: int = 0
    events: int = 0
    checkpoints: int = 0
    attestations: int = 0
    erased: int = 0
    archived: int = 0
    anchors: int = 0
    origins: list[str] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    first: list[Finding] = field(default_factory=list)
    told: list[Finding] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        """Keep a finding that is among the first; count it unless it is only worth saying."""
        kept = self.told if finding.is_info else self.first
        if len(kept) < FINDINGS_KEPT:
            kept.append(finding)
        if not finding.is_info:
            self.counts[finding.code.value] += 1

    @property
    def findings(self) -> int:
        """How many things do not hold."""
        return sum(self.counts.values())

    @property
    def is_clean(self) -> bool:
        return not self.counts

    def to_json(self) -> dict[str, object]:
        return {
            "clean": self.is_clean,
            "first_seq": self.first_seq,
            "end_seq": self.end_seq,
            "tree_size": self.tree_size,
            "events": self.events,
            "checkpoints": self.checkpoints,
            "attestations": self.attestations,
            "erased": self.erased,
            "archived": self.archived,
            "anchors": self.anchors,
            "origins": list(self.origins),
            "keys": dict(self.keys),
            "skipped": list(self.skipped),
            "findings_total": self.findings,
            "counts": dict(sorted(self.counts.items())),
            "findings": [finding.to_json() for finding in self.first],
            "info": [finding.to_json() for finding in self.told],
        }
