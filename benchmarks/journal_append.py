"""Appending to a journal of a million events beside one of a thousand, on SQLite: `journal_append [SIZE …]`.

`ours` and `reference` are one append with its commit in the largest and in the smallest journal, in
processor time: the two cannot be measured in turns. Holds only if writes of the product with their events
take at most 1.8 times as long as the same writes without, in processor time too: waiting for the disk is the
same for both. With the disk is shown beside.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from benchmarks.installation import founded
from benchmarks.measuring import Subject, medians, report, show, sizes

if TYPE_CHECKING:
    from benchmarks.approving import Scene

TARGET, WITH_EVENT = 1.2, 1.8
ROUNDS, WRITES = 300, 100
JUDGED = ("opening a run", "proposing a call")
MOST_CALLS = 1_000_000


def main() -> None:
    wanted = sizes(1_000, 10_000, 1_000_000)
    with founded() as ready:
        from benchmarks.approving import scene  # noqa: PLC0415  # needs the setup
        from benchmarks.journaling import Journal  # noqa: PLC0415  # as above

        people, journal = scene(ready), Journal()
        journal.grow(wanted[0])
        appending = _appending(people)
        writing = _writes(people)
        writes = medians(writing, rounds=WRITES)
        worked = medians(writing, rounds=WRITES, clock=time.thread_time)
        found: dict[int, Mapping[str, float]] = {}
        for size in wanted:
            journal.grow(size)
            found[size] = medians(appending, rounds=ROUNDS, clock=time.thread_time)
    table = {f"{name}, {size} sealed": took for size, all_ in found.items() for name, took in all_.items()}
    few, many = found[wanted[0]], found[wanted[-1]]
    show("one append and its commit, processor time", table, f"append, {wanted[0]} sealed")
    show("one write and its commit, processor time", worked, "INSERT and commit")
    show("one write and its commit, with the disk", writes, "INSERT and commit")
    ratios = {name: worked[name] / worked[f"{name}, no event"] for name in JUDGED}
    for name, ratio in ratios.items():
        print(f"  {name} takes {ratio:.2f} times as long with its events; {WITH_EVENT} is allowed")
    holds = max(ratios.values()) <= WITH_EVENT
    report("journal_append", ours=many["append"], reference=few["append"], target=TARGET, also=holds)


def _appending(scene: Scene) -> dict[str, Subject]:
    from django.db import transaction  # noqa: PLC0415  # needs the setup

    from benchmarks.journaling import append  # noqa: PLC0415  # as above

    run = scene.open_run().id

    def one() -> None:
        with transaction.atomic():
            append(run)

    def ten() -> None:
        with transaction.atomic():
            for _ in range(10):
                append(run)

    return {"append": one, "ten appends": ten}


def _writes(scene: Scene) -> dict[str, Subject]:
    """Return real writes with and without their events, and the plainest one there is."""
    from benchmarks.approving import ALWAYS  # noqa: PLC0415  # needs the setup
    from benchmarks.journaling import PlainTable, unrecorded  # noqa: PLC0415  # as above
    from governance.models import Run  # noqa: PLC0415  # as above

    run = scene.open_run()
    Run.objects.filter(pk=run.pk).update(max_calls=MOST_CALLS)

    def propose() -> None:
        if scene.propose(ALWAYS, {}, run=run).state != "queued":
            raise SystemExit("a call that is always allowed was not queued")

    return {
        "INSERT and commit": PlainTable().insert,
        "append and commit": _appending(scene)["append"],
        "opening a run, no event": unrecorded(scene.open_run),
        "opening a run": scene.open_run,
        "proposing a call, no event": unrecorded(propose),
        "proposing a call": propose,
    }


if __name__ == "__main__":
    main()
