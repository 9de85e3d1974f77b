"""Asking people for more calls in a run."""

from __future__ import annotations

from typing import ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from approvals.models import ApprovalRequest
from governance.api import schemas
from governance.api.authentication import caller
from governance.api.bodies_edit import RaiseBody
from governance.api.idempotent import once
from governance.api.strict import read_body, read_query
from governance.api.wire_approvals import render_approvals
from governance.idempotency import Ticket
from governance.operations import allowances
from identity.roles import Permission
from kernel.clock import utc_now
from kernel.ids import require_id


class RunRaise(APIView):
    permissions: ClassVar = {"POST": Permission.TOOLS_PROPOSE}

    @extend_schema(operation_id="runs_raise", request=RaiseBody, responses={202: schemas.Approval})
    def post(self, request: Request, run_id: str) -> Response:
        read_query(request, frozenset())
        body = read_body(request, RaiseBody)
        now = utc_now()

        def rendered(asked: ApprovalRequest) -> object:
            return render_approvals([asked], caller(request), now)[0]

        def work(ticket: Ticket | None) -> Response:
            asked = allowances.request_raise(
                run_id=require_id("run", run_id),
                max_calls=body["max_calls"],
                reason=body["reason"],
                principal=caller(request),
                now=now,
                ticket=ticket,
                render=rendered,
            )
            headers = {"Location": f"/api/v1/approvals/{asked.id}"}
            return Response(rendered(asked), status=202, headers=headers)

        return once(request, route="POST /runs/{id}/raise-requests", work=work)
