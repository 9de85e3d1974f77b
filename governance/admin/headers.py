"""Security headers of everything a browser loads from the console."""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'"
)
PERMISSIONS_POLICY = ", ".join(
    f"{feature}=()"
    for feature in (
        "accelerometer", "autoplay", "camera", "display-capture", "encrypted-media", "fullscreen",
        "geolocation", "gyroscope", "hid", "idle-detection", "magnetometer", "microphone", "midi",
        "payment", "picture-in-picture", "publickey-credentials-get", "screen-wake-lock", "serial",
        "usb", "xr-spatial-tracking",
    )
)  # fmt: skip
FIXED = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Permissions-Policy": PERMISSIONS_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
SIGN_IN = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}
"""What differs on the pages between here and a provider: no script, and no address of ours goes there.

A view of such a page may choose its own Referrer-Policy."""
CONSOLE_PREFIX = "/admin"
SIGN_IN_PREFIX = "/auth/"
STATIC_PREFIX = "/static/"


class ConsoleHeadersMiddleware(MiddlewareMixin):
    """Put the fixed headers on every answer below `/admin`, `/auth/` and `/static/`, whoever made it.

    Pages are never stored by a cache; static files carry no data of the instance and keep the
    lifetime their server gave them. HSTS is `EdgeMiddleware`'s.
    """

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        console, sign_in = _below_console(request.path), request.path.startswith(SIGN_IN_PREFIX)
        if not console and not sign_in and not request.path.startswith(STATIC_PREFIX):
            return response
        chosen = response.get("Referrer-Policy") if sign_in else None
        for name, value in (FIXED | (SIGN_IN if sign_in else {})).items():
            response[name] = value
        if chosen:
            response["Referrer-Policy"] = chosen
        if console or sign_in:
            response["Cache-Control"] = "no-store"
        return response


def _below_console(path: str) -> bool:
    return path == CONSOLE_PREFIX or path.startswith(f"{CONSOLE_PREFIX}/")
