"""One approval request with everything its page shows, and what became of many at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from approvals.break_glass import state_of
from approvals.lifecycle import decision_of
from approvals.models import ApprovalRequest, BreakGlassReview, Review
from approvals.scopes import SCOPES, longest_ttl_ms, offered
from approvals.selectors import eligibility_of, similar_to
from approvals.types import Risk, Scope
from governance.api.wire import render_approval, render_outcome
from governance.operations.approvals import Row
from identity.types import Principal, PrincipalKind
from kernel.clock import wire_time
from kernel.errors import PalyraError

A_CODE_FOR_EACH = "each"
A_FRESH_CODE = "fresh"


def render_approvals(
    found: Sequence[ApprovalRequest], principal: Principal, now: datetime
) -> list[dict[str, Any]]:
    """Return requests as lists show them."""
    return [
        render_approval(row, eligibility_of(request=row, principal=principal, now=now), principal)
        for row in found
    ]


def render_approval_detail(request: ApprovalRequest, principal: Principal, now: datetime) -> dict[str, Any]:
    """Return a request with what it may be answered with, who answered it and how others like it ended."""
    eligibility = eligibility_of(request=request, principal=principal, now=now)
    return render_approval(request, eligibility, principal) | {
        "ineligible_relation": eligibility.relation,
        "options": _options(request),
        "votes": [_vote(review, principal) for review in request.reviews.order_by("id")],
        "similar": [_similar(row) for row in similar_to(request, principal, now)],
        "break_glass": request.break_glass,
        "seen_at": wire_time(request.seen_at),
    }


def render_row(row: Row) -> dict[str, Any]:
    """Return what became of one of many: its outcome, or the problem that concerns it alone."""
    outcome = None if row.outcome is None else render_outcome(row.outcome)
    return {
        "id": row.request_id,
        "object": "approval_decision",
        "status": _status(row),
        "outcome": outcome,
        "error": None if row.refusal is None else _error(row.refusal),
    }


def render_break_glass_review(review: BreakGlassReview, now: datetime) -> dict[str, Any]:
    request = review.request
    return {
        "id": review.pk,
        "object": "break_glass_review",
        "state": state_of(review, now),
        "approval_id": request.pk,
        "subject_label": request.subject_label,
        "risk": request.risk,
        "agent": request.requester_id,
        "by": review.by,
        "created_at": wire_time(review.created_at),
        "due_at": wire_time(review.due_at),
        "finding": review.finding or None,
        "comment": review.comment or None,
        "reviewed_by": review.reviewed_by or None,
        "reviewed_at": wire_time(review.reviewed_at),
    }


def _options(request: ApprovalRequest) -> dict[str, Any]:
    """Return what an allow may say. A scope that is not offered has the reason, an offered one null."""
    asked = request.obligations
    refused = offered(request.risk, asked["max_scope"], request.subject_type)
    stepping = bool(asked["step_up"]) or request.risk == Risk.HIGH
    return {
        "scopes": [
            {
                "scope": scope.value,
                "offered": scope not in refused,
                "reason": refused[scope].value if scope in refused else None,
                "longest_ttl_ms": longest_ttl_ms(request.risk) if scope is Scope.TEMPORARY else None,
            }
            for scope in SCOPES
        ],
        "step_up": A_CODE_FOR_EACH if request.risk == Risk.CRITICAL else A_FRESH_CODE if stepping else None,
        "comment_required": bool(asked["comment"]) or request.risk == Risk.CRITICAL,
        "role_sets": asked["role_sets"],
    }


def _vote(review: Review, principal: Principal) -> dict[str, Any]:
    """People see who said what; an agent learns how it was answered and not by whom or why."""
    told = principal.kind is PrincipalKind.USER
    return {
        "by": review.reviewer_id if told else "approver",
        "decision": review.verdict,
        "scope": review.scope or None,
        "ttl_ms": review.ttl_ms,
        "comment": (review.comment or None) if told else None,
        "surface": review.surface,
        "stepped_up": review.step_up_at is not None,
        "single_operator": review.single_operator,
        "break_glass": review.break_glass,
        "created_at": wire_time(review.created_at),
    }


def _similar(request: ApprovalRequest) -> dict[str, Any]:
    return {
        "id": request.pk,
        "state": request.status,
        "decision": decision_of(request.status, request.close_code),
        "risk": request.risk,
        "action_digest": request.action_digest,
        "requested_at": wire_time(request.requested_at),
        "resolved_at": wire_time(request.resolved_at),
    }


def _status(row: Row) -> int:
    if row.refusal is not None:
        return row.refusal.status
    return 202 if row.outcome is not None and row.outcome.kind == "open" else 200


def _error(refusal: PalyraError) -> dict[str, Any]:
    return {"code": refusal.code, "detail": refusal.detail, **refusal.extra}
