"""What every operation has in common, added to the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from drf_spectacular.utils import OpenApiParameter

from governance.api.documents import CONTENT_TYPE

_TEXT = {"type": "string"}
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457. Problems may have more members, such as `outcome` or `relation`.",
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "instance": _TEXT,
        "code": _TEXT,
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": _TEXT,
                    "code": _TEXT,
                    "detail": _TEXT,
                    "line": {"type": "integer"},
                    "column": {"type": "integer"},
                    "policy_id": _TEXT,
                },
                "required": ["pointer", "code", "detail"],
            },
        },
        "request_id": _TEXT,
        "trace_id": {"type": ["string", "null"]},
    },
    "required": ["type", "title", "status", "detail", "instance", "code", "errors", "request_id", "trace_id"],
}
_ANSWER = {
    "description": "The request was not accepted.",
    "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_KEY = {
    "in": "header",
    "name": "Idempotency-Key",
    "description": "One answer per key for 24 hours.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}


IF_MATCH = OpenApiParameter(
    "If-Match", str, OpenApiParameter.HEADER, required=True, description="The ETag of what was seen."
)


def add_common_parts(
    result: dict[str, Any], generator: object, request: object, public: bool
) -> dict[str, Any]:
    """Give every operation its problem answers and every POST its idempotency key (a hook's signature).

    Keys are per caller, so a public route has none.
    """
    result["components"]["schemas"]["Problem"] = _PROBLEM
    for method, operation in _operations(result):
        operation["responses"]["default"] = _ANSWER
        if method == "post" and "security" in operation:
            operation["parameters"] = [*operation.get("parameters", []), _KEY]
    return result


def _operations(result: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in result["paths"].values():
        yield from path.items()


def list_parameters(*names: str, **choices: tuple[str, ...]) -> list[OpenApiParameter]:
    """Return the parameters of a list: those of every list, and its filters, which may repeat."""
    return [
        OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}),
        OpenApiParameter("cursor", str, description="`next_cursor` of the page before."),
        OpenApiParameter("order", str, enum=["desc", "asc"], default="desc"),
        *(OpenApiParameter(name, str, many=True) for name in names),
        *(OpenApiParameter(name, str, many=True, enum=list(values)) for name, values in choices.items()),
    ]
