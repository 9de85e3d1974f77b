"""Strict reading of bodies and query strings: what is not documented is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request

from kernel.errors import Detail, InvalidError, MalformedError

_WITH_OFFSET = re.compile(r"T.*(?:Z|[+-][0-9]{2}:[0-9]{2})\Z")
MAX_DETAILS = 20
MAX_VALUES = 50
LONGEST_VALUE = 255


class Body(serializers.Serializer[Any]):
    """Base of every request body: unknown members are 400, wrong values 422, nothing is coerced."""


class Text(serializers.CharField):
    """A JSON string; numbers and booleans are not turned into one."""

    def to_internal_value(self, data: object) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Whole(serializers.IntegerField):
    """A JSON integer; `"25"`, `25.0` and `true` are refused."""

    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, int) or isinstance(data, bool):
            self.fail("invalid")
        return super().to_internal_value(data)


class Flag(serializers.BooleanField):
    """A JSON boolean; `"true"` and `1` are refused."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class Moment(serializers.DateTimeField):
    """A moment as RFC 3339 with `Z` or an offset; a local time of nowhere is refused."""

    def to_internal_value(self, value: Any) -> Any:
        if not isinstance(value, str) or not _WITH_OFFSET.search(value):
            self.fail("invalid", format="YYYY-MM-DDThh:mm:ssZ")
        return super().to_internal_value(value)


def read_body(request: Request, kind: type[Body]) -> dict[str, Any]:
    """Return the validated body. MalformedError `unknown_field`, InvalidError `invalid` with pointers."""
    data = request.data
    if not isinstance(data, Mapping):
        raise MalformedError("malformed_json", "The body must be a JSON object.")
    body = kind(data=data)
    unknown = sorted(set(data) - set(body.fields))
    if unknown:
        details = tuple(
            Detail(f"/{_escape(name)}", "unknown_field", "This field does not exist.")
            for name in unknown[:MAX_DETAILS]
        )
        raise MalformedError("unknown_field", "The body has fields that do not exist.", errors=details)
    if not body.is_valid():
        details = tuple(_details(body.errors, "")[:MAX_DETAILS])
        raise InvalidError("invalid", "The body is not valid.", errors=details)
    return dict(body.validated_data)


def read_query(request: Request, known: frozenset[str]) -> Mapping[str, list[str]]:
    """Return the query as lists, or raise MalformedError `unknown_parameter`."""
    unknown = sorted(set(request.query_params) - known)
    if unknown:
        raise MalformedError("unknown_parameter", f"Unknown query parameter: {unknown[0]!r}.")
    return {name: request.query_params.getlist(name) for name in request.query_params}


def read_integer(values: Mapping[str, list[str]], name: str, *, default: int, low: int, high: int) -> int:
    """Return one integer of the query within its range, or raise MalformedError `invalid_parameter`."""
    given = values.get(name)
    if given is None:
        return default
    text = given[0]
    if len(given) != 1 or not text.isascii() or not text.isdigit() or len(text) > 9:
        raise MalformedError("invalid_parameter", f"{name} takes one whole number.")
    number = int(text)
    if not low <= number <= high:
        raise MalformedError("invalid_parameter", f"{name} must be between {low} and {high}.")
    return number


def read_texts(values: Mapping[str, list[str]], name: str) -> list[str]:
    """Return the values of a filter that names things, or raise MalformedError `invalid_parameter`.

    Refused are NUL, which PostgreSQL cannot compare, and more than anybody types.
    """
    given = values[name]
    if len(given) > MAX_VALUES or any(len(text) > LONGEST_VALUE or "\0" in text for text in given):
        raise MalformedError("invalid_parameter", f"{name} takes up to {MAX_VALUES} short texts.")
    return given


def read_time(values: Mapping[str, list[str]], name: str) -> datetime | None:
    """Return one RFC 3339 time of the query with its offset, or None; MalformedError for anything else."""
    given = values.get(name)
    if given is None:
        return None
    try:
        moment = datetime.fromisoformat(given[0]) if len(given) == 1 and "T" in given[0] else None
        moment = moment.astimezone(UTC) if moment is not None and moment.tzinfo is not None else None
    except (ValueError, OverflowError):  # an offset may lead out of the years there are
        moment = None
    if moment is None:
        raise MalformedError("invalid_parameter", f"{name} takes one time such as 2026-01-05T10:00:00Z.")
    return moment


def read_span(values: Mapping[str, list[str]]) -> tuple[datetime | None, datetime | None]:
    """Return `since` (inclusive) and `until` (exclusive); MalformedError when they are swapped."""
    since, until = read_time(values, "since"), read_time(values, "until")
    if since is not None and until is not None and since > until:
        raise MalformedError("invalid_parameter", "since lies after until.")
    return since, until


def _details(errors: Any, pointer: str) -> list[Detail]:
    if isinstance(errors, Mapping):
        return [
            item
            for name, inner in errors.items()
            for item in _details(inner, f"{pointer}/{_escape(str(name))}")
        ]
    if isinstance(errors, list) and any(isinstance(item, Mapping) for item in errors):
        return [item for index, inner in enumerate(errors) for item in _details(inner, f"{pointer}/{index}")]
    return [Detail(pointer, getattr(error, "code", "invalid"), str(error)) for error in errors]


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
