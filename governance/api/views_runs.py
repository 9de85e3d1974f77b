"""Runs: open, list, show, complete, cancel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.api import schemas
from governance.api.authentication import caller
from governance.api.bodies import CancelBody, CompleteBody, RunBody
from governance.api.idempotent import once
from governance.api.openapi import list_parameters
from governance.api.paging import PAGE_PARAMETERS, page
from governance.api.strict import read_body, read_query, read_texts
from governance.api.views_calls import known_values
from governance.api.windows import WINDOW, window_parameters, within
from governance.api.wire import render_run, render_run_view
from governance.idempotency import Ticket
from governance.models import Run
from governance.operations import runs
from governance.runs.selectors import run_view
from governance.selectors import require_run, visible_runs
from identity.roles import Permission
from kernel.clock import utc_now
from kernel.ids import require_id


class Runs(APIView):
    permissions: ClassVar = {"GET": Permission.RUNS_READ, "POST": Permission.RUNS_CREATE}

    @extend_schema(
        operation_id="runs_list",
        parameters=list_parameters("agent", state=Run.STATES) + window_parameters(),
        responses=schemas.RunList,
    )
    def get(self, request: Request) -> Response:
        filters = read_query(request, PAGE_PARAMETERS | WINDOW | {"state", "agent"})
        rows = within(visible_runs(caller(request)), filters, column="opened_at")
        if "state" in filters:
            rows = rows.filter(state__in=known_values(filters["state"], Run.STATES, "state"))
        if "agent" in filters:
            rows = rows.filter(principal_id__in=read_texts(filters, "agent"))
        return page(request, rows, filters=filters, render=lambda found: [render_run(run) for run in found])

    @extend_schema(operation_id="runs_open", request=RunBody, responses={201: schemas.Run})
    def post(self, request: Request) -> Response:
        read_query(request, frozenset())
        body = read_body(request, RunBody)

        def work(ticket: Ticket | None) -> Response:
            run = runs.open_run(
                principal=caller(request),
                wishes=body,
                now=utc_now(),
                ticket=ticket,
                render=render_run,
            )
            return _opened(render_run(run))

        return once(request, route="POST /runs", work=work, refresh=lambda replay: _opened(replay.body))


class RunDetail(APIView):
    permissions: ClassVar = {"GET": Permission.RUNS_READ}

    @extend_schema(operation_id="runs_show", responses=schemas.RunDetail)
    def get(self, request: Request, run_id: str) -> Response:
        read_query(request, frozenset())
        run = require_run(caller(request), require_id("run", run_id))
        return Response(render_run_view(run_view(run)))


class RunCancel(APIView):
    permissions: ClassVar = {"POST": Permission.RUNS_CANCEL}

    @extend_schema(operation_id="runs_cancel", request=CancelBody, responses=schemas.Run)
    def post(self, request: Request, run_id: str) -> Response:
        read_query(request, frozenset())
        body = read_body(request, CancelBody)

        def work(ticket: Ticket | None) -> Response:
            run = runs.cancel_run(
                run_id=require_id("run", run_id),
                principal=caller(request),
                reason=body.get("reason", ""),
                now=utc_now(),
                ticket=ticket,
                render=render_run,
            )
            return Response(render_run(run))

        return once(request, route="POST /runs/{id}/cancel", work=work)


class RunComplete(APIView):
    permissions: ClassVar = {"POST": Permission.RUNS_CREATE}

    @extend_schema(operation_id="runs_complete", request=CompleteBody, responses=schemas.Run)
    def post(self, request: Request, run_id: str) -> Response:
        read_query(request, frozenset())
        read_body(request, CompleteBody)

        def work(ticket: Ticket | None) -> Response:
            run = runs.complete_run(
                run_id=require_id("run", run_id),
                principal=caller(request),
                now=utc_now(),
                ticket=ticket,
                render=render_run,
            )
            return Response(render_run(run))

        return once(request, route="POST /runs/{id}/complete", work=work)


def _opened(run: Mapping[str, Any]) -> Response:
    return Response(run, status=201, headers={"Location": f"/api/v1/runs/{run['id']}"})
