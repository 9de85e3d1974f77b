"""The body of a conformance case."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from governance.api.bodies import AnyJson
from governance.api.strict import Body, Flag, Text
from policy.conformance import MAX_REQUESTS

_MEMBERS = frozenset({"principal", "action", "resource", "context"})


class JsonObject(AnyJson):
    """Any JSON object."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, dict):
            raise serializers.ValidationError("This must be an object.")
        return super().to_internal_value(data)


class CedarRequestBody(JsonObject):
    """`principal`, `action` and `resource`, each a reference, and perhaps a `context`."""

    def to_internal_value(self, data: Any) -> Any:
        request = super().to_internal_value(data)
        if not _MEMBERS - {"context"} <= set(request) <= _MEMBERS:
            raise serializers.ValidationError("A request has principal, action, resource and context.")
        if not isinstance(request.get("context", {}), dict):
            raise serializers.ValidationError("The context must be an object.")
        return request


class ConformanceBody(Body):
    """Texts are Cedar's, white space and all; the size of the whole body bounds them."""

    policies = Text(allow_blank=True, trim_whitespace=False)
    schema = Text(trim_whitespace=False)
    entities = serializers.ListField(child=JsonObject(), required=False)
    requests = serializers.ListField(child=CedarRequestBody(), max_length=MAX_REQUESTS)
    validate = Flag(required=False)  # type: ignore[assignment]  # `validate` is the wire's name
    slicing = Flag(required=False)
