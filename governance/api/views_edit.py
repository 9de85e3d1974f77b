"""Edit and approve: other arguments in the place of those that wait."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from approvals.editing import EditInput
from approvals.lifecycle import decision_of
from governance.api.authentication import caller
from governance.api.bodies_edit import EditBody, EditedShape
from governance.api.idempotent import once
from governance.api.strict import read_body, read_query
from governance.api.views_approvals import seen_version
from governance.editing import Edited
from governance.idempotency import Ticket
from governance.operations import editing, signing_in
from governance.selectors import view_of
from identity.types import PrincipalKind
from kernel.clock import utc_now
from kernel.ids import require_id


class ApprovalEdit(APIView):
    """Anybody who sees a request may try to change it: who may is decided by the service."""

    permissions: ClassVar = {"POST": None}

    @extend_schema(
        operation_id="approvals_edit",
        request=EditBody,
        responses={200: EditedShape, 202: EditedShape},
    )
    def post(self, request: Request, approval_id: str) -> Response:
        read_query(request, frozenset())
        body = read_body(request, EditBody)
        seen = seen_version(request, require_id("apr", approval_id))

        def work(ticket: Ticket | None) -> Response:
            now = utc_now()
            verified = None
            if body.get("otp") and caller(request).kind is PrincipalKind.USER:
                verified = signing_in.step_up(principal=caller(request), code=body["otp"], now=now)
            edited = editing.edit_request(
                request_id=approval_id,
                new_input=body["input"],
                edit=EditInput(
                    comment=body["comment"], seen_version=seen, otp_verified_at=verified, surface="api"
                ),
                principal=caller(request),
                now=now,
                ticket=ticket,
                render=rendered,
            )
            status, answer = rendered(edited)
            return Response(answer, status=status)

        return once(request, route="POST /approvals/{id}/edit", work=work, secrets=frozenset({"otp"}))


def rendered(edited: Edited) -> tuple[int, dict[str, Any]]:
    """Return the answer to an edit: 202 while the new call still waits for somebody else."""
    asked, request, after = edited.asked, edited.request, edited.after
    waits = request is not None and request.status == "pending"
    return 202 if waits else 200, {
        "id": asked.id,
        "object": "approval",
        "state": asked.status,
        "decision": decision_of(asked.status, asked.close_code),
        "close_code": asked.close_code,
        "superseded_by": {
            "call_id": after.id,
            "call_state": view_of(after).state.value,
            "action_digest": after.action_digest,
            "approval_id": request.id if request is not None else None,
            "approval_state": request.status if request is not None else None,
            "risk": request.risk if request is not None else after.risk,
        },
        "queued": [after.execution_id] if after.execution_id else [],
    }
