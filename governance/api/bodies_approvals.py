"""The request bodies about approvals. What an answer may be is the services' matter."""

from __future__ import annotations

from rest_framework import serializers

from approvals.types import ReviewFinding, Scope, Verdict
from governance.api.strict import Body, Flag, Text, Whole
from governance.operations.approvals import MOST_AT_ONCE

LONGEST_COMMENT = 2_000
LONGEST_TTL_MS = 2_592_000_000


class DecisionBody(Body):
    decision = serializers.ChoiceField(choices=tuple(Verdict))
    scope = serializers.ChoiceField(required=False, choices=tuple(Scope))
    ttl_ms = Whole(required=False, min_value=-(2**53) + 1, max_value=2**53 - 1)
    pattern = serializers.DictField(required=False)
    comment = Text(required=False, max_length=LONGEST_COMMENT, allow_blank=True)
    otp = Text(required=False, max_length=16)
    sas = Text(required=False, max_length=16)
    end_run = Flag(required=False)


class BulkDecisionBody(Body):
    """Each request is an id, or the ETag's inside `apr_…:3` for all calls counted in that version."""

    requests = serializers.ListField(child=Text(max_length=60), min_length=1, max_length=MOST_AT_ONCE)
    decision = serializers.ChoiceField(choices=tuple(Verdict))
    scope = serializers.ChoiceField(required=False, choices=(Scope.ONCE,))
    comment = Text(required=False, max_length=LONGEST_COMMENT, allow_blank=True)
    otp = Text(required=False, max_length=16)


class BreakGlassBody(Body):
    comment = Text(max_length=LONGEST_COMMENT, allow_blank=True)
    otp = Text(required=False, max_length=16)


class FindingBody(Body):
    finding = serializers.ChoiceField(choices=tuple(ReviewFinding))
    comment = Text(max_length=LONGEST_COMMENT, allow_blank=True)
