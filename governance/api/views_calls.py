"""Tool calls: propose, list, show, cancel, resolve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from governance import pipeline
from governance.api import schemas
from governance.api.authentication import caller, caller_now, require_live
from governance.api.bodies import CancelBody, ResolveBody, ToolCallBody
from governance.api.checkpoint_header import CHECKPOINT, CheckpointedView
from governance.api.idempotent import once
from governance.api.openapi import list_parameters
from governance.api.paging import PAGE_PARAMETERS, page
from governance.api.strict import read_body, read_integer, read_query, read_texts
from governance.api.waiting import wait_for_change
from governance.api.windows import WINDOW, window_parameters, within
from governance.api.wire import render_call, render_call_row
from governance.call_state import OPEN_STATES, CallState
from governance.idempotency import Replay, Ticket
from governance.models import ToolCall
from governance.operations import runs
from governance.proposals import Proposal
from governance.selectors import (
    CallView,
    newest_of,
    require_call,
    state_filter,
    view_of,
    views_of,
    visible_calls,
)
from identity.roles import Permission
from identity.types import Principal
from kernel.clock import utc_now
from kernel.errors import MalformedError
from kernel.ids import require_id

MAX_WAIT = 60
WAIT = OpenApiParameter(
    "wait",
    {"type": "integer", "minimum": 0, "maximum": MAX_WAIT, "default": 0},
    description="Seconds to wait for an outcome.",
)


class ToolCalls(CheckpointedView):
    permissions: ClassVar = {"GET": Permission.CALLS_READ, "POST": Permission.TOOLS_PROPOSE}

    @extend_schema(
        operation_id="tool_calls_list",
        parameters=list_parameters(
            "run", "tool", "agent", "reason_code", "idempotency_key", state=tuple(CallState)
        )
        + window_parameters()
        + [CHECKPOINT],
        responses=schemas.ToolCallList,
    )
    def get(self, request: Request) -> Response:
        names = frozenset({"run", "tool", "agent", "reason_code", "idempotency_key"})
        filters = read_query(request, PAGE_PARAMETERS | WINDOW | names | {"state"})
        rows = within(visible_calls(caller(request)), filters, column="created_at")
        columns = {"run": "run_id", "tool": "tool_name", "agent": "principal_id"}
        for name in names:
            if name in filters:
                rows = rows.filter(**{f"{columns.get(name, name)}__in": read_texts(filters, name)})
        if "state" in filters:
            states = known_values(filters["state"], tuple(CallState), "state")
            rows = rows.filter(state_filter([CallState(state) for state in states]))
        return page(request, rows, filters=filters, render=_rows)

    @extend_schema(
        operation_id="tool_calls_propose",
        request=ToolCallBody,
        parameters=[WAIT, CHECKPOINT],
        responses={201: schemas.ToolCall, 202: schemas.ToolCall, 200: schemas.ToolCallPreview},
    )
    def post(self, request: Request) -> Response:
        filters = read_query(request, frozenset({"wait"}))
        seconds = read_integer(filters, "wait", default=0, low=0, high=MAX_WAIT)
        body = read_body(request, ToolCallBody)
        proposal = _proposal(request, body)
        if body.get("dry_run"):
            return Response(pipeline.preview(proposal=proposal, principal=caller(request), now=utc_now()))

        def work(ticket: Ticket | None) -> Response:
            view = pipeline.submit(
                proposal=proposal,
                principal=caller(request),
                now=utc_now(),
                ticket=ticket,
                render=lambda made: _stored(made, caller(request)),
            )
            return _proposed_after(request, view.call.id, view.state, seconds)

        def again(replay: Replay) -> Response:
            view = view_of(ToolCall.objects.get(id=replay.object_id))
            return _proposed_after(request, view.call.id, view.state, seconds)

        return once(request, route="POST /tool-calls", work=work, refresh=again)


class ToolCallDetail(CheckpointedView):
    permissions: ClassVar = {"GET": Permission.CALLS_READ}

    @extend_schema(operation_id="tool_calls_show", parameters=[WAIT, CHECKPOINT], responses=schemas.ToolCall)
    def get(self, request: Request, call_id: str) -> Response:
        filters = read_query(request, frozenset({"wait"}))
        seconds = read_integer(filters, "wait", default=0, low=0, high=MAX_WAIT)
        view = require_call(caller(request), require_id("call", call_id))
        if seconds:
            view = require_call(caller(request), newest_of(view.call.id))
        waited = wait_for_change(
            view.call.id, seconds=seconds, shown=view.state, require_live=lambda: require_live(request)
        )
        reader = caller_now(request) if seconds else caller(request)
        view = require_call(reader, newest_of(view.call.id) if seconds else view.call.id)
        return Response(render_call(view, reader), headers=not_waited(waited))


class ToolCallCancel(CheckpointedView):
    permissions: ClassVar = {"POST": Permission.RUNS_CANCEL}

    @extend_schema(
        operation_id="tool_calls_cancel",
        request=CancelBody,
        parameters=[CHECKPOINT],
        responses={200: schemas.ToolCall, 202: schemas.ToolCall},
    )
    def post(self, request: Request, call_id: str) -> Response:
        read_query(request, frozenset())
        body = read_body(request, CancelBody)

        def work(ticket: Ticket | None) -> Response:
            view = runs.cancel_call(
                call_id=require_id("call", call_id),
                principal=caller(request),
                reason=body.get("reason", ""),
                now=utc_now(),
                ticket=ticket,
                render=lambda made: _cancelled(made, caller(request)),
            )
            status, answer = _cancelled(view, caller(request))
            return Response(answer, status=status)

        def again(replay: Replay) -> Response:
            view = view_of(ToolCall.objects.get(id=replay.object_id))
            return Response(render_call(view, caller(request)), status=replay.status)

        return once(request, route="POST /tool-calls/{id}/cancel", work=work, refresh=again)


class ToolCallResolve(CheckpointedView):
    permissions: ClassVar = {"POST": Permission.RUNS_CANCEL_ANY}

    @extend_schema(
        operation_id="tool_calls_resolve",
        request=ResolveBody,
        parameters=[CHECKPOINT],
        responses=schemas.ToolCall,
    )
    def post(self, request: Request, call_id: str) -> Response:
        read_query(request, frozenset())
        body = read_body(request, ResolveBody)

        def work(ticket: Ticket | None) -> Response:
            view = runs.resolve_call(
                call_id=require_id("call", call_id),
                principal=caller(request),
                outcome=body["outcome"],
                note=body["note"],
                now=utc_now(),
                ticket=ticket,
                render=lambda made: render_call(made, caller(request)),
            )
            return Response(render_call(view, caller(request)))

        return once(request, route="POST /tool-calls/{id}/resolve", work=work)


def _proposal(request: Request, body: Mapping[str, Any]) -> Proposal:
    traceparent = request.headers.get("traceparent", "")
    parent = body.get("parent_call_id")
    return Proposal(
        run_id=require_id("run", body["run_id"]),
        tool=body["tool"],
        input=body["input"],
        parent_call_id=require_id("call", parent) if parent is not None else None,
        idempotency_key=request.headers.get("Idempotency-Key"),
        traceparent=traceparent if runs.is_traceparent(traceparent) else None,
    )


def _proposed_after(request: Request, call_id: str, shown: CallState, seconds: int) -> Response:
    principal = caller(request)
    waited = wait_for_change(
        call_id, seconds=seconds, shown=shown, require_live=lambda: require_live(request)
    )
    if seconds:
        call_id = newest_of(call_id)
    view = view_of(ToolCall.objects.get(id=call_id))
    headers = not_waited(waited)
    if view.state not in OPEN_STATES:
        headers |= _may_be_asked_again(view.call)
        return Response(render_call(view, principal), status=201, headers=headers)
    headers |= {"Location": f"/api/v1/tool-calls/{call_id}", "Retry-After": "2"}
    return Response(render_call(view, principal), status=202, headers=headers)


def _may_be_asked_again(call: ToolCall) -> dict[str, str]:
    """Return when a call that was denied for asking too often may be proposed again."""
    seconds = ((call.error or {}).get("detail") or {}).get("retry_after_seconds")
    return {"Retry-After": str(seconds)} if isinstance(seconds, int) else {}


def not_waited(waited: bool) -> dict[str, str]:
    """Return the headers that tell whether the server had no place to wait."""
    return {} if waited else {"Preference-Applied": "wait=0", "Retry-After": "1"}


def _stored(view: CallView, principal: Principal) -> tuple[int, dict[str, Any]]:
    status = 202 if view.state in OPEN_STATES else 201
    return status, render_call(view, principal)


def _cancelled(view: CallView, principal: Principal) -> tuple[int, dict[str, Any]]:
    status = 202 if view.state in OPEN_STATES else 200
    return status, render_call(view, principal)


def _rows(calls: list[ToolCall]) -> list[dict[str, Any]]:
    return [render_call_row(view) for view in views_of(calls)]


def known_values(values: list[str], allowed: tuple[str, ...], name: str) -> list[str]:
    """Return filter values that are all known, or raise MalformedError `invalid_parameter`."""
    for value in values:
        if value not in allowed:
            raise MalformedError("invalid_parameter", f"{name} takes one of {', '.join(allowed)}.")
    return values
