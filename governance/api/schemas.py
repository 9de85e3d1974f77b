"""Shapes of answers, for the OpenAPI document only; `wire.py` builds the real ones."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class _Shape(serializers.Serializer[Any]):
    """An answer; all members are always present."""


class _List(_Shape):
    object = serializers.CharField()
    has_more = serializers.BooleanField()
    next_cursor = serializers.CharField(allow_null=True)


class Run(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    state = serializers.CharField()
    agent = serializers.CharField()
    owner = serializers.CharField()
    session_id = serializers.CharField(allow_null=True)
    purpose = serializers.CharField(allow_blank=True)
    labels = serializers.DictField(child=serializers.CharField(allow_blank=True))
    origin = serializers.CharField()
    origin_run_id = serializers.CharField(allow_null=True)
    approval_channel = serializers.CharField()
    calls_used = serializers.IntegerField()
    calls_limit = serializers.IntegerField()
    opened_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    closed_at = serializers.DateTimeField(allow_null=True)
    close_code = serializers.CharField(allow_null=True)


class RunDetail(Run):
    phase = serializers.CharField()
    calls = serializers.DictField(child=serializers.IntegerField())


class RunList(_List):
    data = Run(many=True)  # type: ignore[assignment]  # `data` is the wire's name


class ToolCall(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    run_id = serializers.CharField()
    parent_call_id = serializers.CharField(allow_null=True)
    tool = serializers.DictField()
    input = serializers.JSONField()
    input_redacted = serializers.BooleanField()
    resource = serializers.CharField(allow_null=True)
    action_digest = serializers.CharField()
    state = serializers.CharField()
    superseded_by = serializers.CharField(allow_null=True)
    edited = serializers.BooleanField()
    edited_from = serializers.CharField(allow_null=True)
    principal = serializers.DictField()
    decision = serializers.DictField()
    approval = serializers.DictField(allow_null=True)
    execution = serializers.DictField(allow_null=True)
    result = serializers.JSONField()
    error = serializers.JSONField()
    finding = serializers.DictField(allow_null=True)
    attestation = serializers.DictField(allow_null=True)
    budget = serializers.DictField(allow_null=True)
    traceparent = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    links = serializers.DictField()


class ToolCallRow(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    run_id = serializers.CharField()
    tool = serializers.DictField()
    resource = serializers.CharField(allow_null=True)
    state = serializers.CharField()
    reason_code = serializers.CharField()
    principal = serializers.DictField()
    approval_id = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class ToolCallList(_List):
    data = ToolCallRow(many=True)  # type: ignore[assignment]  # `data` is the wire's name


class ToolCallPreview(_Shape):
    object = serializers.CharField()
    decision = serializers.DictField()


class Envelope(_Shape):
    payloadType = serializers.CharField()  # noqa: N815  # the name is DSSE's
    payload = serializers.CharField()
    signatures = serializers.ListField(child=serializers.DictField())


class Tool(_Shape):
    name = serializers.CharField()
    object = serializers.CharField()
    version = serializers.CharField()
    kind = serializers.CharField()
    description = serializers.CharField(allow_blank=True)
    tier = serializers.CharField()
    executor = serializers.CharField()
    capabilities = serializers.ListField(child=serializers.CharField())
    risk = serializers.CharField()
    sensitive = serializers.BooleanField()
    posture = serializers.CharField()
    enabled = serializers.BooleanField()
    runtime_supported = serializers.BooleanField()
    definition_digest = serializers.CharField()


class ToolList(_List):
    data = Tool(many=True)  # type: ignore[assignment]  # `data` is the wire's name


class Approval(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    state = serializers.CharField()
    decision = serializers.CharField(allow_null=True)
    decided_by = serializers.ListField(child=serializers.CharField())
    version = serializers.IntegerField()
    subject_type = serializers.CharField()
    subject_label = serializers.CharField()
    action_digest = serializers.CharField()
    risk = serializers.CharField()
    quorum = serializers.DictField()
    run_id = serializers.CharField(allow_null=True)
    call_ids = serializers.ListField(child=serializers.CharField())
    requester = serializers.DictField()
    edited_from = serializers.CharField(allow_null=True)
    edited_by = serializers.CharField(allow_null=True)
    context = serializers.DictField()  # type: ignore[assignment]  # `context` is the wire's name
    eligible = serializers.BooleanField()
    ineligible_reason = serializers.CharField(allow_null=True)
    requested_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    resolved_at = serializers.DateTimeField(allow_null=True)


class ApprovalList(_List):
    data = Approval(many=True)  # type: ignore[assignment]  # `data` is the wire's name


class Decision(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    state = serializers.CharField()
    decision = serializers.CharField(allow_null=True)
    quorum = serializers.DictField()
    single_operator = serializers.BooleanField()
    grant = serializers.DictField(allow_null=True)
    queued = serializers.ListField(child=serializers.CharField())


class Whoami(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    kind = serializers.CharField()
    owner = serializers.CharField()
    token_id = serializers.CharField(allow_null=True)
    workspace_id = serializers.CharField()
    roles = serializers.ListField(child=serializers.CharField())
    permissions = serializers.ListField(child=serializers.CharField())


class FeatureFlag(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    enabled = serializers.BooleanField()
    stage = serializers.CharField()
    percent = serializers.IntegerField()
    workspaces = serializers.ListField(child=serializers.CharField())
    depends_on = serializers.CharField(allow_null=True)
    dependants = serializers.ListField(child=serializers.CharField())
    when_off = serializers.CharField()
    here = serializers.DictField()
    version = serializers.IntegerField()
    changed_at = serializers.DateTimeField(allow_null=True)


class FeatureFlagList(_List):
    data = FeatureFlag(many=True)  # type: ignore[assignment]  # `data` is the wire's name


class ChangedFeatureFlag(FeatureFlag):
    cascaded = serializers.ListField(child=serializers.CharField())


class FeatureFlagChange(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    flag = serializers.CharField()
    before = serializers.DictField(allow_null=True)
    after = serializers.DictField()
    actor = serializers.CharField()
    reason = serializers.CharField()
    at = serializers.DateTimeField()


class FeatureFlagChangeList(_List):
    data = FeatureFlagChange(many=True)  # type: ignore[assignment]  # `data` is the wire's name


class RolePermission(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    roles = serializers.ListField(child=serializers.CharField())
    strength = serializers.CharField()
    instance_only = serializers.BooleanField()
    for_agents = serializers.BooleanField()
    feature = serializers.CharField(allow_null=True)


class RoleTable(_List):
    data = RolePermission(many=True)  # type: ignore[assignment]  # `data` is the wire's name
