"""Headers every API answer carries."""

from __future__ import annotations

import re
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from governance.api.limits import PREFIX
from kernel.clock import utc_now
from kernel.ids import new_id

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_API_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


class RequestIdMiddleware:
    """Take the caller's X-Request-Id when it is well formed, else mint one; echo it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else new_id("req", utc_now())
        request.palyra_request_id = request_id  # type: ignore[attr-defined]  # read by adapters only
        response = self.get_response(request)
        response["X-Request-Id"] = request_id
        if request.path.startswith(PREFIX) or request.path in ("/healthz", "/readyz"):
            for name, value in _API_HEADERS.items():
                response.setdefault(name, value)
        return response
