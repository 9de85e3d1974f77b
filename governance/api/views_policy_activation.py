"""Putting rules in force and taking them back."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.api import schemas_policy as schemas
from governance.api.authentication import caller
from governance.api.bodies_policy import ActivateBody, RollbackBody
from governance.api.etags import etag, seen_version
from governance.api.idempotent import once
from governance.api.openapi import IF_MATCH
from governance.api.strict import read_body, read_query
from governance.api.wire_policy import render_activation
from governance.idempotency import Replay, Ticket
from governance.operations import policy_activation
from governance.operations.policy_activation import Activation
from identity.roles import Permission
from kernel.clock import utc_now
from kernel.ids import require_id
from policy.activation import ActivationWish

_ANSWERS = {200: schemas.PolicyActivation, 202: schemas.PolicyActivation}


class PolicySetActivate(APIView):
    permissions: ClassVar = {"POST": Permission.POLICY_ACTIVATE}

    @extend_schema(
        operation_id="policy_sets_activate", parameters=[IF_MATCH], request=ActivateBody, responses=_ANSWERS
    )
    def post(self, request: Request, set_id: str) -> Response:
        """Put a validated set in force; of rules one wrote oneself, ask a second person: 202."""
        read_query(request, frozenset())
        body = read_body(request, ActivateBody)
        seen = seen_version(request, require_id("pol", set_id))

        def work(ticket: Ticket | None) -> Response:
            made = policy_activation.activate(
                principal=caller(request),
                set_id=set_id,
                wish=ActivationWish(body["reason"], body["simulation"], body["acknowledged_loosened"]),
                seen_version=seen,
                now=utc_now(),
                ticket=ticket,
                render=_rendered,
            )
            return _answer(made)

        return once(request, route="POST /policy-sets/{id}/activate", work=work, refresh=_again)


class PolicySetRollback(APIView):
    permissions: ClassVar = {"POST": Permission.POLICY_ACTIVATE}

    @extend_schema(
        operation_id="policy_sets_rollback", parameters=[IF_MATCH], request=RollbackBody, responses=_ANSWERS
    )
    def post(self, request: Request, set_id: str) -> Response:
        """Put the text of an earlier set in force again, as a new set; where one may not alone: 202."""
        read_query(request, frozenset())
        body = read_body(request, RollbackBody)
        seen = seen_version(request, require_id("pol", set_id))

        def work(ticket: Ticket | None) -> Response:
            made = policy_activation.rollback(
                principal=caller(request),
                set_id=set_id,
                reason=body["reason"],
                seen_version=seen,
                now=utc_now(),
                ticket=ticket,
                render=_rendered,
            )
            return _answer(made)

        return once(request, route="POST /policy-sets/{id}/rollback", work=work, refresh=_again)


def _rendered(made: Activation) -> tuple[int, dict[str, Any]]:
    return (202 if made.request else 200), render_activation(made)


def _answer(made: Activation) -> Response:
    status, body = _rendered(made)
    headers = {"ETag": etag(made.policy_set.pk, made.policy_set.edit_version)}
    return Response(body, status=status, headers=headers | _place(body))


def _again(replay: Replay) -> Response:
    return Response(replay.body, status=replay.status, headers=_place(replay.body))


def _place(body: Any) -> dict[str, str]:
    """Where to look for the answer of the second person."""
    approval = body.get("approval")
    return {"Location": f"/api/v1/approvals/{approval['id']}"} if approval else {}
