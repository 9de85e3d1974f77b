"""What a person may find out about a call whose end nobody saw."""

from __future__ import annotations

from dataclasses import dataclass

from kernel.errors import Detail, InvalidError

OUTCOMES = ("succeeded", "failed", "unknown")
SHORTEST_NOTE = 10
LONGEST_NOTE = 2_000


@dataclass(frozen=True, slots=True)
class Finding:
    """`outcome` is one of OUTCOMES, `note` says how it was found out."""

    outcome: str
    note: str


def checked_finding(outcome: str, note: str) -> Finding:
    """Return what was found out, its note without the spaces around it. Raises InvalidError."""
    said = note.strip()
    if outcome not in OUTCOMES:
        raise _invalid("/outcome", "unknown", f"What became of it is one of {', '.join(OUTCOMES)}.")
    if not SHORTEST_NOTE <= len(said) <= LONGEST_NOTE:
        sentence = f"Say how you know, in {SHORTEST_NOTE} to {LONGEST_NOTE} characters."
        raise _invalid("/note", "length", sentence)
    return Finding(outcome, said)


def _invalid(pointer: str, code: str, sentence: str) -> InvalidError:
    return InvalidError("invalid", sentence, errors=(Detail(pointer, code, sentence),))
