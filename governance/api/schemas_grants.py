"""Shapes of answers about grants, for the OpenAPI document only; `wire_grants.py` builds the real ones."""

from __future__ import annotations

from rest_framework import serializers

from governance.api.schemas import _List, _Shape
from governance.staleness import Stale


class Grant(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    state = serializers.CharField()
    stale = serializers.BooleanField()
    stale_reason = serializers.ChoiceField(choices=tuple(Stale), allow_null=True)
    scope = serializers.CharField()
    approval_id = serializers.CharField()
    subject_type = serializers.CharField()
    subject_label = serializers.CharField()
    tool = serializers.CharField(allow_null=True)
    tool_definition_hash = serializers.CharField(allow_null=True)
    agent = serializers.CharField()
    workspace_id = serializers.CharField()
    run_id = serializers.CharField(allow_null=True)
    session_id = serializers.CharField(allow_null=True)
    device_id = serializers.CharField(allow_null=True)
    channel = serializers.CharField(allow_null=True)
    skill_id = serializers.CharField(allow_null=True)
    skill_digest = serializers.CharField(allow_null=True)
    tier_floor = serializers.CharField(allow_null=True)
    egress_mode = serializers.CharField(allow_null=True)
    risk_ceiling = serializers.CharField()
    pattern = serializers.DictField()
    pattern_words = serializers.CharField()
    breadth = serializers.IntegerField()
    uses = serializers.IntegerField()
    uses_allowed = serializers.IntegerField(allow_null=True)
    not_before = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    created_at = serializers.DateTimeField()
    granted_by = serializers.ListField(child=serializers.CharField())
    revoked_by = serializers.CharField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)
    revoke_reason = serializers.CharField(allow_null=True)


class GrantList(_List):
    data = Grant(many=True)  # type: ignore[assignment]  # `data` is the wire's name


class GrantUse(_Shape):
    call_id = serializers.CharField()
    execution_id = serializers.CharField()
    used_at = serializers.DateTimeField()


class GrantDetail(Grant):
    used_by = GrantUse(many=True)


class Denial(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    agent = serializers.CharField()
    action_digest = serializers.CharField()
    approval_id = serializers.CharField()
    subject_label = serializers.CharField()
    tool = serializers.CharField(allow_null=True)
    workspace_id = serializers.CharField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()


class DenialList(_List):
    data = Denial(many=True)  # type: ignore[assignment]  # `data` is the wire's name


class OfferedPattern(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    pattern = serializers.DictField()
    words = serializers.CharField()
    covers = serializers.DictField(child=serializers.IntegerField())


class OfferedPatternList(_List):
    data = OfferedPattern(many=True)  # type: ignore[assignment]  # `data` is the wire's name
