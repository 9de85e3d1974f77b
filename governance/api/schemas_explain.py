"""The answers about policy's reasons and its schema, for the document of the API."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

_EFFECTS = ("allow", "deny", "require_approval")
_TRUTHS = ("true", "false", "error")


class ExplainedOutcome(serializers.Serializer[Any]):
    effect = serializers.ChoiceField(choices=_EFFECTS)
    reason_code = serializers.CharField()


class ExplainedRule(serializers.Serializer[Any]):
    id = serializers.CharField()
    effect = serializers.ChoiceField(choices=("permit", "forbid"))
    annotations = serializers.DictField(child=serializers.CharField())
    file = serializers.CharField()
    line = serializers.IntegerField(allow_null=True)
    column = serializers.IntegerField(allow_null=True)
    text = serializers.CharField()
    holds = serializers.ChoiceField(choices=_TRUTHS)
    assuming_approval = serializers.BooleanField()


class ExplainedSet(serializers.Serializer[Any]):
    id = serializers.CharField()
    version = serializers.IntegerField()
    hash = serializers.CharField()


class ExplainedObligation(serializers.Serializer[Any]):
    kind = serializers.CharField()
    risk = serializers.CharField()
    quorum = serializers.IntegerField()
    approver_roles = serializers.ListField(child=serializers.CharField())
    step_up = serializers.BooleanField()
    policy_ids = serializers.ListField(child=serializers.CharField())


class ExplainedDecision(serializers.Serializer[Any]):
    effect = serializers.ChoiceField(choices=_EFFECTS)
    reason_code = serializers.CharField()
    reason = serializers.CharField()
    determining_policies = ExplainedRule(many=True)
    obligations = ExplainedObligation(many=True)
    policy_set = ExplainedSet(allow_null=True)
    catalog_digest = serializers.CharField()


class ExplainedGate(serializers.Serializer[Any]):
    gate = serializers.CharField()
    verdict = serializers.ChoiceField(choices=("ask", "deny"))
    reason_code = serializers.CharField()
    reason = serializers.CharField()


class ExplainedClause(serializers.Serializer[Any]):
    policy = serializers.CharField()
    condition = serializers.ChoiceField(choices=("when", "unless"))
    path = serializers.CharField(help_text="`0.1` is the second operand of the first condition.")
    joined_by = serializers.ChoiceField(choices=("&&", "||"), allow_null=True)
    text = serializers.CharField()
    value = serializers.BooleanField(allow_null=True, help_text="null: it raised, or cannot stand alone.")


class ExplainedEntity(serializers.Serializer[Any]):
    uid = serializers.CharField()
    parents = serializers.ListField(child=serializers.CharField())


class ExplainedError(serializers.Serializer[Any]):
    policy = serializers.CharField(allow_blank=True)
    error = serializers.CharField()


class ExplainedRecord(serializers.Serializer[Any]):
    effect = serializers.ChoiceField(choices=_EFFECTS)
    reason_code = serializers.CharField()
    policy_set = serializers.CharField(allow_null=True)
    decided_at = serializers.DateTimeField()


class PolicyExplanation(serializers.Serializer[Any]):
    object = serializers.CharField()
    outcome = ExplainedOutcome()
    decision = ExplainedDecision()
    gates = ExplainedGate(many=True)
    labels = serializers.DictField(child=serializers.ListField(child=serializers.CharField()))
    tainted_arguments = serializers.ListField(child=serializers.CharField())
    posture = serializers.CharField(allow_null=True)
    near_misses = ExplainedRule(many=True)
    outweighed = ExplainedRule(many=True)
    clauses = ExplainedClause(many=True)
    minimal_change = serializers.ListField(child=serializers.ListField(child=serializers.CharField()))
    diagnostics_errors = ExplainedError(many=True)
    constructed_entities = serializers.ListField(child=serializers.CharField())
    entities = ExplainedEntity(many=True)
    complete = serializers.BooleanField()
    exact = serializers.BooleanField()
    call_id = serializers.CharField(allow_null=True)
    recorded = ExplainedRecord(allow_null=True)


class PolicySchema(serializers.Serializer[Any]):
    object = serializers.CharField()
    tool = serializers.CharField(allow_null=True)
    schema = serializers.CharField(help_text="Cedar schema text, as rules are checked against it.")
    schema_digest = serializers.CharField()
    catalog_digest = serializers.CharField()
