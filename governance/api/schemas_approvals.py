"""Shapes of answers about approvals, for the OpenAPI document only; `wire_approvals.py` builds them."""

from __future__ import annotations

from rest_framework import serializers

from governance.api.schemas import Approval, _List, _Shape


class ApprovalDetail(Approval):
    ineligible_relation = serializers.CharField(allow_null=True)
    options = serializers.DictField()
    votes = serializers.ListField(child=serializers.DictField())
    similar = serializers.ListField(child=serializers.DictField())
    break_glass = serializers.BooleanField()
    seen_at = serializers.DateTimeField(allow_null=True)


class BulkDecisionRow(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    status = serializers.IntegerField()
    outcome = serializers.DictField(allow_null=True)
    error = serializers.DictField(allow_null=True)


class BulkDecision(_Shape):
    object = serializers.CharField()
    data = BulkDecisionRow(many=True)  # type: ignore[assignment]  # `data` is the wire's name


class BreakGlassReview(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    state = serializers.CharField()
    approval_id = serializers.CharField()
    subject_label = serializers.CharField()
    risk = serializers.CharField()
    agent = serializers.CharField()
    by = serializers.CharField()
    created_at = serializers.DateTimeField()
    due_at = serializers.DateTimeField()
    finding = serializers.CharField(allow_null=True)
    comment = serializers.CharField(allow_null=True)
    reviewed_by = serializers.CharField(allow_null=True)
    reviewed_at = serializers.DateTimeField(allow_null=True)


class BreakGlassReviewList(_List):
    data = BreakGlassReview(many=True)  # type: ignore[assignment]  # `data` is the wire's name
