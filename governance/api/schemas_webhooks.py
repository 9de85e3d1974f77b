"""Shapes of answers about webhooks and subscriptions, for the OpenAPI document only."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class _Shape(serializers.Serializer[Any]):
    """An answer; all members are always present."""


class Webhook(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    workspace = serializers.CharField()
    url = serializers.CharField()
    description = serializers.CharField(allow_blank=True)
    event_types = serializers.ListField(child=serializers.CharField())
    enabled = serializers.BooleanField()
    disabled_reason = serializers.CharField(allow_null=True)
    failing_since = serializers.DateTimeField(allow_null=True)
    previous_secret_until = serializers.DateTimeField(allow_null=True)
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    version = serializers.IntegerField()


class WebhookList(_Shape):
    object = serializers.CharField()
    has_more = serializers.BooleanField()
    next_cursor = serializers.CharField(allow_null=True)
    data = Webhook(many=True)  # type: ignore[assignment]  # `data` is the wire's name


class WebhookWithSecret(Webhook):
    secret = serializers.CharField(allow_null=True)
    secret_withheld = serializers.BooleanField()


class WebhookDelivery(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    webhook = serializers.CharField()
    event = serializers.CharField()
    type = serializers.CharField()
    state = serializers.CharField()
    attempt = serializers.IntegerField()
    status_code = serializers.IntegerField(allow_null=True)
    duration_ms = serializers.IntegerField(allow_null=True)
    response_excerpt = serializers.CharField(allow_blank=True)
    error = serializers.CharField(allow_null=True)
    next_attempt_at = serializers.DateTimeField(allow_null=True)
    occurred_at = serializers.DateTimeField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class WebhookDeliveryList(_Shape):
    object = serializers.CharField()
    has_more = serializers.BooleanField()
    next_cursor = serializers.CharField(allow_null=True)
    data = WebhookDelivery(many=True)  # type: ignore[assignment]  # `data` is the wire's name


class NotificationSubscription(_Shape):
    object = serializers.CharField()
    workspace = serializers.CharField()
    channel = serializers.CharField()
    enabled = serializers.BooleanField()
    minimum_risk = serializers.CharField()
    subject_types = serializers.ListField(child=serializers.CharField())
    quiet_from = serializers.IntegerField(allow_null=True)
    quiet_to = serializers.IntegerField(allow_null=True)
    time_zone = serializers.CharField()
