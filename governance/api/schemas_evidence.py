"""Answers about evidence, for the document of the API."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class AttestedFacts(serializers.Serializer[Any]):
    attestation_id = serializers.CharField()
    call_id = serializers.CharField()
    run_id = serializers.CharField(allow_null=True)
    tool = serializers.DictField()
    principal = serializers.CharField()
    verdict = serializers.ChoiceField(choices=("allow", "deny"))
    reason_code = serializers.CharField()
    outcome = serializers.CharField()
    executor = serializers.CharField()
    sandbox_enforcement = serializers.CharField()
    execution_sha256 = serializers.CharField()
    executed_at = serializers.CharField(allow_null=True)
    policy_set_hash = serializers.CharField(allow_null=True)


class AttestationVerdict(serializers.Serializer[Any]):
    object = serializers.CharField()
    valid = serializers.BooleanField()
    code = serializers.CharField(allow_null=True)
    key_id = serializers.CharField(allow_null=True)
    recorded = serializers.BooleanField(help_text="The journal of this server holds exactly this envelope.")
    statement = AttestedFacts(allow_null=True)
