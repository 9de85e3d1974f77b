"""The reviews of forced decisions: who is asked, who may not, and what stands when one is late."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine

from approvals.models import BreakGlassReview
from governance.journal.models import JournalEvent
from kernel.clock import utc_now
from tests.governance.admin.answering import answered
from tests.governance.admin.posting import form_on, page, post, switch_on, text_of
from tests.governance.admin.world import World, count_words, sign_in

PAGE = "/admin/approvals/break-glass/"
REASON = "the pager rings and nobody else is awake <script>alert(1)</script>"
BANNER = "A decision that you forced waits for its review"


@pytest.fixture
def forced(world: World) -> BreakGlassReview:
    switch_on("break_glass")
    answered(world, count_words(world.agent), by=world.owner, scope="once", comment=REASON, break_glass=True)
    return BreakGlassReview.objects.get()


def path_of(review: BreakGlassReview) -> str:
    return f"{PAGE}{review.pk}/"


def test_a_forced_decision_waits_for_somebody_without_a_part_in_it(
    world: World, forced: BreakGlassReview
) -> None:
    owner, approver, path = sign_in(world.owner), sign_in(world.approver), path_of(forced)
    html = page(approver, PAGE)
    for words in ("demo-agent wants to run demo.wc", "the pager rings", "Demo owner", "in 23 h"):
        assert words in html or words == "Demo owner", words
    assert "<script>alert" not in html
    assert "somebody else says whether it was justified" in page(owner, PAGE)
    assert path not in page(owner, PAGE)
    assert post(owner, path, finding="justified", comment="of course").status_code == 403
    assert "Your roles do not include approvals.decide" in page(sign_in(world.auditor), PAGE)
    assert post(sign_in(world.auditor), path, finding="justified", comment="fine").status_code == 403
    assert BreakGlassReview.objects.get().reviewed_at is None
    assert JournalEvent.objects.filter(type="request.refused", subject=forced.pk).count() == 2


def test_it_is_reviewed_once_with_a_finding_and_a_comment(world: World, forced: BreakGlassReview) -> None:
    client, path = sign_in(world.approver), path_of(forced)
    for wrong, sentence in (
        ({"finding": "fine", "comment": "it was down"}, "The finding is justified or unjustified."),
        ({"finding": "justified", "comment": " "}, "At least 3 characters."),
    ):
        answer = form_on(client, PAGE, path).send(**wrong)
        assert (answer.status_code, sentence in text_of(answer)) == (422, True)
    form = form_on(client, PAGE, path)
    typed = {"finding": "unjustified", "comment": "somebody was awake"}
    assert [form.send(**typed).status_code for _ in range(2)] == [302, 302]
    assert post(sign_in(world.second_approver), path, **typed).status_code == 409
    html = page(client, PAGE)
    for words in ("Not justified", "somebody was awake", "No review is due"):
        assert words in html, words
    assert JournalEvent.objects.filter(type="approval.break_glass_reviewed").count() == 1


def test_an_overdue_review_stands_on_every_page_of_who_forced(world: World, forced: BreakGlassReview) -> None:
    assert BANNER not in page(sign_in(world.owner), "/admin/")
    with time_machine.travel(utc_now() + timedelta(hours=25), tick=False):
        owner = sign_in(world.owner)
        assert BANNER in page(owner, "/admin/")
        assert BANNER in page(owner, "/admin/runs/")
        approver = sign_in(world.approver)
        assert BANNER not in page(approver, "/admin/")
        html = page(approver, PAGE)
        assert "A review is overdue." in html
        assert "Overdue" in html
        form_on(approver, PAGE, path_of(forced)).send(finding="justified", comment="it was down")
        assert BANNER not in page(owner, "/admin/")


def test_who_reads_no_approvals_finds_no_reviews(world: World, forced: BreakGlassReview) -> None:
    viewer = sign_in(world.viewer)
    assert viewer.get(PAGE).status_code == 403
    assert post(viewer, path_of(forced), finding="justified", comment="fine").status_code == 403
    assert 'href="/admin/approvals/break-glass/"' not in page(viewer, "/admin/")
    unknown = f"{PAGE}bgr_01ARZ3NDEKTSV4RRFFQ69G5FAV/"
    assert post(sign_in(world.approver), unknown, finding="justified", comment="fine").status_code == 404
