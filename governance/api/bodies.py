"""The request bodies of the API. Limits are those of the route table."""

from __future__ import annotations

from rest_framework import serializers

from governance.api.strict import Body, Flag, Text, Whole
from governance.runs.findings import LONGEST_NOTE, OUTCOMES, SHORTEST_NOTE
from governance.runs.lifecycle import (
    CALLER_ORIGINS,
    MAX_CALLS_CEILING,
    MAX_LIFETIME_SECONDS,
    MIN_LIFETIME_SECONDS,
)
from governance.runs.sessions import MAX_KEY
from identity.access import Stage
from identity.rollout import LONGEST_REASON, MOST_WORKSPACES, SHORTEST_REASON
from policy.marks import MAX_TASK_BYTES


class AnyJson(serializers.JSONField):
    """Any JSON value but null; its shape is checked by the tool's own schema, not here."""


class RunBody(Body):
    agent = Text(required=False, max_length=40)
    session_key = Text(required=False, max_length=MAX_KEY, trim_whitespace=False)
    purpose = Text(required=False, max_length=500, allow_blank=True)
    task_text = Text(required=False, allow_blank=True, trim_whitespace=False)
    labels = serializers.DictField(child=Text(max_length=200, allow_blank=True), required=False)
    max_calls = Whole(required=False, min_value=1, max_value=MAX_CALLS_CEILING)
    ttl_seconds = Whole(required=False, min_value=MIN_LIFETIME_SECONDS, max_value=MAX_LIFETIME_SECONDS)
    approval_channel = serializers.ChoiceField(required=False, choices=("interactive", "none"))
    origin = serializers.ChoiceField(required=False, choices=CALLER_ORIGINS)
    origin_run_id = Text(required=False, max_length=40)

    def validate_labels(self, value: dict[str, str]) -> dict[str, str]:
        if len(value) > 16 or not all(1 <= len(name) <= 64 and "\0" not in name for name in value):
            raise serializers.ValidationError("At most 16 labels with names of 1 to 64 characters.")
        return value

    def validate_task_text(self, value: str) -> str:
        if len(value.encode("utf-8", "replace")) > MAX_TASK_BYTES:
            raise serializers.ValidationError(f"At most {MAX_TASK_BYTES} bytes.")
        return value


class ToolCallBody(Body):
    run_id = Text(max_length=40)
    tool = Text(max_length=160)
    input = AnyJson()
    parent_call_id = Text(required=False, max_length=40)
    dry_run = Flag(required=False)


class CancelBody(Body):
    reason = Text(required=False, max_length=500, allow_blank=True)


class CompleteBody(Body):
    """Nothing to say: the run is in the path."""


class ResolveBody(Body):
    outcome = serializers.ChoiceField(choices=OUTCOMES)
    note = Text(min_length=SHORTEST_NOTE, max_length=LONGEST_NOTE)


class FlagBody(Body):
    reason = Text(min_length=SHORTEST_REASON, max_length=LONGEST_REASON)
    enabled = Flag(required=False)
    stage = serializers.ChoiceField(required=False, choices=tuple(Stage))
    percent = Whole(required=False, min_value=0, max_value=100)
    workspaces = serializers.ListField(
        child=Text(max_length=40), required=False, allow_empty=True, max_length=MOST_WORKSPACES
    )
    cascade = Flag(required=False)
