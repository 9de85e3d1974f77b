"""What a person may find out about a call whose end nobody saw."""

from __future__ import annotations

from dataclasses import dataclass

OUTCOMES = ("succeeded", "failed", "unknown")
SHORTEST_NOTE = 10
LONGEST_NOTE = 2_000


@dataclass(frozen=True, slots=True)
class Finding:
    """`outcome` is one of OUTCOMES, `note` says how it was found out."""

    outcome: str
    note: str
