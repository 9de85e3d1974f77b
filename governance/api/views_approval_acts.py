"""Acts on approval requests: answer one or many, withdraw, force; and what is said about a forced one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from approvals import break_glass
from approvals.services import ReviewOutcome
from approvals.types import ReviewInput
from governance import idempotency
from governance.api import schemas, schemas_approvals
from governance.api.authentication import caller
from governance.api.bodies import CancelBody
from governance.api.bodies_approvals import BreakGlassBody, BulkDecisionBody, DecisionBody, FindingBody
from governance.api.idempotent import once
from governance.api.openapi import list_parameters
from governance.api.paging import PAGE_PARAMETERS, page
from governance.api.strict import read_body, read_query
from governance.api.views_approvals import seen_version
from governance.api.views_calls import known_values
from governance.api.wire import render_outcome
from governance.api.wire_approvals import render_approval_detail, render_break_glass_review, render_row
from governance.idempotency import Ticket
from governance.operations import approvals, runs, signing_in
from governance.operations.approvals import Chosen
from identity.roles import Permission
from identity.types import Principal, PrincipalKind
from kernel.clock import utc_now
from kernel.errors import Detail, InvalidError
from kernel.ids import require_id

CODE = frozenset({"otp"})
"""A code works once, so a retry brings another: it is no part of what an idempotency key stands for."""
STATES = ("open", "overdue", "reviewed")
_VERSIONED = re.compile(r"(apr_[0-9A-Z]{26})(?::([0-9]{1,9}))?")


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
        answer = _answer(body, seen_version(request, require_id("apr", approval_id)))

        def work(ticket: Ticket | None) -> Response:
            outcome = approvals.decide(
                request_id=approval_id,
                principal=caller(request),
                answer=answer,
                otp=body.get("otp"),
                now=utc_now(),
                ticket=ticket,
                render=lambda made: (_status(made), render_outcome(made)),
            )
            return Response(render_outcome(outcome), status=_status(outcome))

        return once(request, route="POST /approvals/{id}/decision", work=work, secrets=CODE)


class ApprovalBulkDecision(APIView):
    permissions: ClassVar = {"POST": Permission.APPROVALS_DECIDE}

    @extend_schema(
        operation_id="approvals_decide_many",
        request=BulkDecisionBody,
        responses={200: schemas_approvals.BulkDecision},
    )
    def post(self, request: Request) -> Response:
        """Each request has its own result; one that cannot be answered keeps no other waiting."""
        read_query(request, frozenset())
        body = read_body(request, BulkDecisionBody)
        chosen = _chosen(body["requests"])

        def work(ticket: Ticket | None) -> Response:
            now = utc_now()
            rows = approvals.decide_many(
                principal=caller(request),
                chosen=chosen,
                verdict=body["decision"],
                comment=body.get("comment", ""),
                otp_verified_at=_verified(caller(request), body, now),
                now=now,
            )
            answer = {"object": "bulk_decision", "data": [render_row(row) for row in rows]}
            idempotency.store(ticket, status=200, body=answer)
            return Response(answer)

        return once(request, route="POST /approvals/bulk-decision", work=work, secrets=CODE)


class ApprovalBreakGlass(APIView):
    """Asked for inside, since the code may come in the body: `approvals.break_glass`."""

    permissions: ClassVar = {"POST": None}

    @extend_schema(
        operation_id="approvals_break_glass", request=BreakGlassBody, responses={200: schemas.Decision}
    )
    def post(self, request: Request, approval_id: str) -> Response:
        read_query(request, frozenset())
        body = read_body(request, BreakGlassBody)
        seen = seen_version(request, require_id("apr", approval_id))

        def work(ticket: Ticket | None) -> Response:
            outcome = approvals.break_glass(
                request_id=approval_id,
                principal=caller(request),
                comment=body["comment"],
                otp=body.get("otp"),
                seen_version=seen,
                now=utc_now(),
                ticket=ticket,
                render=lambda made: (_status(made), render_outcome(made)),
            )
            return Response(render_outcome(outcome), status=_status(outcome))

        return once(request, route="POST /approvals/{id}/break-glass", work=work, secrets=CODE)


class ApprovalCancel(APIView):
    permissions: ClassVar = {"POST": None}

    @extend_schema(
        operation_id="approvals_cancel", request=CancelBody, responses=schemas_approvals.ApprovalDetail
    )
    def post(self, request: Request, approval_id: str) -> Response:
        read_query(request, frozenset())
        read_body(request, CancelBody)

        def work(ticket: Ticket | None) -> Response:
            now = utc_now()
            cancelled = runs.cancel_request(
                request_id=require_id("apr", approval_id), principal=caller(request), now=now
            )
            answer = render_approval_detail(cancelled, caller(request), now)
            idempotency.store(ticket, status=200, body=answer, object_id=cancelled.id)
            return Response(answer)

        return once(request, route="POST /approvals/{id}/cancel", work=work)


class BreakGlassReviews(APIView):
    """Decisions that were forced, and what somebody else says about them. For people only."""

    permissions: ClassVar = {"GET": Permission.APPROVALS_READ}

    @extend_schema(
        operation_id="break_glass_reviews_list",
        parameters=list_parameters(state=STATES),
        responses=schemas_approvals.BreakGlassReviewList,
    )
    def get(self, request: Request) -> Response:
        filters = read_query(request, PAGE_PARAMETERS | {"state"})
        now = utc_now()
        rows = break_glass.visible_reviews(caller(request), now)
        if "state" in filters:
            rows = rows.filter(break_glass.in_state(known_values(filters["state"], STATES, "state"), now))
        return page(
            request,
            rows,
            filters=filters,
            render=lambda found: [render_break_glass_review(row, now) for row in found],
        )


class BreakGlassReviewDetail(APIView):
    permissions: ClassVar = {"POST": Permission.APPROVALS_DECIDE}

    @extend_schema(
        operation_id="break_glass_reviews_find",
        request=FindingBody,
        responses=schemas_approvals.BreakGlassReview,
    )
    def post(self, request: Request, review_id: str) -> Response:
        read_query(request, frozenset())
        body = read_body(request, FindingBody)

        def work(ticket: Ticket | None) -> Response:
            now = utc_now()
            review = approvals.review_break_glass(
                review_id=require_id("bgr", review_id),
                principal=caller(request),
                finding=body["finding"],
                comment=body["comment"],
                now=now,
                ticket=ticket,
                render=lambda made: render_break_glass_review(made, now),
            )
            return Response(render_break_glass_review(review, now))

        return once(request, route="POST /break-glass-reviews/{id}", work=work)


def _answer(body: Mapping[str, Any], seen: int | None) -> ReviewInput:
    return ReviewInput(
        verdict=body["decision"],
        scope=body.get("scope"),
        comment=body.get("comment", ""),
        ttl_ms=body.get("ttl_ms"),
        pattern=body.get("pattern"),
        sas=body.get("sas", ""),
        end_run=body.get("end_run", False),
        seen_version=seen,
        surface="api",
    )


def _verified(principal: Principal, body: Mapping[str, Any], now: datetime) -> datetime | None:
    if not body.get("otp") or principal.kind is not PrincipalKind.USER:
        return None
    return signing_in.step_up(principal=principal, code=body["otp"], now=now)


def _chosen(texts: Sequence[str]) -> tuple[Chosen, ...]:
    matches = [_VERSIONED.fullmatch(text) for text in texts]
    faults = tuple(
        Detail(f"/requests/{place}", "invalid", "must be an id such as apr_… or apr_…:3")
        for place, match in enumerate(matches)
        if match is None
    )
    if faults:
        raise InvalidError("invalid", "The body is not valid.", errors=faults)
    return tuple(Chosen(found[1], int(found[2]) if found[2] else None) for found in matches if found)


def _status(outcome: ReviewOutcome) -> int:
    return 202 if outcome.kind == "open" else 200
