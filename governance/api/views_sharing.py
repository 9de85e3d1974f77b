"""Invitations into a workspace, and objects that it shares or is given."""

from __future__ import annotations

from typing import ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.api import schemas_identity as schemas
from governance.api.authentication import caller
from governance.api.bodies_identity import AcceptBody, InvitationBody, ShareBody
from governance.api.idempotent import once
from governance.api.openapi import list_parameters
from governance.api.paging import PAGE_PARAMETERS, page
from governance.api.strict import read_body, read_query
from governance.api.views_workspaces import in_path
from governance.api.wire_identity import render_invitation, render_invited, render_membership, render_share
from governance.idempotency import Ticket
from governance.operations import workspaces
from identity.reach import invitations_to, shares_about
from identity.roles import Permission, WorkspaceRole
from kernel.clock import utc_now
from kernel.ids import require_id


class Invitations(APIView):
    permissions: ClassVar = {"GET": Permission.INVITATIONS_MANAGE, "POST": Permission.INVITATIONS_MANAGE}

    @extend_schema(
        operation_id="invitations_list", parameters=list_parameters(), responses=schemas.InvitationList
    )
    def get(self, request: Request, workspace_id: str) -> Response:
        filters = read_query(request, PAGE_PARAMETERS)
        rows, now = invitations_to(in_path(request, workspace_id).pk), utc_now()
        return page(
            request,
            rows,
            filters=filters,
            render=lambda found: [render_invitation(row, now) for row in found],
        )

    @extend_schema(
        operation_id="invitations_create",
        request=InvitationBody,
        responses={201: schemas.InvitationWithToken},
    )
    def post(self, request: Request, workspace_id: str) -> Response:
        read_query(request, frozenset())
        body = read_body(request, InvitationBody)

        def work(ticket: Ticket | None) -> Response:
            now = utc_now()
            invited = workspaces.invite(
                principal=caller(request),
                workspace_id=workspace_id,
                email=body["email"],
                role=WorkspaceRole(body["role"]),
                expires_in_days=body.get("expires_in_days", 7),
                now=now,
                ticket=ticket,
                render=lambda made: render_invited(made, now, shown=False),
            )
            return Response(render_invited(invited, now, shown=True), status=201)

        return once(request, route="POST /workspaces/{id}/invitations", work=work)


class InvitationDetail(APIView):
    permissions: ClassVar = {"DELETE": Permission.INVITATIONS_MANAGE}

    @extend_schema(operation_id="invitations_revoke", responses={204: None})
    def delete(self, request: Request, workspace_id: str, invitation_id: str) -> Response:
        read_query(request, frozenset())
        workspaces.revoke_invitation(
            principal=caller(request),
            workspace_id=workspace_id,
            invitation_id=require_id("inv", invitation_id),
            now=utc_now(),
        )
        return Response(status=204)


class InvitationAccept(APIView):
    """Possession of the text proves the invitation; the caller is who takes the role."""

    permissions: ClassVar = {"POST": None}

    @extend_schema(operation_id="invitations_accept", request=AcceptBody, responses={201: schemas.Membership})
    def post(self, request: Request) -> Response:
        read_query(request, frozenset())
        body = read_body(request, AcceptBody)

        def work(ticket: Ticket | None) -> Response:
            now = utc_now()
            made = workspaces.accept_invitation(
                principal=caller(request),
                text=body["token"],
                now=now,
                ticket=ticket,
                render=lambda made: render_membership(made, now),
            )
            return Response(render_membership(made, now), status=201)

        return once(request, route="POST /invitations/accept", work=work)


class Shares(APIView):
    """What is shared with the workspace, and what it shares.

    Whoever shares an object manages sharing at its home, and names the workspace it opens to by its id
    alone; so the operation decides.
    """

    permissions: ClassVar = {"GET": Permission.WORKSPACE_READ, "POST": None}

    @extend_schema(operation_id="shares_list", parameters=list_parameters(), responses=schemas.ShareList)
    def get(self, request: Request, workspace_id: str) -> Response:
        filters = read_query(request, PAGE_PARAMETERS)
        rows = shares_about(in_path(request, workspace_id).pk)
        return page(request, rows, filters=filters, render=lambda found: [render_share(row) for row in found])

    @extend_schema(operation_id="shares_create", request=ShareBody, responses={201: schemas.Share})
    def post(self, request: Request, workspace_id: str) -> Response:
        read_query(request, frozenset())
        body = read_body(request, ShareBody)

        def work(ticket: Ticket | None) -> Response:
            made = workspaces.share(
                principal=caller(request),
                workspace_id=require_id("wsp", workspace_id),
                resource_kind=body["resource_kind"],
                resource_id=body["resource_id"],
                access=body["access"],
                now=utc_now(),
                ticket=ticket,
                render=render_share,
            )
            return Response(render_share(made), status=201)

        return once(request, route="POST /workspaces/{id}/shares", work=work)


class ShareDetail(APIView):
    permissions: ClassVar = {"DELETE": Permission.WORKSPACE_SHARING_MANAGE}

    @extend_schema(operation_id="shares_remove", responses={204: None})
    def delete(self, request: Request, workspace_id: str, share_id: str) -> Response:
        read_query(request, frozenset())
        workspaces.unshare(
            principal=caller(request),
            workspace_id=workspace_id,
            share_id=require_id("shr", share_id),
            now=utc_now(),
        )
        return Response(status=204)
