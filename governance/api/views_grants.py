"""Grants and remembered denials: list, show, take back; and the patterns an answer may have."""

from __future__ import annotations

from typing import ClassVar

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from approvals.grant_selectors import in_state, visible_denials, visible_grants
from approvals.types import GrantStatus
from governance.api import schemas_grants as schemas
from governance.api.authentication import caller
from governance.api.bodies_approvals import LONGEST_COMMENT
from governance.api.bodies_grants import RevokeGrantBody
from governance.api.idempotent import once
from governance.api.openapi import list_parameters
from governance.api.paging import PAGE_PARAMETERS, page
from governance.api.strict import read_body, read_query, read_texts
from governance.api.views_approvals import visible
from governance.api.views_calls import known_values
from governance.api.wire_grants import render_denial, render_grant, render_grant_detail, render_patterns
from governance.grants import offered_patterns
from governance.idempotency import Ticket
from governance.operations import grants
from identity.roles import Permission
from kernel.clock import utc_now
from kernel.errors import MalformedError, NotFoundError
from kernel.ids import require_id

_OF_GRANTS = {"agent": "principal_id", "tool": "tool"}
_OF_DENIALS = {"agent": "principal_id", "tool": "request__tool"}


class Grants(APIView):
    """Agents see their own. A grant whose time is over is listed as expired."""

    permissions: ClassVar = {"GET": Permission.APPROVALS_READ}

    @extend_schema(
        operation_id="grants_list",
        parameters=list_parameters("agent", "tool", state=tuple(GrantStatus)),
        responses=schemas.GrantList,
    )
    def get(self, request: Request) -> Response:
        filters = read_query(request, PAGE_PARAMETERS | {"state", *_OF_GRANTS})
        principal, now = caller(request), utc_now()
        rows = visible_grants(principal, now).select_related("request").prefetch_related("request__reviews")
        for name, column in _OF_GRANTS.items():
            if name in filters:
                rows = rows.filter(**{f"{column}__in": read_texts(filters, name)})
        if "state" in filters:
            rows = rows.filter(in_state(known_values(filters["state"], tuple(GrantStatus), "state"), now))
        return page(
            request,
            rows,
            filters=filters,
            render=lambda found: [render_grant(row, principal, now) for row in found],
        )


class GrantDetail(APIView):
    permissions: ClassVar = {"GET": Permission.APPROVALS_READ}

    @extend_schema(operation_id="grants_show", responses=schemas.GrantDetail)
    def get(self, request: Request, grant_id: str) -> Response:
        read_query(request, frozenset())
        principal, now = caller(request), utc_now()
        rows = visible_grants(principal, now).select_related("request")
        found = rows.filter(pk=require_id("grt", grant_id)).first()
        if found is None:
            raise NotFoundError("not_found", "There is no such grant.")
        return Response(render_grant_detail(found, principal, now))


class GrantRevoke(APIView):
    permissions: ClassVar = {"POST": Permission.GRANTS_REVOKE}

    @extend_schema(
        operation_id="grants_revoke", request=RevokeGrantBody, responses={200: schemas.GrantDetail}
    )
    def post(self, request: Request, grant_id: str) -> Response:
        """Take a grant back, with a comment. One that has ended already is a conflict."""
        read_query(request, frozenset())
        body = read_body(request, RevokeGrantBody)
        principal, now = caller(request), utc_now()

        def work(ticket: Ticket | None) -> Response:
            made = grants.revoke(
                principal=principal,
                grant_id=require_id("grt", grant_id),
                comment=body.get("comment", ""),
                now=now,
                ticket=ticket,
                render=lambda grant: render_grant_detail(grant, principal, now),
            )
            return Response(render_grant_detail(made, principal, now))

        return once(request, route="POST /grants/{id}/revoke", work=work)


class Denials(APIView):
    """Agents see their own. Denials whose term is over are gone."""

    permissions: ClassVar = {"GET": Permission.APPROVALS_READ}

    @extend_schema(
        operation_id="denials_list", parameters=list_parameters("agent", "tool"), responses=schemas.DenialList
    )
    def get(self, request: Request) -> Response:
        filters = read_query(request, PAGE_PARAMETERS | set(_OF_DENIALS))
        rows = visible_denials(caller(request), utc_now()).select_related("request")
        for name, column in _OF_DENIALS.items():
            if name in filters:
                rows = rows.filter(**{f"{column}__in": read_texts(filters, name)})
        return page(
            request, rows, filters=filters, render=lambda found: [render_denial(row) for row in found]
        )


class DenialDetail(APIView):
    permissions: ClassVar = {"GET": Permission.APPROVALS_READ, "DELETE": Permission.GRANTS_REVOKE}

    @extend_schema(operation_id="denials_show", responses=schemas.Denial)
    def get(self, request: Request, denial_id: str) -> Response:
        read_query(request, frozenset())
        rows = visible_denials(caller(request), utc_now()).select_related("request")
        found = rows.filter(pk=require_id("dnl", denial_id)).first()
        if found is None:
            raise NotFoundError("not_found", "There is no such denial.")
        return Response(render_denial(found))

    @extend_schema(
        operation_id="denials_forget",
        parameters=[OpenApiParameter("comment", str, required=True)],
        responses={204: None},
    )
    def delete(self, request: Request, denial_id: str) -> Response:
        """Forget a denial, with a comment, so that people are asked again."""
        given = read_query(request, frozenset({"comment"}))
        grants.forget(
            principal=caller(request),
            denial_id=require_id("dnl", denial_id),
            comment=_one_text(given.get("comment", [""])),
            now=utc_now(),
        )
        return Response(status=204)


class ApprovalPatterns(APIView):
    """What an allow may cover beside the call itself, computed by the matcher that claims use."""

    permissions: ClassVar = {"GET": Permission.APPROVALS_READ}

    @extend_schema(operation_id="approvals_patterns", responses=schemas.OfferedPatternList)
    def get(self, request: Request, approval_id: str) -> Response:
        read_query(request, frozenset())
        found = visible(caller(request), approval_id)
        data = render_patterns(offered_patterns(found, utc_now()))
        return Response({"object": "list", "data": data, "has_more": False, "next_cursor": None})


def _one_text(given: list[str]) -> str:
    if len(given) != 1 or len(given[0]) > LONGEST_COMMENT or "\0" in given[0]:
        raise MalformedError(
            "invalid_parameter", f"comment takes one text of up to {LONGEST_COMMENT} characters."
        )
    return given[0]
