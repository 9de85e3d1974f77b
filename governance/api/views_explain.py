"""Why policy decides as it does, and the schema its rules are checked against. Nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.api import schemas_explain
from governance.api.authentication import caller
from governance.api.bodies_explain import ExplainBody
from governance.api.strict import read_body, read_query, read_texts
from governance.api.wire_explain import render_explanation
from governance.explaining import explain_call, explain_question
from governance.supposing import Circumstances, Supposed
from identity.roles import Permission
from kernel.clock import utc_now
from kernel.errors import MalformedError
from kernel.ids import require_id
from policy.explain_selectors import schema_text
from policy.set_selectors import ACTIVE
from policy.types import EntityRef


class PolicyExplain(APIView):
    """Asks only; the same question has the same answer while nothing changes, with or without a key."""

    permissions: ClassVar = {"POST": Permission.POLICY_READ}

    @extend_schema(
        operation_id="policy_explain",
        request=ExplainBody,
        responses={200: schemas_explain.PolicyExplanation},
    )
    def post(self, request: Request) -> Response:
        read_query(request, frozenset())
        body = read_body(request, ExplainBody)
        asker, now, policy_set = caller(request), utc_now(), body.get("policy_set", ACTIVE)
        if "call_id" in body:
            call_id = require_id("call", body["call_id"])
            found = explain_call(call_id=call_id, policy_set=policy_set, principal=asker, now=now)
        else:
            found = explain_question(
                supposed=supposed_of(body), policy_set=policy_set, principal=asker, now=now
            )
        return Response(render_explanation(found))


class PolicySchemaText(APIView):
    """The schema as generated: the shipped declarations, and an action for each tool."""

    permissions: ClassVar = {"GET": Permission.POLICY_READ}

    @extend_schema(
        operation_id="policy_schema",
        parameters=[OpenApiParameter("tool", str, description="Show only the action of this tool.")],
        responses={200: schemas_explain.PolicySchema},
    )
    def get(self, request: Request) -> Response:
        values = read_query(request, frozenset({"tool"}))
        named = read_texts(values, "tool") if "tool" in values else []
        if len(named) > 1:
            raise MalformedError("invalid_parameter", "tool takes one name.")
        found = schema_text(named[0] if named else None)
        return Response(
            {
                "object": "policy_schema",
                "tool": found.tool,
                "schema": found.text,
                "schema_digest": found.schema_digest,
                "catalog_digest": found.catalog_digest,
            }
        )


def supposed_of(body: Mapping[str, Any]) -> Supposed:
    """Return the question of a body that was read."""
    return Supposed(
        principal=EntityRef(**body["principal"]),
        action=body["action"],
        resource=EntityRef(**body["resource"]),
        context=Circumstances(**body.get("context", {})),
    )
