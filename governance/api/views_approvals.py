"""Approval requests: list and show."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import Q
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from approvals import selectors
from approvals.eligibility import could_answer
from approvals.models import ApprovalRequest
from approvals.types import RequestStatus, Risk, SubjectType
from governance.api import etags, schemas, schemas_approvals
from governance.api.authentication import caller
from governance.api.etags import etag, is_unchanged
from governance.api.openapi import list_parameters
from governance.api.paging import PAGE_PARAMETERS, page
from governance.api.strict import read_query, read_span, read_texts
from governance.api.views_calls import known_values
from governance.api.wire_approvals import render_approval_detail, render_approvals
from governance.operations import approvals
from identity.roles import Permission
from identity.types import Principal
from kernel.clock import utc_now
from kernel.errors import NotFoundError
from kernel.ids import require_id

DECISIONS = ("allow", "deny", "expired", "cancelled", "error")
_CHOICES = {
    "state": ("status", tuple(RequestStatus)),
    "risk": ("risk", tuple(Risk)),
    "subject_type": ("subject_type", tuple(SubjectType)),
}
_TEXTS = {"agent": "requester_id", "run": "run_id"}


class Approvals(APIView):
    permissions: ClassVar = {"GET": Permission.APPROVALS_READ}

    @extend_schema(
        operation_id="approvals_list",
        parameters=list_parameters(
            "agent",
            "run",
            "tool",
            "since",
            "until",
            state=tuple(RequestStatus),
            decision=DECISIONS,
            risk=tuple(Risk),
            subject_type=tuple(SubjectType),
            mine=("eligible",),
        ),
        responses=schemas.ApprovalList,
    )
    def get(self, request: Request) -> Response:
        """`since` and `until` are about when it was asked."""
        known = PAGE_PARAMETERS | {*_CHOICES, *_TEXTS, "decision", "tool", "mine", "since", "until"}
        filters = read_query(request, known)
        principal, now = caller(request), utc_now()
        mine = known_values(filters.get("mine", []), ("eligible",), "mine")
        visible = selectors.pending_for if mine else selectors.visible_to
        rows = visible(principal, now).filter(_narrowing(filters)).prefetch_related("reviews", "calls")

        def answerable(row: ApprovalRequest) -> bool:
            return could_answer(selectors.eligibility_of(request=row, principal=principal, now=now))

        return page(
            request,
            rows,
            filters=filters,
            render=lambda found: render_approvals(found, principal, now),
            keep=answerable if mine else None,
        )


class ApprovalDetail(APIView):
    permissions: ClassVar = {"GET": Permission.APPROVALS_READ}

    @extend_schema(operation_id="approvals_show", responses=schemas_approvals.ApprovalDetail)
    def get(self, request: Request, approval_id: str) -> Response:
        """Whoever may answer has seen the request with this: nobody is reminded of it any more."""
        read_query(request, frozenset())
        principal, now = caller(request), utc_now()
        found = visible(principal, approval_id)
        if found.seen_at is None and found.status == RequestStatus.PENDING:
            approvals.note_seen(request_id=found.pk, principal=principal, now=now)
        tag = etag(found.pk, found.version)
        if is_unchanged(request, tag) and not _moves_without_version(found):
            return Response(status=304, headers={"ETag": tag})
        return Response(render_approval_detail(found, principal, now), headers={"ETag": tag})


def visible(principal: Principal, approval_id: str) -> ApprovalRequest:
    """Return a request the principal may know of, or raise NotFoundError."""
    rows = selectors.visible_to(principal, utc_now())
    found = rows.filter(id=require_id("apr", approval_id)).first()
    if found is None:
        raise NotFoundError("not_found", "There is no such approval request.")
    return found


def seen_version(request: Request, approval_id: str) -> int | None:
    """Return the version that `If-Match` names; None without one, which is recommended and not required."""
    return None if request.headers.get("If-Match") is None else etags.seen_version(request, approval_id)


def _narrowing(filters: Any) -> Q:
    clause = Q()
    for name, (column, allowed) in _CHOICES.items():
        if name in filters:
            clause &= Q(**{f"{column}__in": known_values(filters[name], allowed, name)})
    for name, column in _TEXTS.items():
        if name in filters:
            clause &= Q(**{f"{column}__in": read_texts(filters, name)})
    if "decision" in filters:
        clause &= selectors.decided_as(known_values(filters["decision"], DECISIONS, "decision"))
    if "tool" in filters:
        clause &= _about_any(read_texts(filters, "tool"))
    since, until = read_span(filters)
    if since is not None:
        clause &= Q(requested_at__gte=since)
    return clause if until is None else clause & Q(requested_at__lt=until)


def _about_any(tools: list[str]) -> Q:
    """Match requests about these tools or, under the same names, skills of any version."""
    clause = Q(subject_label__in=[f"tool:{name}" for name in tools])
    for name in tools:
        clause |= Q(subject_label__startswith=f"skill:{name}@")
    return clause


def _moves_without_version(row: ApprovalRequest) -> bool:
    """Reviews of an open quorum are shown but do not change the version that an answer is bound to."""
    return row.status == RequestStatus.PENDING and row.reviews.exists()
