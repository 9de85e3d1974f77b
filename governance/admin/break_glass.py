"""The page of decisions that were forced in an emergency, and what somebody else says about each."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import redirect

from approvals.break_glass import in_state, state_of, visible_reviews
from approvals.eligibility import relation_to
from approvals.models import BreakGlassReview
from approvals.selectors import question_now
from approvals.types import ReviewFinding
from governance.admin.access import Visit
from governance.admin.approval_words import wish
from governance.admin.inbox import PARTS, REASONS, subject_name
from governance.admin.layout import show
from governance.admin.names import names_of
from governance.admin.once import Told, once
from governance.admin.pages import page
from governance.admin.stepping_up import stepped_up
from governance.admin.verbs import Answered, Offer, VerbForm, form_of, notify, offer, text, verb
from governance.idempotency import Ticket
from governance.operations import approvals as operations
from identity.roles import Permission
from kernel.errors import NotFoundError

READ, DECIDE = Permission.APPROVALS_READ, Permission.APPROVALS_DECIDE
MOST_OPEN = 50
MOST_REVIEWED = 50
OWN = "You made this decision; somebody else says whether it was justified."
SAID = "What you said is on record."
FINDINGS = (
    ("", "Choose"),
    (ReviewFinding.JUSTIFIED.value, "Justified"),
    (ReviewFinding.UNJUSTIFIED.value, "Not justified"),
)


@dataclass(frozen=True, slots=True)
class ForcedRow:
    """One forced decision: what was wanted, the reason that was given, and the form of the review."""

    review: BreakGlassReview
    state: str
    words: str
    reason: str
    form: VerbForm | None = None


@page(READ)
def reviews(visit: Visit) -> HttpResponse:
    """Show the forced decisions that wait for a review, those overdue first, and the reviewed ones."""
    return shown(visit)


def shown(visit: Visit, answered: Answered | None = None) -> HttpResponse:
    """Return the page, with a verb that came back open."""
    rows = visible_reviews(visit.principal, visit.now).prefetch_related("request__reviews")
    waiting = list(rows.filter(in_state(["open", "overdue"], visit.now)).order_by("due_at")[:MOST_OPEN])
    done = list(rows.filter(in_state(["reviewed"], visit.now)).order_by("-reviewed_at")[:MOST_REVIEWED])
    listed = [_row(visit, one, answered) for one in waiting]
    late = {one.by for one in waiting if state_of(one, visit.now) == "overdue"}
    names = names_of(
        one for row in (*waiting, *done) for one in (row.by, row.reviewed_by, row.request.requester_id)
    )
    return show(
        visit,
        "console/break_glass.html",
        {
            "title": "Break-glass reviews",
            "waiting": listed,
            "done": [ForcedRow(one, "reviewed", _wanted(one), _reason(one)) for one in done],
            "late": sorted(names.get(one, one) for one in late),
            "names": names,
            "findings": FINDINGS,
            "most_reviewed": MOST_REVIEWED,
        },
        status=answered.told.status if answered else 200,
    )


@verb(DECIDE, sees=READ)
def review(visit: Visit, review_id: str) -> HttpResponse:
    """Say whether a forced decision was justified. Its operation leaves the event of a refusal."""
    fields = {name: text(visit, name) for name in ("finding", "comment")}

    def work(ticket: Ticket) -> Told:
        operations.review_break_glass(
            review_id=review_id,
            principal=stepped_up(visit).principal,
            finding=fields["finding"],
            comment=fields["comment"],
            now=visit.now,
            ticket=ticket,
            render=lambda made: {"sentence": SAID},
        )
        return Told(SAID, object_id=review_id)

    told = once(visit, route=f"break-glass/{review_id}", fields=fields, work=work)
    if isinstance(told.refusal, NotFoundError):
        raise told.refusal
    if not told.is_done:
        return shown(visit, Answered(f"review-{review_id}", told))
    notify(visit, told)
    return redirect("admin:break_glass_reviews")


def _row(visit: Visit, one: BreakGlassReview, answered: Answered | None) -> ForcedRow:
    form = form_of(visit, f"review-{one.pk}", _offer(visit, one), answered)
    return ForcedRow(one, state_of(one, visit.now), _wanted(one), _reason(one), form)


def _offer(visit: Visit, one: BreakGlassReview) -> Offer:
    """Return whether this person may review it now, or the reason in words."""
    blocked = OWN if one.by == visit.principal.id else ""
    relation = None if blocked else relation_to(visit.principal.id, question_now(one.request))
    if relation is not None:
        blocked = PARTS.get(relation, REASONS["self_review"])
    return offer(visit, DECIDE, workspace_id=one.request.workspace_id, blocked=blocked)


def _wanted(one: BreakGlassReview) -> str:
    return f"{wish(one.request.subject_type)} {subject_name(one.request)}"


def _reason(one: BreakGlassReview) -> str:
    given = (row.comment for row in one.request.reviews.all() if row.break_glass)
    return next(given, "")
