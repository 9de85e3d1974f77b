"""One answer of a person: the whole decision beside an update of one row, each committed, on SQLite's disk.

`ours` takes the answer through every check, stores the review, the grant, the queued execution and their
journal events; `reference` changes one column of one row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from benchmarks.installation import founded
from benchmarks.measuring import Subject, medians, report, show

if TYPE_CHECKING:
    from benchmarks.approving import Scene
    from governance.selectors import CallView

TARGET = 6.0
ROUNDS, WARM = 90, 30


def main() -> None:
    with founded() as ready:
        from benchmarks.approving import scene  # noqa: PLC0415  # needs the setup

        found = medians(_subjects(scene(ready)), rounds=ROUNDS)
    show("one answer", found, "update of one row")
    report("approval_decide", ours=found["decide"], reference=found["update of one row"], target=TARGET)


def _subjects(scene: Scene) -> dict[str, Subject]:
    from django.db import transaction  # noqa: PLC0415  # needs the setup

    from identity.models import Agent  # noqa: PLC0415  # as above

    waiting = _asked(scene)
    names = iter(range(10_000))

    def decide() -> None:
        if scene.allow(next(waiting)).kind != "allowed":
            raise SystemExit("the answer was not an allow")

    def update() -> None:
        with transaction.atomic(durable=True):
            Agent.objects.filter(pk=scene.agent.id).update(name=f"agent-{next(names)}")

    return {"decide": decide, "update of one row": update}


def _asked(scene: Scene) -> Iterator[CallView]:
    """Return calls that wait, as many as will be answered, each in a run of its own."""
    return iter([scene.ask() for _ in range(ROUNDS + WARM)])


if __name__ == "__main__":
    main()
