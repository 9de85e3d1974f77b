"""Shapes of answers about postures, for the OpenAPI document only."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class _Shape(serializers.Serializer[Any]):
    """An answer; all members are always present."""


class _List(_Shape):
    object = serializers.CharField()
    has_more = serializers.BooleanField()
    next_cursor = serializers.CharField(allow_null=True)


class PostureOverride(_Shape):
    object = serializers.CharField()
    tool = serializers.CharField()
    scope_kind = serializers.CharField()
    scope_id = serializers.CharField(allow_blank=True)
    state = serializers.CharField()
    overridable = serializers.BooleanField()
    reason = serializers.CharField(allow_blank=True)
    source = serializers.CharField()  # type: ignore[assignment]  # `source` is the wire's name
    actor = serializers.CharField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    etag = serializers.CharField()


class Posture(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    tool = serializers.CharField()
    risk = serializers.CharField()
    scope_kind = serializers.CharField()
    scope_id = serializers.CharField(allow_blank=True)
    state = serializers.CharField()
    default_state = serializers.CharField()
    source_scope = serializers.CharField()
    explicit = serializers.BooleanField()
    editable = serializers.BooleanField()
    lock_reason = serializers.CharField(allow_null=True)
    override = PostureOverride(allow_null=True)
    chain = PostureOverride(many=True)


class PostureList(_List):
    data = Posture(many=True)  # type: ignore[assignment]  # `data` is the wire's name


class PosturePreset(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    title = serializers.CharField()
    description = serializers.CharField()
    says = serializers.DictField(child=serializers.CharField())
    rest = serializers.CharField(allow_null=True)
    spares_readers = serializers.BooleanField()


class PosturePresetList(_List):
    data = PosturePreset(many=True)  # type: ignore[assignment]  # `data` is the wire's name


class PreviewRow(_Shape):
    tool = serializers.CharField()
    current = serializers.CharField()
    proposed = serializers.CharField()
    changed = serializers.BooleanField()
    locked = serializers.BooleanField()
    lock_reason = serializers.CharField(allow_null=True)
    loosens = serializers.BooleanField()


class PosturePreview(_Shape):
    object = serializers.CharField()
    preset = serializers.CharField()
    scope_kind = serializers.CharField()
    scope_id = serializers.CharField(allow_blank=True)
    rows = PreviewRow(many=True)


class PostureChange(_Shape):
    tool = serializers.CharField()
    before = serializers.DictField(allow_null=True)
    after = serializers.DictField(allow_null=True)


class PostureEvent(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    action = serializers.CharField()
    tool = serializers.CharField(allow_null=True)
    scope_kind = serializers.CharField()
    scope_id = serializers.CharField(allow_blank=True)
    previous_state = serializers.CharField(allow_null=True)
    new_state = serializers.CharField(allow_null=True)
    changes = PostureChange(many=True)
    source = serializers.CharField()  # type: ignore[assignment]  # `source` is the wire's name
    actor = serializers.CharField()
    reason = serializers.CharField(allow_blank=True)
    undoes = serializers.CharField(allow_null=True)
    at = serializers.DateTimeField()


class PostureEventList(_List):
    data = PostureEvent(many=True)  # type: ignore[assignment]  # `data` is the wire's name


class PostureAct(_Shape):
    """What an act on many rows came to. `undo_id` is null when nothing had to change."""

    object = serializers.CharField()
    undo_id = serializers.CharField(allow_null=True)
    event = PostureEvent(allow_null=True)


class FrictionFacts(_Shape):
    requested = serializers.IntegerField()
    approved = serializers.IntegerField()
    denied = serializers.IntegerField()
    expired = serializers.IntegerField()
    pending = serializers.IntegerField()
    sessions = serializers.IntegerField()
    last_at = serializers.DateTimeField(allow_null=True)


class PostureRecommendation(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    kind = serializers.CharField()
    tool = serializers.CharField()
    scope_kind = serializers.CharField()
    scope_id = serializers.CharField(allow_blank=True)
    current = serializers.CharField()
    target = serializers.CharField()
    reason = serializers.CharField()
    facts = FrictionFacts()


class PostureRecommendationList(_List):
    data = PostureRecommendation(many=True)  # type: ignore[assignment]  # `data` is the wire's name
