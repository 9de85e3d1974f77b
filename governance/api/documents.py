"""The problem document itself, without any framework: the body cap runs before Django does."""

from __future__ import annotations

from governance.api.limits import ORIGIN
from kernel.errors import CODES

CONTENT_TYPE = "application/problem+json"


def document(status: int, code: str, detail: str, *, instance: str, request_id: str) -> dict[str, object]:
    """Return the RFC 9457 document. `detail` must be safe to show."""
    title = CODES.get(code, code)
    return {
        "type": f"{ORIGIN}/errors/{code}",
        "title": title,
        "status": status,
        "detail": detail or f"{title}.",
        "instance": instance,
        "code": code,
        "errors": [],
        "request_id": request_id,
        "trace_id": None,
    }
