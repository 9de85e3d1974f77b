"""Asking the server to verify its journal."""

from __future__ import annotations

from typing import ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.api import schemas_simulations as schemas
from governance.api.authentication import caller
from governance.api.idempotent import once
from governance.api.strict import Body, Flag, Whole, read_body, read_query
from governance.api.wire_simulations import render_job
from governance.idempotency import Replay, Ticket
from governance.jobs.journal_verifying import VerifyWish
from governance.jobs.selectors import require_job
from governance.operations.journal_verifying import start_verifying
from identity.roles import Permission
from kernel.clock import utc_now

LARGEST = 2**53 - 1
_ENDS = {
    "from": Whole(required=False, min_value=0, max_value=LARGEST),
    "to": Whole(required=False, min_value=0, max_value=LARGEST),
}


class _Verify(Body):
    quick = Flag(required=False)
    cross_check = Flag(required=False)


VerifyBody = type("VerifyBody", (_Verify,), _ENDS)
"""`from` is a word of Python."""


class JournalVerify(APIView):
    permissions: ClassVar = {"POST": Permission.JOURNAL_VERIFY}

    @extend_schema(operation_id="journal_verify", request=VerifyBody, responses={202: schemas.Job})
    def post(self, request: Request) -> Response:
        """Start a job that verifies the journal. Its result has the counts and the first findings."""
        read_query(request, frozenset())
        body = read_body(request, VerifyBody)
        wish = VerifyWish(
            first=body.get("from", 0),
            last=body.get("to"),
            quick=body.get("quick", False),
            cross_check=body.get("cross_check", False),
        )

        def work(ticket: Ticket | None) -> Response:
            job = start_verifying(
                principal=caller(request), wish=wish, now=utc_now(), ticket=ticket, render=render_job
            )
            return Response(render_job(job), status=202)

        def again(replay: Replay) -> Response:
            return Response(render_job(require_job(caller(request), replay.object_id or "")), status=202)

        return once(request, route="POST /journal/verify", work=work, refresh=again)
