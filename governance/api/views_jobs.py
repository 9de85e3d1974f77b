"""Long work: how far it is, how it ended, and stopping it."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.api import schemas_simulations as schemas
from governance.api.authentication import caller, caller_now, require_live
from governance.api.bodies_simulations import NothingBody
from governance.api.idempotent import once
from governance.api.openapi import list_parameters
from governance.api.paging import PAGE_PARAMETERS, page
from governance.api.strict import read_body, read_integer, read_query
from governance.api.views_calls import MAX_WAIT, WAIT, known_values, not_waited
from governance.api.waiting import wait_until
from governance.api.wire_simulations import render_job
from governance.idempotency import Ticket
from governance.jobs.kinds import KINDS
from governance.jobs.selectors import has_ended, require_job, visible_jobs
from governance.jobs.services import is_open
from governance.models import Job
from governance.operations import jobs
from kernel.clock import utc_now
from kernel.ids import require_id


class Jobs(APIView):
    """Which jobs somebody sees depends on the permission of each kind."""

    permissions: ClassVar = {"GET": None}

    @extend_schema(
        operation_id="jobs_list",
        parameters=list_parameters(state=Job.STATES, kind=tuple(KINDS)),
        responses=schemas.JobList,
    )
    def get(self, request: Request) -> Response:
        filters = read_query(request, PAGE_PARAMETERS | {"state", "kind"})
        rows = visible_jobs(caller(request))
        if "state" in filters:
            rows = rows.filter(state__in=known_values(filters["state"], Job.STATES, "state"))
        if "kind" in filters:
            rows = rows.filter(kind__in=known_values(filters["kind"], tuple(KINDS), "kind"))
        return page(request, rows, filters=filters, render=lambda found: [render_job(job) for job in found])


class JobDetail(APIView):
    permissions: ClassVar = {"GET": None}

    @extend_schema(operation_id="jobs_show", parameters=[WAIT], responses=schemas.Job)
    def get(self, request: Request, job_id: str) -> Response:
        filters = read_query(request, frozenset({"wait"}))
        seconds = read_integer(filters, "wait", default=0, low=0, high=MAX_WAIT)
        job = require_job(caller(request), require_id("job", job_id))
        waited = wait_until(
            lambda: has_ended(job.id),
            seconds=seconds if is_open(job) else 0,
            require_live=lambda: require_live(request),
        )
        reader = caller_now(request) if seconds else caller(request)
        return Response(render_job(require_job(reader, job.id)), headers=not_waited(waited))


class JobCancel(APIView):
    permissions: ClassVar = {"POST": None}

    @extend_schema(
        operation_id="jobs_cancel", request=NothingBody, responses={200: schemas.Job, 202: schemas.Job}
    )
    def post(self, request: Request, job_id: str) -> Response:
        read_query(request, frozenset())
        read_body(request, NothingBody)

        def work(ticket: Ticket | None) -> Response:
            job = jobs.cancel(
                job_id=require_id("job", job_id),
                principal=caller(request),
                now=utc_now(),
                ticket=ticket,
                render=_cancelled,
            )
            status, answer = _cancelled(job)
            return Response(answer, status=status)

        return once(request, route="POST /jobs/{id}/cancel", work=work)


def _cancelled(job: Job) -> tuple[int, dict[str, Any]]:
    return 202 if is_open(job) else 200, render_job(job)
