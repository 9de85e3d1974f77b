"""The first look at a request: nobody but a trusted proxy speaks for a client's certificate."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from governance.api.problems import plain
from governance.operations import edge
from identity.networks import is_within, network_of
from identity.proxy_headers import forged_header
from kernel.clock import utc_now

HSTS = "Strict-Transport-Security"


class EdgeMiddleware:
    """Answer 400 `untrusted_proxy_header` to a forged header, whatever the path.

    Under a public https URL every answer carries HSTS: TLS ends in front of this server, so Django
    itself never sees it.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        peer = request.META.get("REMOTE_ADDR", "")
        header = forged_header(
            request.headers,
            peer_is_trusted=is_within(peer, settings.PALYRA_TRUSTED_PROXIES),
            secret=settings.PALYRA_PROXY_SECRET,
        )
        response = self.get_response(request) if header is None else _refused(request, header, peer)
        if settings.SECURE_HSTS_SECONDS:
            response.headers.setdefault(HSTS, f"max-age={settings.SECURE_HSTS_SECONDS}")
        return response


def _refused(request: HttpRequest, header: str, peer: str) -> HttpResponse:
    edge.note_spoof(header=header, network=network_of(peer), now=utc_now())
    return plain(request, 400, "untrusted_proxy_header", f"{header} is accepted from trusted proxies only.")
