"""Workspaces, who holds which role in them, and their teams."""

from __future__ import annotations

from typing import ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.api import schemas_identity as schemas
from governance.api.authentication import caller
from governance.api.bodies_identity import EmptyBody, MembershipBody, TeamBody, TeamMemberBody, WorkspaceBody
from governance.api.idempotent import once
from governance.api.openapi import list_parameters
from governance.api.paging import PAGE_PARAMETERS, page
from governance.api.strict import read_body, read_query, read_texts
from governance.api.views_calls import known_values
from governance.api.wire_identity import render_membership, render_team, render_workspace
from governance.idempotency import Ticket
from governance.operations import workspaces
from identity.models import Workspace
from identity.reach import memberships_in, require_workspace, teams_in, visible_workspaces
from identity.roles import Permission, WorkspaceRole
from kernel.clock import utc_now
from kernel.ids import require_id

MANAGE_MEMBERSHIPS = Permission.WORKSPACE_MEMBERSHIPS_MANAGE


class Workspaces(APIView):
    permissions: ClassVar = {"GET": Permission.WORKSPACE_READ, "POST": Permission.WORKSPACE_MANAGE}

    @extend_schema(
        operation_id="workspaces_list", parameters=list_parameters(), responses=schemas.WorkspaceList
    )
    def get(self, request: Request) -> Response:
        filters = read_query(request, PAGE_PARAMETERS)
        rows = visible_workspaces(caller(request))
        return page(
            request, rows, filters=filters, render=lambda found: [render_workspace(row) for row in found]
        )

    @extend_schema(
        operation_id="workspaces_create", request=WorkspaceBody, responses={201: schemas.Workspace}
    )
    def post(self, request: Request) -> Response:
        read_query(request, frozenset())
        body = read_body(request, WorkspaceBody)

        def work(ticket: Ticket | None) -> Response:
            made = workspaces.create(
                principal=caller(request),
                slug=body["slug"],
                name=body["name"],
                now=utc_now(),
                ticket=ticket,
                render=render_workspace,
            )
            return Response(render_workspace(made), status=201)

        return once(request, route="POST /workspaces", work=work)


class WorkspaceDetail(APIView):
    permissions: ClassVar = {"GET": Permission.WORKSPACE_READ}

    @extend_schema(operation_id="workspaces_show", responses=schemas.Workspace)
    def get(self, request: Request, workspace_id: str) -> Response:
        read_query(request, frozenset())
        return Response(render_workspace(in_path(request, workspace_id)))


class WorkspaceArchive(APIView):
    permissions: ClassVar = {"POST": Permission.WORKSPACE_MANAGE}

    @extend_schema(operation_id="workspaces_archive", request=EmptyBody, responses=schemas.Workspace)
    def post(self, request: Request, workspace_id: str) -> Response:
        read_query(request, frozenset())
        read_body(request, EmptyBody)

        def work(ticket: Ticket | None) -> Response:
            workspace = workspaces.archive(
                principal=caller(request),
                workspace_id=workspace_id,
                now=utc_now(),
                ticket=ticket,
                render=render_workspace,
            )
            return Response(render_workspace(workspace))

        return once(request, route="POST /workspaces/{id}/archive", work=work)


class Memberships(APIView):
    permissions: ClassVar = {"GET": Permission.WORKSPACE_READ, "POST": MANAGE_MEMBERSHIPS}

    @extend_schema(
        operation_id="memberships_list",
        parameters=list_parameters("user", role=tuple(WorkspaceRole)),
        responses=schemas.MembershipList,
    )
    def get(self, request: Request, workspace_id: str) -> Response:
        filters = read_query(request, PAGE_PARAMETERS | {"user", "role"})
        rows = memberships_in(in_path(request, workspace_id).pk)
        if "user" in filters:
            rows = rows.filter(user_id__in=read_texts(filters, "user"))
        if "role" in filters:
            rows = rows.filter(role__in=known_values(filters["role"], tuple(WorkspaceRole), "role"))
        now = utc_now()
        return page(
            request,
            rows,
            filters=filters,
            render=lambda found: [render_membership(row, now) for row in found],
        )

    @extend_schema(
        operation_id="memberships_grant", request=MembershipBody, responses={201: schemas.Membership}
    )
    def post(self, request: Request, workspace_id: str) -> Response:
        read_query(request, frozenset())
        body = read_body(request, MembershipBody)

        def work(ticket: Ticket | None) -> Response:
            now = utc_now()
            made = workspaces.grant(
                principal=caller(request),
                workspace_id=workspace_id,
                user_id=body.get("user"),
                team_id=body.get("team"),
                role=WorkspaceRole(body["role"]),
                expires_at=body.get("expires_at"),
                now=now,
                ticket=ticket,
                render=lambda made: render_membership(made, now),
            )
            return Response(render_membership(made, now), status=201)

        return once(request, route="POST /workspaces/{id}/memberships", work=work)


class MembershipDetail(APIView):
    """Everybody drops their own roles; who takes away another's is decided by the operation."""

    permissions: ClassVar = {"DELETE": None}

    @extend_schema(operation_id="memberships_remove", responses={204: None})
    def delete(self, request: Request, workspace_id: str, membership_id: str) -> Response:
        read_query(request, frozenset())
        workspaces.remove(
            principal=caller(request),
            membership_id=require_id("mbr", membership_id),
            workspace_id=require_id("wsp", workspace_id),
            now=utc_now(),
        )
        return Response(status=204)


class Teams(APIView):
    permissions: ClassVar = {"GET": Permission.WORKSPACE_READ, "POST": MANAGE_MEMBERSHIPS}

    @extend_schema(operation_id="teams_list", parameters=list_parameters(), responses=schemas.TeamList)
    def get(self, request: Request, workspace_id: str) -> Response:
        filters = read_query(request, PAGE_PARAMETERS)
        rows = teams_in(in_path(request, workspace_id).pk)
        return page(request, rows, filters=filters, render=lambda found: [render_team(row) for row in found])

    @extend_schema(operation_id="teams_create", request=TeamBody, responses={201: schemas.Team})
    def post(self, request: Request, workspace_id: str) -> Response:
        read_query(request, frozenset())
        body = read_body(request, TeamBody)

        def work(ticket: Ticket | None) -> Response:
            team = workspaces.create_team(
                principal=caller(request),
                workspace_id=workspace_id,
                name=body["name"],
                now=utc_now(),
                ticket=ticket,
                render=render_team,
            )
            return Response(render_team(team), status=201)

        return once(request, route="POST /workspaces/{id}/teams", work=work)


class TeamMembers(APIView):
    permissions: ClassVar = {"POST": MANAGE_MEMBERSHIPS}

    @extend_schema(operation_id="team_members_add", request=TeamMemberBody, responses={201: schemas.Team})
    def post(self, request: Request, workspace_id: str, team_id: str) -> Response:
        read_query(request, frozenset())
        body = read_body(request, TeamMemberBody)

        def work(ticket: Ticket | None) -> Response:
            team = workspaces.add_team_member(
                principal=caller(request),
                workspace_id=workspace_id,
                team_id=require_id("tm", team_id),
                user_id=body["user"],
                now=utc_now(),
                ticket=ticket,
                render=render_team,
            )
            return Response(render_team(team), status=201)

        return once(request, route="POST /workspaces/{id}/teams/{id}/members", work=work)


class TeamMemberDetail(APIView):
    """Everybody leaves a team; who puts another out is decided by the operation."""

    permissions: ClassVar = {"DELETE": None}

    @extend_schema(operation_id="team_members_remove", responses={204: None})
    def delete(self, request: Request, workspace_id: str, team_id: str, user_id: str) -> Response:
        read_query(request, frozenset())
        workspaces.remove_team_member(
            principal=caller(request),
            workspace_id=require_id("wsp", workspace_id),
            team_id=require_id("tm", team_id),
            user_id=require_id("usr", user_id),
            now=utc_now(),
        )
        return Response(status=204)


def in_path(request: Request, workspace_id: str) -> Workspace:
    """Return the workspace that a path names, or raise NotFoundError."""
    return require_workspace(caller(request), require_id("wsp", workspace_id))
