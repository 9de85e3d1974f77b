"""The page for a form that is larger than its path takes. It is answered before anything is read of it."""

from __future__ import annotations

from collections.abc import Mapping

from django.template.loader import render_to_string

from governance.admin.headers import CONSOLE_PREFIX, FIXED

MOST_DRAINED = 24 * 1_048_576
"""How much of a refused form is taken in and dropped: a browser shows no answer before it has sent it."""


def is_form(path: str) -> bool:
    """Tell whether a body on this path comes from a person's browser."""
    return path.startswith(f"{CONSOLE_PREFIX}/")


def page_of(limit: int) -> tuple[Mapping[str, str], bytes]:
    """Return headers and body of the page; what was typed stays in the page the browser goes back to."""
    body = render_to_string("console/too_large.html", {"limit": max(1, limit // 2**21)}).encode()
    headers = {
        **FIXED,
        "Cache-Control": "no-store",
        "Content-Type": "text/html; charset=utf-8",
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    return headers, body
