"""The answers about session labels, as OpenAPI shows them."""

from __future__ import annotations

from rest_framework import serializers

from governance.api.schemas import _List, _Shape


class SessionLabel(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    session_id = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # `label` is the wire's name
    state = serializers.ChoiceField(choices=("active", "declassified", "expired"))
    calls = serializers.ListField(child=serializers.CharField())
    added_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    declassified_by = serializers.CharField(allow_null=True)
    declassified_at = serializers.DateTimeField(allow_null=True)
    declassified_reason = serializers.CharField(allow_null=True)


class SessionLabelList(_List):
    data = SessionLabel(many=True)  # type: ignore[assignment]  # `data` is the wire's name
