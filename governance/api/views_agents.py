"""Agents: list, show, register, change, suspend, resume, archive."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar, Protocol

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.api import schemas_identity as schemas
from governance.api.authentication import caller
from governance.api.bodies_identity import AgentBody, AgentChangeBody, ReasonBody
from governance.api.etags import etag, is_unchanged, seen_version
from governance.api.idempotent import once
from governance.api.openapi import IF_MATCH, list_parameters
from governance.api.paging import PAGE_PARAMETERS, page
from governance.api.strict import read_body, read_query, read_texts
from governance.api.views_calls import known_values
from governance.api.wire_identity import render_agent
from governance.idempotency import Ticket
from governance.operations import agents
from identity.lifecycle import AgentState
from identity.models import Agent
from identity.reach import require_agent, visible_agents
from identity.roles import Permission
from identity.types import Principal
from kernel.clock import utc_now
from kernel.ids import require_id


class _Verb(Protocol):
    def __call__(
        self,
        *,
        principal: Principal,
        agent_id: str,
        reason: str,
        now: datetime,
        ticket: Ticket | None,
        render: Callable[[Agent], object] | None,
    ) -> Agent: ...


class Agents(APIView):
    """Those of the caller's reach, and those that other workspaces share with it."""

    permissions: ClassVar = {"GET": Permission.AGENTS_READ, "POST": Permission.AGENTS_MANAGE}

    @extend_schema(
        operation_id="agents_list",
        parameters=list_parameters("owner", "workspace", state=tuple(AgentState)),
        responses=schemas.AgentList,
    )
    def get(self, request: Request) -> Response:
        filters = read_query(request, PAGE_PARAMETERS | {"owner", "workspace", "state"})
        rows = visible_agents(caller(request))
        for name, column in (("owner", "owner_id"), ("workspace", "workspace_id")):
            if name in filters:
                rows = rows.filter(**{f"{column}__in": read_texts(filters, name)})
        if "state" in filters:
            rows = rows.filter(state__in=known_values(filters["state"], tuple(AgentState), "state"))
        return page(request, rows, filters=filters, render=lambda found: [render_agent(row) for row in found])

    @extend_schema(operation_id="agents_register", request=AgentBody, responses={201: schemas.Agent})
    def post(self, request: Request) -> Response:
        read_query(request, frozenset())
        body = read_body(request, AgentBody)

        def work(ticket: Ticket | None) -> Response:
            agent = agents.register(
                principal=caller(request),
                name=body["name"],
                owner_id=body.get("owner", caller(request).id),
                purpose=body.get("purpose", ""),
                now=utc_now(),
                ticket=ticket,
                render=render_agent,
            )
            return _shown(agent, status=201)

        return once(request, route="POST /agents", work=work)


class AgentDetail(APIView):
    permissions: ClassVar = {"GET": Permission.AGENTS_READ, "PATCH": Permission.AGENTS_MANAGE}

    @extend_schema(operation_id="agents_show", responses=schemas.Agent)
    def get(self, request: Request, agent_id: str) -> Response:
        read_query(request, frozenset())
        agent = require_agent(caller(request), require_id("agt", agent_id))
        tag = etag(agent.pk, agent.version)
        return Response(status=304, headers={"ETag": tag}) if is_unchanged(request, tag) else _shown(agent)

    @extend_schema(
        operation_id="agents_change", parameters=[IF_MATCH], request=AgentChangeBody, responses=schemas.Agent
    )
    def patch(self, request: Request, agent_id: str) -> Response:
        read_query(request, frozenset())
        changes = read_body(request, AgentChangeBody)
        agent = agents.change(
            principal=caller(request),
            agent_id=require_id("agt", agent_id),
            changes=changes,
            seen_version=seen_version(request, agent_id),
            now=utc_now(),
        )
        return _shown(agent)


class AgentSuspend(APIView):
    permissions: ClassVar = {"POST": Permission.AGENTS_MANAGE}

    @extend_schema(operation_id="agents_suspend", request=ReasonBody, responses=schemas.Agent)
    def post(self, request: Request, agent_id: str) -> Response:
        return _moved(request, agent_id, agents.suspend, "suspend")


class AgentResume(APIView):
    permissions: ClassVar = {"POST": Permission.AGENTS_MANAGE}

    @extend_schema(operation_id="agents_resume", request=ReasonBody, responses=schemas.Agent)
    def post(self, request: Request, agent_id: str) -> Response:
        return _moved(request, agent_id, agents.resume, "resume")


class AgentArchive(APIView):
    permissions: ClassVar = {"POST": Permission.AGENTS_MANAGE}

    @extend_schema(operation_id="agents_archive", request=ReasonBody, responses=schemas.Agent)
    def post(self, request: Request, agent_id: str) -> Response:
        return _moved(request, agent_id, agents.archive, "archive")


def _moved(request: Request, agent_id: str, verb: _Verb, name: str) -> Response:
    read_query(request, frozenset())
    body: dict[str, Any] = read_body(request, ReasonBody)

    def work(ticket: Ticket | None) -> Response:
        agent = verb(
            principal=caller(request),
            agent_id=require_id("agt", agent_id),
            reason=body["reason"],
            now=utc_now(),
            ticket=ticket,
            render=render_agent,
        )
        return _shown(agent)

    return once(request, route=f"POST /agents/{{id}}/{name}", work=work)


def _shown(agent: Agent, *, status: int = 200) -> Response:
    return Response(render_agent(agent), status=status, headers={"ETag": etag(agent.pk, agent.version)})
