"""How many events one core verifies in a second, on SQLite: `journal_verify [SIZE …]`.

That is chain, leaves, tiles, columns and checkpoints. No payload is opened in what has the target; with
payloads is shown beside it, and so is what nobody can do without: reading the same rows and hashing each
envelope once. In processor time of one thread. `ours` is one event of the largest journal; holds only if
that costs at most 1.2 times as much as one of the smallest, so that the time grows with the events alone.
"""

from __future__ import annotations

import hashlib
import platform
import resource
import time
from collections.abc import Callable

from benchmarks.installation import founded
from benchmarks.measuring import report, sizes

MICROSECONDS = 50.0
"""Per event: 20,000 in a second."""

GROWTH = 1.2
ROUNDS, READ = 5, 100_000
"""A journal is verified so often, but for a few that are so long that this many events are enough."""

LOG = "the log, no payload opened"


def main() -> None:
    wanted = sizes(10_000, 1_000_000)
    found: dict[int, dict[str, float]] = {}
    print(f"microseconds for one event ({platform.machine()}, Python {platform.python_version()})")
    with founded(in_memory=True):
        from benchmarks.journaling import Journal  # noqa: PLC0415  # needs the setup

        journal = Journal()
        for size in wanted:
            journal.grow(size)
            found[size] = _measure(journal.size())
            _show(size, found[size])
    few, many = found[wanted[0]][LOG], found[wanted[-1]][LOG]
    print(f"  {many / few:.2f} times as long for one event; {GROWTH} is allowed")
    report("journal_verify", ours=many, reference=MICROSECONDS, target=1.0, also=many / few <= GROWTH)


def _show(size: int, found: dict[str, float]) -> None:
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f" {size} sealed; the process never had more than {memory:.0f} MiB")
    for name, micro in found.items():
        print(f"  {name:46} {micro:7.1f}   {1e6 / micro:>9,.0f} events/s")


def _measure(size: int) -> dict[str, float]:
    from governance.journal.verify import Options, Verification  # noqa: PLC0415  # needs the setup
    from kernel.clock import utc_now  # noqa: PLC0415  # as above

    def verify(options: Options) -> None:
        verified = Verification(options, utc_now()).run()
        if not verified.is_clean or not verified.events:
            raise SystemExit(f"the log does not verify: {verified.first[:3]}")

    subjects: dict[str, tuple[Callable[[], None], int]] = {
        "reading the rows and hashing each envelope": (lambda: _read(size), size),
        LOG: (lambda: verify(Options(payloads=False, first=256)), size - 256),
        "everything, no payload opened": (lambda: verify(Options(payloads=False)), size),
        "everything, each payload opened": (lambda: verify(Options()), size),
    }
    rounds = max(1, min(ROUNDS, READ // size))
    return {name: _best(act, rounds) / count * 1e6 for name, (act, count) in subjects.items()}


def _read(size: int) -> None:
    from governance.journal.models import JournalEvent, JournalLeaf  # noqa: PLC0415  # needs the setup

    for first in range(0, size, 512):
        ids = JournalLeaf.objects.filter(seq__gte=first, seq__lt=first + 512).values("event_id")
        for row in JournalEvent.objects.filter(pk__in=ids).values_list():
            hashlib.sha256(row[1]).digest()


def _best(act: Callable[[], None], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        started = time.thread_time()
        act()
        times.append(time.thread_time() - started)
    return min(times)


if __name__ == "__main__":
    main()
