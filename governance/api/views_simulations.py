"""Trying out policy sets: simulations with their flips, and shadows with their results."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.api import schemas_simulations as schemas
from governance.api.authentication import caller
from governance.api.bodies_simulations import ShadowBody, SimulateBody
from governance.api.idempotent import once
from governance.api.openapi import list_parameters
from governance.api.paging import PAGE_PARAMETERS, page
from governance.api.strict import read_body, read_query
from governance.api.views_calls import known_values
from governance.api.wire_simulations import (
    flips_as_csv,
    render_flip,
    render_job,
    render_shadow,
    render_shadow_result,
    render_simulation,
)
from governance.idempotency import Replay, Ticket
from governance.jobs.selectors import require_job
from governance.operations import simulations
from governance.operations.simulations import Simulated
from identity.roles import Permission
from identity.types import Principal
from kernel.clock import utc_now
from kernel.errors import MalformedError, NotFoundError
from kernel.ids import require_id
from policy.models import SimulationFlip, SimulationRun
from policy.set_selectors import ACTIVE, require_set
from policy.shadowing import results_of
from policy.simulation import Wishes

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
FORMATS = ("json", "csv")
FORMAT = OpenApiParameter("format", str, enum=list(FORMATS), default="json")


class PolicySetSimulate(APIView):
    permissions: ClassVar = {"POST": Permission.POLICY_SIMULATE}

    @extend_schema(
        operation_id="policy_sets_simulate",
        request=SimulateBody,
        responses={200: schemas.PolicySimulation, 202: schemas.Job},
    )
    def post(self, request: Request, set_id: str) -> Response:
        """Replay recorded decisions; more than 2,000 of them become a job."""
        read_query(request, frozenset())
        body = read_body(request, SimulateBody)
        wishes = Wishes(**{"records" if name == "n" else name: value for name, value in body.items()})

        def work(ticket: Ticket | None) -> Response:
            made = simulations.simulate(
                principal=caller(request),
                set_id=_set_id(set_id),
                wishes=wishes,
                now=utc_now(),
                ticket=ticket,
                render=_simulated,
            )
            status, answer = _simulated(made)
            return _answer(status, answer)

        def again(replay: Replay) -> Response:
            if replay.status == 202 and replay.object_id is not None:
                return _answer(202, render_job(require_job(caller(request), replay.object_id)))
            return _answer(replay.status, replay.body)

        return once(request, route="POST /policy-sets/{id}/simulate", work=work, refresh=again)


class PolicySetSimulations(APIView):
    permissions: ClassVar = {"GET": Permission.POLICY_READ}

    @extend_schema(
        operation_id="policy_simulations_list",
        parameters=list_parameters(),
        responses=schemas.PolicySimulationList,
    )
    def get(self, request: Request, set_id: str) -> Response:
        filters = read_query(request, PAGE_PARAMETERS)
        runs = SimulationRun.objects.filter(policy_set=require_set(_set_id(set_id)))
        return page(
            request, runs, filters=filters, render=lambda found: [render_simulation(run) for run in found]
        )


class PolicySimulationDetail(APIView):
    permissions: ClassVar = {"GET": Permission.POLICY_READ}

    @extend_schema(operation_id="policy_simulations_show", responses=schemas.PolicySimulation)
    def get(self, request: Request, set_id: str, number: str) -> Response:
        read_query(request, frozenset())
        return Response(render_simulation(_run(set_id, number)))


class PolicySimulationFlips(APIView):
    permissions: ClassVar = {"GET": Permission.POLICY_READ}

    @extend_schema(
        operation_id="policy_simulations_flips",
        parameters=[*list_parameters(direction=SimulationFlip.DIRECTIONS), FORMAT],
        responses={200: schemas.PolicyFlipList, (200, "text/csv"): OpenApiTypes.STR},
    )
    def get(self, request: Request, set_id: str, number: str) -> Any:
        """List what would change, of the workspaces that the caller may see; `format=csv` is all of it."""
        filters = read_query(request, PAGE_PARAMETERS | {"direction", "format"})
        run = _run(set_id, number)
        flips = _visible(SimulationFlip.objects.filter(run=run), caller(request))
        if "direction" in filters:
            wanted = known_values(filters["direction"], SimulationFlip.DIRECTIONS, "direction")
            flips = flips.filter(direction__in=wanted)
        if known_values(filters.get("format", ["json"]), FORMATS, "format") == ["csv"]:
            return _csv(flips, f"{run.policy_set_id}-{run.number}-flips.csv")
        return page(request, flips, filters=filters, render=lambda found: [render_flip(one) for one in found])


class PolicySetShadow(APIView):
    permissions: ClassVar = {"POST": Permission.POLICY_EDIT}

    @extend_schema(
        operation_id="policy_sets_shadow", request=ShadowBody, responses={200: schemas.PolicyShadow}
    )
    def post(self, request: Request, set_id: str) -> Response:
        read_query(request, frozenset())
        body = read_body(request, ShadowBody)

        def work(ticket: Ticket | None) -> Response:
            changed = simulations.change_shadow(
                principal=caller(request),
                set_id=_set_id(set_id),
                enabled=body["enabled"],
                now=utc_now(),
                ticket=ticket,
                render=render_shadow,
            )
            return Response(render_shadow(changed))

        return once(request, route="POST /policy-sets/{id}/shadow", work=work)


class PolicyShadowResults(APIView):
    permissions: ClassVar = {"GET": Permission.POLICY_READ}

    @extend_schema(
        operation_id="policy_shadow_results_list",
        parameters=list_parameters(),
        responses=schemas.PolicyShadowResultList,
    )
    def get(self, request: Request, set_id: str) -> Response:
        filters = read_query(request, PAGE_PARAMETERS)
        rows = results_of(require_set(_set_id(set_id)))
        return page(
            request, rows, filters=filters, render=lambda found: [render_shadow_result(row) for row in found]
        )


def _set_id(text: str) -> str:
    return text if text == ACTIVE else require_id("pol", text)


def _run(set_id: str, number: str) -> SimulationRun:
    if not _NUMBER.fullmatch(number):
        raise MalformedError("invalid_id", "A simulation has a number from 1.")
    policy_set = require_set(_set_id(set_id))
    run = SimulationRun.objects.filter(policy_set=policy_set, number=int(number)).first()
    if run is None:
        raise NotFoundError("not_found", "There is no such simulation.")
    return run


def _visible(flips: QuerySet[SimulationFlip], principal: Principal) -> QuerySet[SimulationFlip]:
    """Sets belong to the instance, but calls to a workspace: others' are shown to its own people only."""
    return flips if principal.instance_roles else flips.filter(workspace_id=principal.workspace_id)


def _simulated(made: Simulated) -> tuple[int, dict[str, Any]]:
    return (200, render_simulation(made.run)) if made.job is None else (202, render_job(made.job))


def _answer(status: int, body: dict[str, Any] | dict[str, object]) -> Response:
    headers = {"Location": f"/api/v1/jobs/{body['id']}", "Retry-After": "2"} if status == 202 else {}
    return Response(body, status=status, headers=headers)


def _csv(flips: QuerySet[SimulationFlip], name: str) -> HttpResponse:
    text = flips_as_csv(flips.order_by("direction", "pk").iterator())
    return HttpResponse(
        text,
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
