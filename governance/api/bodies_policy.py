"""The request bodies about policy sets. What a value may be is the services' matter."""

from __future__ import annotations

from rest_framework import serializers

from governance.api.strict import Body, Text, Whole
from policy.sets import MAX_FILES

ID = 40
MAX_PATH = 80


class Source(Text):
    """A text kept as it is: blanks at its ends are a part of it."""

    def __init__(self, **more: object) -> None:
        super().__init__(trim_whitespace=False, allow_blank=True, **more)  # type: ignore[arg-type]  # DRF's own


class PolicySetBody(Body):
    name = Text(max_length=120)
    note = Text(required=False, max_length=500, allow_blank=True)
    domain = Text(required=False, max_length=64)

    def get_fields(self) -> dict[str, serializers.Field]:  # type: ignore[type-arg]  # DRF's own
        """`from` is a word of Python, so it cannot be declared like the others."""
        return super().get_fields() | {"from": Text(required=False, max_length=ID, allow_null=True)}


class PolicySetChangeBody(Body):
    name = Text(required=False, max_length=120)
    note = Text(required=False, max_length=500, allow_blank=True)
    schema_text = Source(required=False)
    entities_json = Source(required=False)


class PolicyFileBody(Body):
    text = Source()


class ActivateBody(Body):
    reason = Text(max_length=500)
    simulation = Whole(min_value=1, max_value=999_999_999)
    acknowledged_loosened = Whole(min_value=0, max_value=999_999_999)


class RollbackBody(Body):
    reason = Text(max_length=500)


class _NamedFile(serializers.Serializer[object]):
    name = Text(max_length=MAX_PATH)
    text = Source()

    def to_internal_value(self, data: object) -> object:
        unknown = sorted(set(data) - set(self.fields)) if isinstance(data, dict) else []
        if unknown:
            raise serializers.ValidationError({unknown[0]: "This field does not exist."}, "unknown_field")
        return super().to_internal_value(data)


class PolicyCheckBody(Body):
    files = serializers.ListField(child=_NamedFile(), allow_empty=False, max_length=MAX_FILES)
