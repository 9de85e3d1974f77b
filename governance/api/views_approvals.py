"""Approval requests: list, show, answer, withdraw."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from approvals import selectors
from approvals.eligibility import Eligibility
from approvals.models import ApprovalRequest
from approvals.services import ReviewOutcome
from approvals.types import RequestStatus, ReviewInput, Risk, SubjectType
from governance import operations, pipeline
from governance.api import schemas
from governance.api.authentication import caller
from governance.api.bodies import CancelBody, DecisionBody
from governance.api.idempotent import once
from governance.api.paging import PAGE_PARAMETERS, page
from governance.api.strict import read_body, read_query
from governance.api.views_calls import known_values
from governance.api.wire import render_approval, render_outcome
from governance.idempotency import Ticket
from identity.roles import Permission
from identity.types import Principal
from kernel.clock import utc_now
from kernel.errors import MalformedError, NotFoundError
from kernel.ids import require_id

_ETAG = re.compile(r'"(apr_[0-9A-Z]{26}):([0-9]{1,9})"')


class Approvals(APIView):
    permissions: ClassVar = {"GET": Permission.APPROVALS_READ}

    @extend_schema(operation_id="approvals_list", responses=schemas.ApprovalList)
    def get(self, request: Request) -> Response:
        known = PAGE_PARAMETERS | {"state", "risk", "subject_type", "agent", "run"}
        filters = read_query(request, known)
        rows = selectors.visible_to(caller(request), utc_now())
        for name, column, allowed in (
            ("state", "status", tuple(RequestStatus)),
            ("risk", "risk", tuple(Risk)),
            ("subject_type", "subject_type", tuple(SubjectType)),
        ):
            if name in filters:
                rows = rows.filter(**{f"{column}__in": known_values(filters[name], allowed, name)})
        for name, column in (("agent", "requester_id"), ("run", "run_id")):
            if name in filters:
                rows = rows.filter(**{f"{column}__in": filters[name]})
        return page(request, rows, filters=filters, render=lambda found: _many(found, caller(request)))


class ApprovalDetail(APIView):
    permissions: ClassVar = {"GET": Permission.APPROVALS_READ}

    @extend_schema(operation_id="approvals_show", responses=schemas.Approval)
    def get(self, request: Request, approval_id: str) -> Response:
        read_query(request, frozenset())
        found = _visible(caller(request), approval_id)
        etag = f'"{found.id}:{found.version}"'
        if request.headers.get("If-None-Match") == etag:
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
        seen = _seen_version(request, require_id("apr", approval_id))

        def work(ticket: Ticket | None) -> Response:
            now = utc_now()
            verified = None
            if body.get("otp"):
                verified = operations.step_up(principal=caller(request), code=body["otp"], now=now)
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
        cancelled = operations.cancel_request(
            request_id=require_id("apr", approval_id), principal=caller(request), now=utc_now()
        )
        return Response(_many([cancelled], caller(request))[0])


def _visible(principal: Principal, approval_id: str) -> ApprovalRequest:
    rows = selectors.visible_to(principal, utc_now())
    found = rows.filter(id=require_id("apr", approval_id)).first()
    if found is None:
        raise NotFoundError("not_found", "There is no such approval request.")
    return found


def _many(found: list[ApprovalRequest], principal: Principal) -> list[dict[str, Any]]:
    now = utc_now()
    return [render_approval(row, _eligibility(row, principal, now)) for row in found]


def _eligibility(row: ApprovalRequest, principal: Principal, now: Any) -> Eligibility:
    return selectors.eligibility_of(request=row, principal=principal, now=now)


def _seen_version(request: Request, approval_id: str) -> int | None:
    given = request.headers.get("If-Match")
    if given is None:
        return None
    match = _ETAG.fullmatch(given)
    if match is None or match[1] != approval_id:
        raise MalformedError("invalid_if_match", 'If-Match takes one ETag such as "apr_…:3".')
    return int(match[2])


def _status(outcome: ReviewOutcome) -> int:
    return 202 if outcome.kind == "open" else 200
