"""Sealing 512 events by one checkpoint beside one checkpoint for each, on SQLite: `journal_seal [SIZE …]`.

`ours` and `reference` are the microseconds that sealing takes for one event in the largest journal: a
signature, a commit and a line of the log of checkpoints, each waited for until the disk has it, for 512
events or for one. Holds only if the sealer keeps up with a loop of plain INSERT and commit. What appending
the same events takes is no part of that; it is shown beside, alone and with the sealing.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from benchmarks.installation import founded
from benchmarks.measuring import report, show, sizes

TARGET = 0.2
GROUP, ALONE = 512, 32
ROUNDS = 7
PLAIN = "INSERT and commit"
TOGETHER, EACH = f"sealing {GROUP} together", "sealing each by itself"


def main() -> None:
    wanted = sizes(10_000, 1_000_000)
    with founded():
        from benchmarks.journaling import Journal  # noqa: PLC0415  # needs the setup

        journal, measure = Journal(), None
        for size in wanted:
            journal.grow(size)
            measure = measure or _measuring(journal.run.pk)
            found = measure()
            show(f"one event, {size} sealed", found, PLAIN)
            _rates(found)
    report(
        "journal_seal",
        ours=found[TOGETHER],
        reference=found[EACH],
        target=TARGET,
        also=found[TOGETHER] <= found[PLAIN],
    )


def _rates(found: dict[str, float]) -> None:
    print(f"  {found[EACH] / found[TOGETHER]:.1f} times the events of {EACH}; {1 / TARGET:.0f} are wanted")
    for name in (TOGETHER, "one transaction of them, and sealing", "a transaction each, and sealing"):
        print(f"  {1e6 / found[name]:8,.0f} events/s, {found[PLAIN] / found[name]:5.2f} x {PLAIN}: {name}")


def _measuring(run: str) -> Callable[[], dict[str, float]]:
    """Return what measures, in turns, the median microseconds that each way takes for one event."""
    from django.db import transaction  # noqa: PLC0415  # needs the setup

    from benchmarks.journaling import PlainTable, append  # noqa: PLC0415  # as above
    from governance.operations.sealing import seal_pending  # noqa: PLC0415  # as above
    from kernel.clock import utc_now  # noqa: PLC0415  # as above

    plain = PlainTable()

    def one() -> None:
        with transaction.atomic():
            append(run)

    def many() -> None:
        with transaction.atomic():
            for _ in range(GROUP):
                append(run)

    def seal() -> None:
        if seal_pending(utc_now()) is None:
            raise SystemExit("nothing was sealed")

    def a_round() -> dict[str, float]:
        inserted = _time(plain.insert, GROUP)
        apart, sealed = _time(one, GROUP), _time(seal, 1) / GROUP
        at_once, again = _time(many, 1) / GROUP, _time(seal, 1) / GROUP
        alone = statistics.fmean(_after(one, seal) for _ in range(ALONE))
        return {
            PLAIN: inserted,
            "appending, a transaction each": apart,
            f"appending, {GROUP} in a transaction": at_once,
            TOGETHER: (sealed + again) / 2,
            EACH: alone,
            "one transaction of them, and sealing": at_once + again,
            "a transaction each, and sealing": apart + sealed,
        }

    def measure() -> dict[str, float]:
        a_round()
        rounds = [a_round() for _ in range(ROUNDS)]
        return {name: statistics.median(found[name] for found in rounds) for name in rounds[0]}

    return measure


def _time(act: Callable[[], object], times: int) -> float:
    """Return the mean microseconds of a call."""
    started = time.perf_counter()
    for _ in range(times):
        act()
    return (time.perf_counter() - started) / times * 1e6


def _after(first: Callable[[], object], act: Callable[[], object]) -> float:
    first()
    return _time(act, 1)


if __name__ == "__main__":
    main()
