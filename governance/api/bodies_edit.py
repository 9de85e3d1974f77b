"""Bodies of changing what waits, and of asking for more calls."""

from __future__ import annotations

from rest_framework import serializers

from governance.api.bodies import AnyJson
from governance.api.strict import Body, Text, Whole
from governance.runs.lifecycle import MAX_CALLS_CEILING


class EditBody(Body):
    input = AnyJson()
    comment = Text(max_length=2000, allow_blank=True)
    otp = Text(required=False, max_length=16)


class RaiseBody(Body):
    max_calls = Whole(min_value=1, max_value=MAX_CALLS_CEILING)
    reason = Text(min_length=3, max_length=500)


class EditedShape(serializers.Serializer[object]):
    """The answer of an edit: the question that ended, and what stands in its place."""

    id = serializers.CharField()
    object = serializers.CharField()
    state = serializers.CharField()
    decision = serializers.CharField()
    close_code = serializers.CharField()
    superseded_by = serializers.DictField()
    queued = serializers.ListField(child=serializers.CharField())
