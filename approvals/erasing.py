"""Emptying what requests, answers and grants hold of somebody's words; who decided what stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from django.db.models import Q, QuerySet

from approvals.grant_ends import expire_grant, revoke_grant
from approvals.models import ApprovalRequest, BreakGlassReview, DenialMemory, Grant, Review
from approvals.types import GrantStatus, RequestStatus, SubjectType
from kernel.canonical import canonical
from kernel.record import Actor, Record

ABOUT_RULES_OR_ERASURE = (SubjectType.POLICY_ACTIVATION, SubjectType.ERASURE)
"""Questions whose events belong to nobody: what was asked and answered there is kept."""
REVOKED = "What it was allowed for is being erased."


def requests_of(*, runs: Sequence[str] = (), requester_id: str = "") -> QuerySet[ApprovalRequest]:
    """Return what was asked in these runs or by this requester, but for questions about rules and erasure."""
    asked = Q(run_id__in=runs)
    if requester_id:
        asked |= Q(requester_id=requester_id)
    return ApprovalRequest.objects.filter(asked).exclude(subject_type__in=ABOUT_RULES_OR_ERASURE)


def hanging_on(ids: Sequence[str]) -> list[str]:
    """Return the ids of what came of these requests and is answered about under an id of its own."""
    return [
        *Grant.objects.filter(request_id__in=ids).values_list("pk", flat=True),
        *BreakGlassReview.objects.filter(request_id__in=ids).values_list("pk", flat=True),
    ]


def is_waiting(*, runs: Sequence[str] = (), requester_id: str = "") -> bool:
    """Tell whether one of these questions still waits for an answer."""
    return requests_of(runs=runs, requester_id=requester_id).filter(status=RequestStatus.PENDING).exists()


def erase_requests(
    ids: Sequence[str], *, mark: Mapping[str, object], actor: Actor, now: datetime, record: Record
) -> int:
    """Empty closed requests and all that hangs on them; return how many there were.

    Grants that are still in force are revoked first: without their terms nobody could say what they cover.
    `mark` is shown in the place of what an approver saw.
    """
    for grant in Grant.objects.filter(request_id__in=ids, status=GrantStatus.ACTIVE).order_by("pk"):
        if grant.expires_at <= now:
            expire_grant(grant_id=grant.pk, now=now, record=record)
        else:
            revoke_grant(grant_id=grant.pk, comment=REVOKED, actor=actor, now=now, record=record)
    grants = Grant.objects.filter(request_id__in=ids).exclude(status=GrantStatus.ACTIVE)
    grants.update(
        pattern={}, pattern_digest="", rest_digest="", action_digest="", channel="", revoke_reason=""
    )
    spoken = Review.objects.filter(request_id__in=ids).exclude(comment="", pattern__isnull=True)
    spoken.update(comment="", pattern=None)
    BreakGlassReview.objects.filter(request_id__in=ids).update(comment="")
    DenialMemory.objects.filter(request_id__in=ids).delete()
    shown = canonical({"title": "", "summary": "", "parameters_view": {}, "warnings": [], **mark}).decode()
    rows = ApprovalRequest.objects.filter(pk__in=ids).exclude(status=RequestStatus.PENDING)
    return rows.update(action_digest="", context_text=shown, resume={}, channel="", sas="")


def forget_places(reviewer_id: str) -> None:
    """Forget from where somebody answered; what they answered stays."""
    Review.objects.filter(reviewer_id=reviewer_id).exclude(ip_digest="").update(ip_digest="")
