"""Cedar's own answers, judged by the code of live decisions: for comparing the two."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.api.bodies_conformance import ConformanceBody
from governance.api.parsers import LongJSONParser
from governance.api.strict import read_body, read_query
from governance.conformance import judge_case
from identity.roles import Permission


class ConformanceFinding(serializers.Serializer[Any]):
    policy = serializers.CharField()
    error = serializers.CharField()


class ConformanceValidation(serializers.Serializer[Any]):
    passed = serializers.BooleanField()
    errors = ConformanceFinding(many=True)  # type: ignore[assignment]  # `errors` is the wire's name


class ConformanceResult(serializers.Serializer[Any]):
    decision = serializers.ChoiceField(choices=("allow", "deny", "no_decision"))
    reasons = serializers.ListField(child=serializers.CharField())
    errors = serializers.ListField(child=serializers.CharField())  # type: ignore[assignment]  # as above
    fail_closed_decision = serializers.ChoiceField(choices=("allow", "deny"))


class ConformanceAnswer(serializers.Serializer[Any]):
    validation = ConformanceValidation(allow_null=True)
    results = ConformanceResult(many=True)


class PolicyConformance(APIView):
    """Writes nothing and needs no idempotency key: the same case has the same answer."""

    permissions: ClassVar = {"POST": Permission.POLICY_READ}
    parser_classes = (LongJSONParser,)

    @extend_schema(
        operation_id="policy_conformance", request=ConformanceBody, responses={200: ConformanceAnswer}
    )
    def post(self, request: Request) -> Response:
        read_query(request, frozenset())
        return Response(judge_case({"entities": [], **read_body(request, ConformanceBody)}))
