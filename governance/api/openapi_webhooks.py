"""The `webhooks` part of the OpenAPI document: what receivers are sent."""

from __future__ import annotations

from typing import Any

from governance.notifications.outbox import NOTIFIED, TEST

_TEXT = {"type": "string"}
_EVENT: dict[str, Any] = {
    "type": "object",
    "description": "Standard Webhooks: `webhook-id` is the id of the event, `webhook-signature` is over "
    "id, timestamp and body. `data` holds ids, codes and times, never parameters or comments.",
    "properties": {
        "type": {"type": "string", "enum": [*NOTIFIED, TEST]},
        "timestamp": {"type": "string", "format": "date-time"},
        "data": {
            "type": "object",
            "properties": {"object": _TEXT, "id": _TEXT, "workspace": _TEXT, "console_url": _TEXT},
            "required": ["object", "id", "workspace"],
        },
    },
    "required": ["type", "timestamp", "data"],
}
_HEADERS = [
    {"in": "header", "name": name, "required": True, "schema": _TEXT}
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
]


def add_webhooks(result: dict[str, Any], generator: object, request: object, public: bool) -> dict[str, Any]:
    """Add one entry for each event that is told (a hook's signature)."""
    result["components"]["schemas"]["WebhookEvent"] = _EVENT
    result["webhooks"] = {name: {"post": _posted(name)} for name in (*NOTIFIED, TEST)}
    return result


def _posted(name: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/WebhookEvent"}
    return {
        "operationId": f"webhook_{name.replace('.', '_')}",
        "summary": name,
        "parameters": _HEADERS,
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "2XX": {"description": "Taken."},
            "410": {"description": "Gone: the webhook is switched off at once."},
        },
    }
