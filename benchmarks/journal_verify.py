"""How many events one core verifies in a second: chain, leaves, tiles, columns and checkpoints, on SQLite.

No payload is opened in what has the target; with payloads is shown beside it, and so is what nobody can do
without: reading the same rows and hashing each envelope once. In processor time of one thread.
"""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime

from benchmarks.installation import founded
from benchmarks.measuring import report

EVENTS = 20_000
MICROSECONDS = 50.0
"""Per event: 20,000 in a second."""

ROUNDS = 5
NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def main() -> None:
    with founded(in_memory=True):
        found = _measure()
    print(f"microseconds for one event ({platform.machine()}, Python {platform.python_version()})")
    for name, micro in found.items():
        print(f"  {name:46} {micro:7.1f}   {1e6 / micro:>9,.0f} events/s")
    report("journal_verify", ours=found["the log, no payload opened"], reference=MICROSECONDS, target=1.0)


def _measure() -> dict[str, float]:
    from governance.journal.models import JournalLeaf  # noqa: PLC0415  # needs the setup
    from governance.journal.sealing import seal  # noqa: PLC0415  # needs the setup
    from governance.journal.verify import Options, Verification  # noqa: PLC0415  # needs the setup
    from tests.governance.journal.mass import fill  # noqa: PLC0415  # needs the setup

    fill(EVENTS)
    while seal(now=NOW, limit=1_000) is not None:
        pass
    size = JournalLeaf.objects.count()

    def verify(options: Options) -> None:
        verified = Verification(options, NOW).run()
        if not verified.is_clean or not verified.events:
            raise SystemExit(f"the log does not verify: {verified.first[:3]}")

    subjects: dict[str, tuple[Callable[[], None], int]] = {
        "reading the rows and hashing each envelope": (lambda: _read(size), size),
        "the log, no payload opened": (lambda: verify(Options(payloads=False, first=256)), size - 256),
        "everything, no payload opened": (lambda: verify(Options(payloads=False)), size),
        "everything, each payload opened": (lambda: verify(Options()), size),
    }
    return {name: _best(act) / count * 1e6 for name, (act, count) in subjects.items()}


def _read(size: int) -> None:
    from governance.journal.models import JournalEvent, JournalLeaf  # noqa: PLC0415  # needs the setup

    for first in range(0, size, 512):
        ids = JournalLeaf.objects.filter(seq__gte=first, seq__lt=first + 512).values("event_id")
        for row in JournalEvent.objects.filter(pk__in=ids).values_list():
            hashlib.sha256(row[1]).digest()


def _best(act: Callable[[], None]) -> float:
    times = []
    for _ in range(ROUNDS):
        started = time.thread_time()
        act()
        times.append(time.thread_time() - started)
    return min(times)


if __name__ == "__main__":
    main()
