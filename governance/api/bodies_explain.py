"""The body of a question about policy."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail

from governance.api.bodies import AnyJson
from governance.api.strict import Body, Flag, Moment, Text, Whole

LONGEST_ID = 512
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
AUTH_METHODS = ("token", "session", "none")


class Inner(Body):
    """An object within a body: unknown members are named in the answer, as those of the body are."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = sorted(str(name) for name in set(data) - set(self.fields))
            if unknown:
                detail = ErrorDetail("This field does not exist.", code="unknown_field")
                raise serializers.ValidationError({name: [detail] for name in unknown[:20]})
        return super().to_internal_value(data)


class InputObject(AnyJson):
    """The input of a tool; whether it fits its schema is part of the answer."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, dict):
            raise serializers.ValidationError("This must be an object.")
        return super().to_internal_value(data)


class EntityBody(Inner):
    type = Text(max_length=64)
    id = Text(max_length=LONGEST_ID)


class ContextBody(Inner):
    session_id = Text(required=False, max_length=128)
    run_id = Text(required=False, max_length=40)
    channel = Text(required=False, max_length=LONGEST_ID)
    device_id = Text(required=False, max_length=LONGEST_ID)
    input = InputObject(required=False)
    calls_in_run = Whole(required=False, min_value=0, max_value=1_000_000)
    auth_method = serializers.ChoiceField(required=False, choices=AUTH_METHODS)
    source_ip = serializers.IPAddressField(required=False)
    external_execution = Flag(required=False)
    now = Moment(required=False)

    def validate_now(self, value: datetime) -> datetime:
        if not EARLIEST <= value < LATEST:
            raise serializers.ValidationError("This must lie between the years 2000 and 2100.")
        return value


class ExplainBody(Body):
    """A question, or the id of a recorded call; never both."""

    principal = EntityBody(required=False)
    action = Text(required=False, max_length=160)
    resource = EntityBody(required=False)
    context = ContextBody(required=False)  # type: ignore[assignment]  # `context` is the wire's name
    call_id = Text(required=False, max_length=40)
    policy_set = Text(required=False, max_length=40)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        question = {"principal", "action", "resource"}
        given = question & set(attrs)
        if "call_id" in attrs and (given or "context" in attrs):
            raise serializers.ValidationError({"call_id": "Ask about a call or a question, not both."})
        if "call_id" not in attrs and given != question:
            missing = sorted(question - given)
            raise serializers.ValidationError(dict.fromkeys(missing, "This field is required."))
        return attrs
