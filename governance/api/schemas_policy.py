"""Shapes of answers about policy sets, for the OpenAPI document only."""

from __future__ import annotations

from rest_framework import serializers

from governance.api.schemas import _List, _Shape


class PolicySet(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    domain = serializers.CharField()
    version = serializers.IntegerField()
    state = serializers.CharField()
    name = serializers.CharField()
    note = serializers.CharField(allow_blank=True)
    hash = serializers.CharField(allow_null=True)
    schema_digest = serializers.CharField(allow_null=True)
    edit_version = serializers.IntegerField()
    authors = serializers.ListField(child=serializers.CharField())
    base = serializers.CharField(allow_null=True)
    restored_from = serializers.CharField(allow_null=True)
    validated_by = serializers.CharField(allow_null=True)
    validated_at = serializers.DateTimeField(allow_null=True)
    activated_by = serializers.CharField(allow_null=True)
    activated_at = serializers.DateTimeField(allow_null=True)
    superseded_at = serializers.DateTimeField(allow_null=True)
    shadow_since = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()


class PolicySetList(_List):
    data = PolicySet(many=True)  # type: ignore[assignment]  # `data` is the wire's name


class PolicyFile(_Shape):
    name = serializers.CharField()
    bytes = serializers.IntegerField()
    sha256 = serializers.CharField()
    text = serializers.CharField(required=False, allow_blank=True)


class PolicyFinding(_Shape):
    severity = serializers.CharField()
    code = serializers.CharField()
    file = serializers.CharField(allow_blank=True)
    line = serializers.IntegerField()
    column = serializers.IntegerField()
    policy_id = serializers.CharField(allow_blank=True)
    message = serializers.CharField()


class PolicySetDetail(PolicySet):
    schema_text = serializers.CharField(required=False, allow_blank=True)
    entities_json = serializers.CharField(required=False, allow_blank=True)
    files = PolicyFile(many=True)
    findings = PolicyFinding(many=True)


class PolicyApproval(_Shape):
    id = serializers.CharField()
    state = serializers.CharField()
    risk = serializers.CharField()
    expires_at = serializers.DateTimeField()
    console_url = serializers.CharField()


class PolicyActivation(_Shape):
    object = serializers.CharField()
    state = serializers.CharField()
    policy_set = PolicySet()
    approval = PolicyApproval(allow_null=True)


class PolicyTestResult(_Shape):
    name = serializers.CharField()
    file = serializers.CharField()
    line = serializers.IntegerField()
    column = serializers.IntegerField()
    passed = serializers.BooleanField()
    message = serializers.CharField(allow_blank=True)


class PolicyCheck(_Shape):
    object = serializers.CharField()
    valid = serializers.BooleanField()
    hash = serializers.CharField(allow_null=True)
    findings = PolicyFinding(many=True)
    tests = PolicyTestResult(many=True)


class PolicyRuleText(_Shape):
    id = serializers.CharField()
    file = serializers.CharField()
    text = serializers.CharField()


class PolicyRuleChange(_Shape):
    id = serializers.CharField()
    file = serializers.CharField()
    parts = serializers.ListField(child=serializers.CharField())
    before = serializers.CharField()
    after = serializers.CharField()


class PolicyFileDiff(_Shape):
    name = serializers.CharField()
    unified = serializers.CharField()


class PolicyDiff(_Shape):
    object = serializers.CharField()
    to = serializers.CharField()
    added = PolicyRuleText(many=True)
    removed = PolicyRuleText(many=True)
    changed = PolicyRuleChange(many=True)
    files = PolicyFileDiff(many=True)
    unread = serializers.ListField(child=serializers.CharField())

    def get_fields(self) -> dict[str, serializers.Field]:  # type: ignore[type-arg]  # DRF's own
        """`from` is a word of Python, so it cannot be declared like the others."""
        return super().get_fields() | {"from": serializers.CharField()}
