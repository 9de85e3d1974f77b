"""Approval requests: list, show, answer, withdraw."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from django.db.models import Q
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from approvals import selectors
from approvals.eligibility import Eligibility
from approvals.models import ApprovalRequest
from approvals.services import ReviewOutcome
from approvals.types import RequestStatus, ReviewInput, Risk, SubjectType
from governance import idempotency, pipeline
from governance.api import schemas
from governance.api.authentication import caller
from governance.api.bodies import CancelBody, DecisionBody
from governance.api.idempotent import once
from governance.api.openapi import list_parameters
from governance.api.paging import PAGE_PARAMETERS, page
from governance.api.strict import read_body, read_query, read_texts
from governance.api.views_calls import known_values
from governance.api.wire import render_approval, render_outcome
from governance.idempotency import Ticket
from governance.operations import runs, signing_in
from identity.roles import Permission
from identity.types import Principal, PrincipalKind
from kernel.clock import utc_now
from kernel.errors import MalformedError, NotFoundError
from kernel.ids import require_id

_ETAG = re.compile(r'"(apr_[0-9A-Z]{26}):([0-9]{1,9})"')


class Approvals(APIView):
    permissions: ClassVar = {"GET": Permission.APPROVALS_READ}

    @extend_schema(
        operation_id="approvals_list",
        parameters=list_parameters(
            "agent",
            "run",
            "tool",
            state=tuple(RequestStatus),
            risk=tuple(Risk),
            subject_type=tuple(SubjectType),
            mine=("eligible",),
        ),
        responses=schemas.ApprovalList,
    )
    def get(self, request: Request) -> Response:
        known = PAGE_PARAMETERS | {"state", "risk", "subject_type", "agent", "run", "tool", "mine"}
        filters = read_query(request, known)
        principal = caller(request)
        mine = known_values(filters.get("mine", []), ("eligible",), "mine")
        visible = selectors.pending_for if mine else selectors.visible_to
        rows = visible(principal, utc_now()).prefetch_related("reviews", "calls")
        for name, column, allowed in (
            ("state", "status", tuple(RequestStatus)),
            ("risk", "risk", tuple(Risk)),
            ("subject_type", "subject_type", tuple(SubjectType)),
        ):
            if name in filters:
                rows = rows.filter(**{f"{column}__in": known_values(filters[name], allowed, name)})
        for name, column in (("agent", "requester_id"), ("run", "run_id")):
            if name in filters:
                rows = rows.filter(**{f"{column}__in": read_texts(filters, name)})
        if "tool" in filters:
            rows = rows.filter(_about_any(read_texts(filters, "tool")))
        return page(
            request,
            rows,
            filters=filters,
            render=lambda found: _many(found, principal),
            keep=(lambda row: _could_answer(row, principal)) if mine else None,
        )


class ApprovalDetail(APIView):
    permissions: ClassVar = {"GET": Permission.APPROVALS_READ}

    @extend_schema(operation_id="approvals_show", responses=schemas.Approval)
    def get(self, request: Request, approval_id: str) -> Response:
        read_query(request, frozenset())
        found = _visible(caller(request), approval_id)
        etag = f'"{found.id}:{found.version}"'
        if request.headers.get("If-None-Match") == etag and not _moves_without_version(found):
            return Response(status=304, headers={"ETag": etag})
        return Response(_many([found], caller(request))[0], headers={"ETag": etag})


class ApprovalDecision(APIView):
    """Anybody who sees a request may try to answer it: who may is decided by the service."""

    permissions: ClassVar = {"POST": None}

    @extend_schema(
        operation_id="approvals_decide",
        request=DecisionBody,
        responses={200: schemas.Decision, 202: schemas.Decision},
    )
    def post(self, request: Request, approval_id: str) -> Response:
        read_query(request, frozenset())
        body = read_body(request, DecisionBody)
        seen = seen_version(request, require_id("apr", approval_id))

        def work(ticket: Ticket | None) -> Response:
            now = utc_now()
            verified = None
            if body.get("otp") and caller(request).kind is PrincipalKind.USER:
                verified = signing_in.step_up(principal=caller(request), code=body["otp"], now=now)
            outcome = pipeline.review(
                request_id=approval_id,
                principal=caller(request),
                answer=ReviewInput(
                    verdict=body["decision"],
                    scope=body.get("scope"),
                    comment=body.get("comment", ""),
                    ttl_ms=body.get("ttl_ms"),
                    seen_version=seen,
                    otp_verified_at=verified,
                    surface="api",
                ),
                now=now,
                ticket=ticket,
                render=lambda made: (_status(made), render_outcome(made)),
            )
            return Response(render_outcome(outcome), status=_status(outcome))

        return once(request, route="POST /approvals/{id}/decision", work=work)


class ApprovalCancel(APIView):
    permissions: ClassVar = {"POST": None}

    @extend_schema(operation_id="approvals_cancel", request=CancelBody, responses=schemas.Approval)
    def post(self, request: Request, approval_id: str) -> Response:
        read_query(request, frozenset())
        read_body(request, CancelBody)

        def work(ticket: Ticket | None) -> Response:
            cancelled = runs.cancel_request(
                request_id=require_id("apr", approval_id), principal=caller(request), now=utc_now()
            )
            answer = _many([cancelled], caller(request))[0]
            idempotency.store(ticket, status=200, body=answer, object_id=cancelled.id)
            return Response(answer)

        return once(request, route="POST /approvals/{id}/cancel", work=work)


def _visible(principal: Principal, approval_id: str) -> ApprovalRequest:
    rows = selectors.visible_to(principal, utc_now())
    found = rows.filter(id=require_id("apr", approval_id)).first()
    if found is None:
        raise NotFoundError("not_found", "There is no such approval request.")
    return found


def _many(found: list[ApprovalRequest], principal: Principal) -> list[dict[str, Any]]:
    now = utc_now()
    return [render_approval(row, _eligibility(row, principal, now), principal) for row in found]


def _eligibility(row: ApprovalRequest, principal: Principal, now: Any) -> Eligibility:
    return selectors.eligibility_of(request=row, principal=principal, now=now)


def _about_any(tools: list[str]) -> Q:
    """Match requests about these tools or, under the same names, skills of any version."""
    clause = Q(subject_label__in=[f"tool:{name}" for name in tools])
    for name in tools:
        clause |= Q(subject_label__startswith=f"skill:{name}@")
    return clause


def _could_answer(row: ApprovalRequest, principal: Principal) -> bool:
    """Tell whether this person may answer, with a one-time code if it takes one."""
    eligibility = _eligibility(row, principal, utc_now())
    return eligibility.ok or eligibility.code == "step_up_required"


def _moves_without_version(row: ApprovalRequest) -> bool:
    """Reviews of an open quorum are shown but do not change the version that an answer is bound to."""
    return row.status == RequestStatus.PENDING and row.reviews.exists()


def seen_version(request: Request, approval_id: str) -> int | None:
    """Return the version that `If-Match` names, None without one; MalformedError `invalid_if_match`."""
    given = request.headers.get("If-Match")
    if given is None:
        return None
    match = _ETAG.fullmatch(given)
    if match is None or match[1] != approval_id:
        raise MalformedError("invalid_if_match", 'If-Match takes one ETag such as "apr_…:3".')
    return int(match[2])


def _status(outcome: ReviewOutcome) -> int:
    return 202 if outcome.kind == "open" else 200
