"""Appending to a journal of a million events beside one of a thousand, on SQLite: `journal_append [SIZE …]`.

`ours` and `reference` are one append with its commit in the largest and in the smallest journal, in
processor time: the two cannot be measured in turns. Holds only if a write of the product with its event
takes at most 1.8 times as long as the same write without, in turns and with the disk.
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
ROUNDS = 300


def main() -> None:
    wanted = sizes(1_000, 10_000, 1_000_000)
    with founded() as ready:
        from benchmarks.approving import scene  # noqa: PLC0415  # needs the setup
        from benchmarks.journaling import Journal  # noqa: PLC0415  # as above

        people, journal = scene(ready), Journal()
        journal.grow(wanted[0])
        appending = _appending(people)
        writing = _writes(people)
        writes = medians(writing, rounds=ROUNDS)
        worked = medians(writing, rounds=ROUNDS, clock=time.thread_time)
        found: dict[int, Mapping[str, float]] = {}
        for size in wanted:
            journal.grow(size)
            found[size] = medians(appending, rounds=ROUNDS, clock=time.thread_time)
    table = {f"{name}, {size} sealed": took for size, all_ in found.items() for name, took in all_.items()}
    few, many = found[wanted[0]], found[wanted[-1]]
    show("one append and its commit, processor time", table, f"append, {wanted[0]} sealed")
    show("one write and its commit, processor time", worked, "INSERT and commit")
    show("one write and its commit, with the disk", writes, "INSERT and commit")
    ratio = writes["opening a run"] / writes["opening a run, no event"]
    print(f"  a write with its event takes {ratio:.2f} times as long as without; {WITH_EVENT} is allowed")
    report(
        "journal_append",
        ours=many["append"],
        reference=few["append"],
        target=TARGET,
        also=ratio <= WITH_EVENT,
    )


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
    from benchmarks.journaling import PlainTable, unrecorded  # noqa: PLC0415  # needs the setup

    return {
        "INSERT and commit": PlainTable().insert,
        "append and commit": _appending(scene)["append"],
        "opening a run, no event": unrecorded(scene.open_run),
        "opening a run": scene.open_run,
    }


if __name__ == "__main__":
    main()
