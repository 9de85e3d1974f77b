"""What a stranger can check about one call: its attestation, and the bundle of its evidence."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.api import schemas, schemas_evidence
from governance.api.authentication import caller
from governance.api.bodies_evidence import AttestationBody
from governance.api.strict import read_body, read_query
from governance.api.views_calls import known_values
from governance.journal.attestations import Judgement
from governance.operations.evidence import attestation_text, take_evidence, verify_attestation
from governance.selectors import require_call
from identity.roles import Permission
from kernel.canonical import canonical
from kernel.clock import utc_now
from kernel.ids import require_id

ZIP = "application/zip"
_SUMMARY = (
    "attestation_id", "call_id", "run_id", "tool", "principal", "verdict", "reason_code", "outcome",
    "executor", "sandbox_enforcement", "execution_sha256", "executed_at", "policy_set_hash",
)  # fmt: skip


class ZipRenderer(JSONRenderer):
    """What a client asks for; problems are written as JSON all the same."""

    media_type = ZIP
    format = "zip"


class ToolCallAttestation(APIView):
    """The envelope with exactly its stored bytes: their SHA-256 is the one that the journal holds."""

    permissions: ClassVar = {"GET": Permission.CALLS_READ}

    @extend_schema(operation_id="tool_calls_attestation", responses=schemas.Envelope)
    def get(self, request: Request, call_id: str) -> HttpResponse:
        read_query(request, frozenset())
        view = require_call(caller(request), require_id("call", call_id))
        return HttpResponse(attestation_text(view), content_type="application/json")


class ToolCallEvidence(APIView):
    permissions: ClassVar = {"GET": Permission.JOURNAL_EXPORT}
    renderer_classes = (JSONRenderer, ZipRenderer)

    @extend_schema(
        operation_id="tool_calls_evidence",
        parameters=[
            OpenApiParameter(
                "reveal",
                str,
                enum=("true", "false"),
                default="false",
                description="With what the events, the input and the output say; needs journal.reveal.",
            )
        ],
        responses={(200, ZIP): OpenApiTypes.BINARY},
    )
    def get(self, request: Request, call_id: str) -> HttpResponse:
        values = read_query(request, frozenset({"reveal"})).get("reveal", ["false"])
        taken = take_evidence(
            principal=caller(request),
            call_id=require_id("call", call_id),
            reveal=known_values(values, ("true", "false"), "reveal")[-1] == "true",
            now=utc_now(),
        )
        headers = {"Content-Disposition": f'attachment; filename="{taken.name}"'}
        return HttpResponse(taken.content, content_type=ZIP, headers=headers)


class AttestationVerify(APIView):
    """Asks only: the same envelope has the same answer while the keys stay, with or without a key."""

    permissions: ClassVar = {"POST": Permission.CALLS_READ}

    @extend_schema(
        operation_id="attestations_verify",
        request=AttestationBody,
        responses={200: schemas_evidence.AttestationVerdict},
    )
    def post(self, request: Request) -> Response:
        read_query(request, frozenset())
        envelope = read_body(request, AttestationBody)["envelope"]
        judged = verify_attestation(
            principal=caller(request), envelope=canonical(envelope).decode(), now=utc_now()
        )
        return Response(render_judgement(judged))


def render_judgement(judged: Judgement) -> dict[str, Any]:
    """Return a verdict as it travels: without a valid signature nothing of what the envelope says."""
    said = judged.statement.predicate if judged.statement is not None else None
    return {
        "object": "attestation_verdict",
        "valid": judged.is_valid,
        "code": None if judged.is_valid else judged.code,
        "key_id": judged.key_id,
        "recorded": judged.is_recorded,
        "statement": {name: said[name] for name in _SUMMARY} if said is not None else None,
    }
