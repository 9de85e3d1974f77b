"""The request bodies about tokens. What a value may be is the services' matter."""

from __future__ import annotations

from rest_framework import serializers

from governance.api.strict import Body, Text, Whole
from identity.revocation import LONGEST_REASON
from identity.token_rules import (
    HIGHEST_RATE,
    LONGEST_DAYS,
    LONGEST_LABEL,
    LONGEST_OVERLAP_SECONDS,
    LOWEST_RATE,
    MOST_NETWORKS,
    MOST_REPORTED,
    MOST_SCOPES,
)


class TokenBody(Body):
    label = Text(max_length=LONGEST_LABEL)  # type: ignore[assignment]  # `label` is the wire's name
    kind = serializers.ChoiceField(choices=("agt", "usr", "svc"))
    agent = Text(required=False, max_length=40)
    scopes = serializers.ListField(child=Text(max_length=80), allow_empty=True, max_length=MOST_SCOPES)
    expires_in_days = Whole(required=False, min_value=1, max_value=max(LONGEST_DAYS.values()))
    rate_per_minute = Whole(required=False, min_value=LOWEST_RATE, max_value=HIGHEST_RATE)
    allowed_networks = serializers.ListField(
        child=Text(max_length=64), required=False, allow_empty=True, max_length=MOST_NETWORKS
    )


class RotateBody(Body):
    overlap_seconds = Whole(required=False, min_value=0, max_value=LONGEST_OVERLAP_SECONDS)


class RevokeBody(Body):
    reason = Text(required=False, max_length=LONGEST_REASON, allow_blank=True)


class LeakBody(Body):
    tokens = serializers.ListField(
        child=Text(max_length=512, allow_blank=True, trim_whitespace=False),
        allow_empty=True,
        max_length=MOST_REPORTED,
    )


class StepUpBody(Body):
    otp = Text(max_length=16)
