"""Submitting a call that an earlier answer covers, beside one of a tool that needs nobody, on SQLite.

Both tools have the same tier, risk and powers, and both calls end queued, with their journal events. In
processor time: what each waits for the disk is the same commit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from benchmarks.installation import founded
from benchmarks.measuring import Subject, medians, report, show

if TYPE_CHECKING:
    from benchmarks.approving import Scene
    from governance.models import Run

TARGET = 1.3
ROUNDS, EACH = 150, 10


def main() -> None:
    with founded(in_memory=True) as ready:
        from benchmarks.approving import scene  # noqa: PLC0415  # needs the setup

        found = medians(_subjects(scene(ready)), rounds=ROUNDS, clock=time.thread_time)
    show("one call submitted", found, "always allowed")
    report("grant_submit", ours=found["covered by a grant"], reference=found["always allowed"], target=TARGET)


def _subjects(scene: Scene) -> dict[str, Subject]:
    from benchmarks.approving import ALWAYS, ASKED, INPUT  # noqa: PLC0415  # needs the setup

    scene.granted()
    runs = [scene.open_run() for _ in range(2 * (ROUNDS + 30) // EACH + 2)]

    def submit(tool: str, given: Mapping[str, object], turns: Iterator[Run], *, covered: bool) -> Subject:
        def one() -> None:
            view = scene.propose(tool, given, run=next(turns))
            if view.state != "queued" or bool(view.call.grant_id) is not covered:
                raise SystemExit(f"{tool}: {view.state}, {view.call.reason_code}")

        return one

    half = len(runs) // 2
    return {
        "covered by a grant": submit(ASKED, INPUT, _turns(runs[:half]), covered=True),
        "always allowed": submit(ALWAYS, {}, _turns(runs[half:]), covered=False),
    }


def _turns(runs: list[Run]) -> Iterator[Run]:
    """Return each run as often as it may make calls, one run after the other."""
    return iter([run for run in runs for _ in range(EACH)])


if __name__ == "__main__":
    main()
