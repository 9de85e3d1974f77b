"""Timing subjects in turns, so that a machine that is busy is as busy for each, and the closing line."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping

Subject = Callable[[], object]
Clock = Callable[[], float]

LEAST = 1_000
"""The smallest size that a size is compared with."""


def medians(
    subjects: Mapping[str, Subject], *, rounds: int, repeats: int = 1, clock: Clock = time.perf_counter
) -> dict[str, float]:
    """Return the median microseconds of one call of each subject, after a warm-up.

    Where subjects cannot take turns, `time.thread_time` keeps a busy machine out of the figures: it counts
    this thread's processor time, which is all there is to it when SQLite's files lie in memory.
    """
    for subject in subjects.values():
        for _ in range(min(rounds, 30)):
            subject()
    samples: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, subject in subjects.items():
            started = clock()
            for _ in range(repeats):
                subject()
            samples[name].append((clock() - started) / repeats * 1e6)
    return {name: statistics.median(sample) for name, sample in samples.items()}


def sizes(*usual: int) -> tuple[int, ...]:
    """Return the sizes that the command line names, without any the usual ones. They rise."""
    given = tuple(int(text) for text in sys.argv[1:]) or usual
    if given[0] < LEAST or list(given) != sorted(set(given)):
        raise SystemExit(f"sizes begin with {LEAST} or more and rise: {given}")
    return given


def show(title: str, found: Mapping[str, float], reference: str) -> None:
    """Print a table of medians, each beside the reference."""
    print(f"{title}, microseconds (median)")
    for name, median in found.items():
        print(f"  {name:38} {median:10.1f}   {median / found[reference]:6.2f} x {reference}")


def report(name: str, *, ours: float, reference: float, target: float, also: bool = True) -> None:
    """Print the closing line: the ratio may be `target` at most, and what the benchmark says `also` holds."""
    ratio = ours / reference
    line = {
        "benchmark": name,
        "ours": round(ours, 2),
        "reference": round(reference, 2),
        "ratio": round(ratio, 2),
        "target": target,
        "holds": ratio <= target and also,
    }
    print(json.dumps(line))
