"""Shapes of the answers about simulations, shadows and jobs, for the OpenAPI document."""

from __future__ import annotations

from rest_framework import serializers

from governance.api.schemas import _List, _Shape


class PolicySimulation(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    policy_set = serializers.CharField()
    number = serializers.IntegerField()
    state = serializers.CharField()
    asked = serializers.DictField()
    draft_hash = serializers.CharField(allow_blank=True)
    against = serializers.DictField()
    epoch = serializers.IntegerField()
    available = serializers.IntegerField()
    total = serializers.IntegerField()
    done = serializers.IntegerField()
    unchanged = serializers.IntegerField()
    loosened = serializers.IntegerField()
    tightened = serializers.IntegerField()
    reason_only = serializers.IntegerField()
    inexact = serializers.IntegerField()
    failed = serializers.IntegerField()
    matrix = serializers.DictField()
    job_id = serializers.CharField(allow_null=True)
    error_code = serializers.CharField(allow_null=True)
    started_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)


class PolicySimulationList(_List):
    data = PolicySimulation(many=True)  # type: ignore[assignment]  # `data` is the wire's name


class PolicyFlip(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    direction = serializers.CharField()
    record_id = serializers.CharField()
    call_id = serializers.CharField(allow_null=True)
    principal_id = serializers.CharField()
    resource_id = serializers.CharField()
    old_effect = serializers.CharField()
    new_effect = serializers.CharField()
    old_policies = serializers.ListField(child=serializers.CharField())
    new_policies = serializers.ListField(child=serializers.CharField())
    exact = serializers.BooleanField()
    decided_at = serializers.DateTimeField()


class PolicyFlipList(_List):
    data = PolicyFlip(many=True)  # type: ignore[assignment]  # as above


class PolicyShadow(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    enabled = serializers.BooleanField()
    since = serializers.DateTimeField(allow_null=True)


class PolicyShadowResult(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    hour = serializers.DateTimeField()
    old_effect = serializers.CharField()
    new_effect = serializers.CharField()
    count = serializers.IntegerField()
    errors = serializers.IntegerField()  # type: ignore[assignment]  # the wire's name; shapes validate nothing
    examples = serializers.ListField(child=serializers.CharField())


class PolicyShadowResultList(_List):
    data = PolicyShadowResult(many=True)  # type: ignore[assignment]  # as above


class Job(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    kind = serializers.CharField()
    state = serializers.CharField()
    subject = serializers.CharField(allow_blank=True)
    done = serializers.IntegerField()
    total = serializers.IntegerField(allow_null=True)
    message = serializers.CharField(allow_blank=True)
    result = serializers.DictField(allow_null=True)
    error_code = serializers.CharField(allow_null=True)
    cancel_asked = serializers.BooleanField()
    started_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class JobList(_List):
    data = Job(many=True)  # type: ignore[assignment]  # as above
