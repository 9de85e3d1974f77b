"""Headers every API answer carries."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from governance.api.limits import API_HEADERS, PREFIXES
from governance.api.request_ids import request_id_of


class RequestIdMiddleware:
    """Take the caller's X-Request-Id when it is well formed, else mint one; echo it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request_id = request_id_of(request.META.get("HTTP_X_REQUEST_ID", ""))
        request.palyra_request_id = request_id  # type: ignore[attr-defined]  # read by adapters only
        response = self.get_response(request)
        response["X-Request-Id"] = request_id
        if request.path.startswith(PREFIXES) or request.path in ("/healthz", "/readyz"):
            for name, value in API_HEADERS.items():
                response[name] = value
        return response
