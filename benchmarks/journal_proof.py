"""Proofs and timeline of a million sealed events beside a thousand, on SQLite: `journal_proof [SIZE …]`.

`ours` and `reference` are the proof file of an event drawn at random from the largest and the smallest
journal, checked before it is handed out. Holds only if the newest page of the timeline, one GET with its
session and layout, takes at most 1.3 times as long. In processor time: sizes cannot be measured in turns.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from benchmarks.installation import founded
from benchmarks.measuring import Subject, medians, report, show, sizes

if TYPE_CHECKING:
    from benchmarks.approving import Scene

TARGET, PAGE = 3.0, 1.3
ROUNDS, PAGES = 300, 60
LINES = 50
"""Events on a page."""

PROOF, TIMELINE = "proof", "timeline"


def main() -> None:
    wanted = sizes(1_000, 1_000_000)
    found: dict[int, dict[str, float]] = {}
    with founded(in_memory=True) as ready:
        from benchmarks.approving import scene  # noqa: PLC0415  # needs the setup
        from benchmarks.journaling import Journal  # noqa: PLC0415  # as above

        people, journal = scene(ready), Journal()
        pages = _pages(people)
        for size in wanted:
            journal.grow(size)
            found[size] = medians(_proofs(journal.size()), rounds=ROUNDS, clock=time.thread_time)
            found[size] |= medians(pages, rounds=PAGES, clock=time.thread_time)
    few, many = found[wanted[0]], found[wanted[-1]]
    table = {f"{name}, {size} sealed": took for size, all_ in found.items() for name, took in all_.items()}
    show("one answer, processor time", table, f"{PROOF}, {wanted[0]} sealed")
    ratio = many[TIMELINE] / few[TIMELINE]
    print(f"  the timeline takes {ratio:.2f} times as long; {PAGE} is allowed")
    report("journal_proof", ours=many[PROOF], reference=few[PROOF], target=TARGET, also=ratio <= PAGE)


def _proofs(size: int) -> dict[str, Subject]:
    from governance.journal.models import JournalEvent, JournalLeaf  # noqa: PLC0415  # needs the setup
    from governance.journal.proving import consistency, proof_of  # noqa: PLC0415  # as above

    drawn = random.Random(size).sample(range(size), 200)  # no secret
    ids = list(JournalLeaf.objects.filter(seq__in=drawn).values_list("event_id", flat=True))
    events = list(JournalEvent.objects.filter(pk__in=ids))
    return {
        PROOF: lambda: proof_of(random.choice(events), None),
        "consistency": lambda: consistency(random.choice(drawn), None),
    }


def _pages(scene: Scene) -> dict[str, Subject]:
    from django.conf import settings  # noqa: PLC0415  # needs the setup
    from django.urls import reverse  # noqa: PLC0415  # as above

    settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)
    browser, journal = scene.browser(), reverse("admin:journal")

    def get(address: str) -> Subject:
        def one() -> None:
            answer = browser.get(address)
            if answer.status_code != 200 or answer.content.count(b"/journal/evt_") < LINES:
                raise SystemExit(f"{address}: {answer.status_code}")

        return one

    return {TIMELINE: get(journal), "timeline of one type": get(f"{journal}?type=run.closed")}


if __name__ == "__main__":
    main()
