"""Shapes of answers about tokens, for the OpenAPI document only."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class _Shape(serializers.Serializer[Any]):
    """An answer; all members are always present."""


class Token(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    prefix = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # `label` is the wire's name
    kind = serializers.CharField()
    principal = serializers.DictField()
    workspace_id = serializers.CharField()
    scopes = serializers.ListField(child=serializers.CharField())
    state = serializers.CharField()
    minted_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    overlap_ends_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True)
    last_used_network = serializers.CharField(allow_null=True)
    rate_per_minute = serializers.IntegerField()
    allowed_networks = serializers.ListField(child=serializers.CharField())
    exposed = serializers.BooleanField()
    rotated_from = serializers.CharField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)
    revoked_reason = serializers.CharField(allow_null=True)


class TokenList(_Shape):
    object = serializers.CharField()
    has_more = serializers.BooleanField()
    next_cursor = serializers.CharField(allow_null=True)
    data = Token(many=True)  # type: ignore[assignment]  # `data` is the wire's name


class MintedToken(Token):
    token = serializers.CharField(allow_null=True)
    secret_withheld = serializers.BooleanField()


class LeakReport(_Shape):
    object = serializers.CharField()
    received = serializers.IntegerField()
    revoked = serializers.IntegerField()
