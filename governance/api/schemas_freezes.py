"""Shapes of answers about freezes, for the OpenAPI document only."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class Freeze(serializers.Serializer[Any]):
    """`workspace_id` is null for a freeze that reaches every workspace; people are null to agents."""

    id = serializers.CharField()
    object = serializers.CharField()
    state = serializers.CharField()
    scope = serializers.CharField()
    scope_id = serializers.CharField(allow_null=True)
    workspace_id = serializers.CharField(allow_null=True)
    reason = serializers.CharField()
    kill_running = serializers.BooleanField()
    set_by = serializers.CharField(allow_null=True)
    set_at = serializers.DateTimeField()
    lifted_by = serializers.CharField(allow_null=True)
    lifted_at = serializers.DateTimeField(allow_null=True)
    lift_reason = serializers.CharField(allow_null=True)
    single_operator = serializers.BooleanField()
    version = serializers.IntegerField()


class FreezeList(serializers.Serializer[Any]):
    object = serializers.CharField()
    data = Freeze(many=True)  # type: ignore[assignment]  # `data` is the wire's name
    has_more = serializers.BooleanField()
    next_cursor = serializers.CharField(allow_null=True)
