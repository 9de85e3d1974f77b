"""Headers every API answer carries."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from governance.api import admission
from governance.api.limits import API_HEADERS, PREFIXES
from governance.api.request_ids import answered_id, request_id_of, trace_id_of
from identity.networks import client_address
from kernel.record import RequestMarks, marked

CACHE = "Cache-Control"
"""The one header that a view may answer differently: what never changes may be kept."""


class RequestFactsMiddleware:
    """Note what every adapter asks of a request: its id, echoed in the answer, and the client's address.

    The caller's X-Request-Id is taken when it is well formed, else one is minted; events carry it, and
    the trace of a `traceparent`. X-Forwarded-For is believed of the proxies in PALYRA_TRUSTED_PROXIES only.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = request_id_of(given)
        request.palyra_request_id = request_id  # type: ignore[attr-defined]  # read by adapters only
        request.palyra_client_ip = _client_ip(request)  # type: ignore[attr-defined]  # as above
        with marked(RequestMarks(request_id, trace_id_of(request.META.get("HTTP_TRACEPARENT", "")))):
            response = self.get_response(request)
        response["X-Request-Id"] = answered_id(request.path, given, request_id)
        admission.mark(request, response)
        if request.path.startswith(PREFIXES) or request.path in ("/healthz", "/readyz"):
            for name, value in API_HEADERS.items():
                if name != CACHE or CACHE not in response:
                    response[name] = value
        return response


def _client_ip(request: HttpRequest) -> str:
    meta = request.META
    forwarded = meta.get("HTTP_X_FORWARDED_FOR", "")
    return client_address(meta.get("REMOTE_ADDR", ""), forwarded, settings.PALYRA_TRUSTED_PROXIES)
