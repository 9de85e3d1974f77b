"""The rules that come with the release: the baseline, and packs that a set may include as files."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from policy.reading import SourceFile, read_set

BASELINE = Path(__file__).parent / "baseline"
PACKS = Path(__file__).parent / "packs"
PACKS_ON = ("trifecta", "provenance")
"""The packs a fresh instance starts with; the others are shipped for policy sets to include."""


def baseline_files() -> list[SourceFile]:
    """Return the shipped rules, by name, with the packs that are on."""
    return [*_baseline(), *(pack_file(name) for name in PACKS_ON)]


def pack_names() -> tuple[str, ...]:
    """Return the names of all shipped packs."""
    return tuple(path.stem.removeprefix("pack_") for path in sorted(PACKS.glob("pack_*.cedar")))


def pack_file(name: str) -> SourceFile:
    """Return a shipped pack as a file of a policy set."""
    return _source(PACKS / f"pack_{name}.cedar")


@cache
def baseline_ids() -> frozenset[str]:
    """Return the ids of the shipped rules that every set is expected to keep; packs come and go."""
    return frozenset(rule.id for rule in read_set(_baseline()).rules)


def _baseline() -> list[SourceFile]:
    return [_source(path) for path in sorted(BASELINE.glob("*.cedar"))]


def _source(path: Path) -> SourceFile:
    return SourceFile(path.name, path.read_text(encoding="utf-8"))
