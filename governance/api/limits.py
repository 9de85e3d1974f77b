"""Fixed limits and names of the HTTP surface."""

from __future__ import annotations

import re

ORIGIN = "https://palyra.dev"
MAX_BODY_BYTES = 1_048_576
MAX_ARCHIVE_BYTES = 8 * 1_048_576
MAX_FORM_BYTES = 2 * MAX_ARCHIVE_BYTES + 65_536
"""A form with a policy text or archive in it: browsers send each line end as two bytes."""
LARGER_BODIES = {"/api/v1/policy-sets/import": MAX_ARCHIVE_BYTES, "/admin/policy/import/": MAX_FORM_BYTES}
"""The few paths that take more than `MAX_BODY_BYTES`; and the editor of a policy file beside them."""
_EDITOR = re.compile(r"/admin/policy/pol_[0-9A-Z]{26}/edit/[a-z0-9_.-]{1,80}/save/")
AUTHZEN_PREFIXES = ("/access/v1/", "/pdp/", "/.well-known/authzen-configuration")
PREFIXES = ("/api/", "/docs/errors/", "/v1/", "/mcp", *AUTHZEN_PREFIXES)
API_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


def body_limit(path: str) -> int:
    """Return how many bytes a body may have on this path."""
    if _EDITOR.fullmatch(path):
        return MAX_FORM_BYTES
    return LARGER_BODIES.get(path, MAX_BODY_BYTES)
