"""The approval inbox above a million closed requests beside the same page above a thousand, on SQLite.

Each figure is one GET of the page with its session, its layout and twenty waiting requests, of which the
visitor may answer each; the list of what was decided is shown too. `ours` and `reference` are the inbox,
in processor time: the two cannot be measured in turns.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.installation import founded
from benchmarks.measuring import Subject, medians, report, show

if TYPE_CHECKING:
    from benchmarks.approving import Scene

TARGET = 1.2
FEW, MANY, WAITING = 1_000, 1_000_000, 20
ROUNDS = 60


def main() -> None:
    with founded(in_memory=True) as ready:
        from approvals.models import ApprovalRequest  # noqa: PLC0415  # needs the setup
        from benchmarks.approving import scene  # noqa: PLC0415  # as above

        people = scene(ready)
        closed = _closed(people)
        for _ in range(WAITING):
            people.ask()
        pages = _pages(people)
        _add(closed, 0, FEW - 1)
        few = medians(pages, rounds=ROUNDS, clock=time.thread_time)
        _add(closed, FEW - 1, MANY - FEW)
        if ApprovalRequest.objects.exclude(status="pending").count() != MANY:
            raise SystemExit("there are not as many closed requests as are meant to be measured")
        many = medians(pages, rounds=ROUNDS, clock=time.thread_time)
    found = {f"{page}, {FEW} closed": took for page, took in few.items()}
    found |= {f"{page}, {MANY} closed": took for page, took in many.items()}
    show("one page", found, f"inbox, {FEW} closed")
    report("inbox_page", ours=many["inbox"], reference=few["inbox"], target=TARGET)


def _closed(scene: Scene) -> str:
    """Return the id of a request that somebody allowed."""
    view = scene.ask()
    scene.allow(view)
    return view.call.approval_id or ""


def _add(closed: str, before: int, count: int) -> None:
    """Add closed requests over the ten weeks before now, of five hundred agents and forty tools."""
    from approvals.models import ApprovalRequest  # noqa: PLC0415  # needs the setup
    from benchmarks.approving import copy_rows  # noqa: PLC0415  # as above

    past = "strftime('%Y-%m-%d %H:%M:%S.000000', 'now', '-' || (n % 6000000 + 700) || ' seconds')"
    copy_rows(
        ApprovalRequest.objects.get(pk=closed),
        count,
        id=f"'apr_' || printf('%026d', n + {before})",
        status="CASE n % 4 WHEN 0 THEN 'denied' WHEN 1 THEN 'expired' ELSE 'allowed' END",
        risk="CASE n % 3 WHEN 0 THEN 'low' WHEN 1 THEN 'medium' ELSE 'high' END",
        requester_id="'agt_' || (n % 500)",
        subject_label="'tool:tool.' || (n % 40)",
        run_id="'run_' || n",
        action_digest="'sha256:' || hex(randomblob(32))",
        requested_at="strftime('%Y-%m-%d %H:%M:%S.000000', 'now', '-70 days')",
        expires_at=past,
        resolved_at=past,
    )


def _pages(scene: Scene) -> dict[str, Subject]:
    from django.conf import settings  # noqa: PLC0415  # needs the setup
    from django.urls import reverse  # noqa: PLC0415  # as above

    settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)
    browser, inbox = scene.browser(), reverse("admin:approvals")

    def get(address: str, holds: str) -> Subject:
        def one() -> None:
            answer = browser.get(address)
            if answer.status_code != 200 or holds not in answer.content.decode():
                raise SystemExit(f"{address}: {answer.status_code}")

        return one

    return {"inbox": get(inbox, "demo.wc"), "decided": get(f"{inbox}?tab=decided", "tool.")}


if __name__ == "__main__":
    main()
