"""Asking for an erasure."""

from __future__ import annotations

from typing import ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from approvals.models import ApprovalRequest
from governance.api.authentication import caller
from governance.api.bodies_erase import EraseBody
from governance.api.idempotent import once
from governance.api.schemas_erase import ErasureAsked
from governance.api.strict import read_body, read_query
from governance.idempotency import Ticket
from governance.operations import erasing
from kernel.clock import utc_now
from kernel.errors import MalformedError
from kernel.ids import is_id

CODE = frozenset({"otp"})
"""A code works once, so a retry brings another: it is no part of what an idempotency key stands for."""
ERASABLE = ("run", "agt", "usr")


class JournalErase(APIView):
    """Asked for inside, since the code may come in the body: `erasing.ask_to_erase` needs `journal.erase`."""

    permissions: ClassVar = {"POST": None}

    @extend_schema(operation_id="journal_erase", request=EraseBody, responses={202: ErasureAsked})
    def post(self, request: Request) -> Response:
        """Ask a second person to let a run, an agent or a person be erased."""
        read_query(request, frozenset())
        body = read_body(request, EraseBody)
        if not any(is_id(prefix, body["subject"]) for prefix in ERASABLE):
            raise MalformedError("invalid_id", "A subject is a run_…, agt_… or usr_… id.")

        def work(ticket: Ticket | None) -> Response:
            asked = erasing.ask_to_erase(
                principal=caller(request),
                subject=body["subject"],
                reason=body["reason"],
                otp=body.get("otp"),
                now=utc_now(),
                ticket=ticket,
                render=_rendered,
            )
            headers = {"Location": f"/api/v1/approvals/{asked.pk}"}
            return Response(_rendered(asked), status=202, headers=headers)

        return once(request, route="POST /journal/erase", work=work, secrets=CODE)


def _rendered(asked: ApprovalRequest) -> dict[str, object]:
    return {"approval": asked.pk}
