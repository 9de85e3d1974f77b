"""Fixed limits and names of the HTTP surface."""

from __future__ import annotations

ORIGIN = "https://palyra.dev"
MAX_BODY_BYTES = 1_048_576
MAX_ARCHIVE_BYTES = 8 * 1_048_576
LARGER_BODIES = {"/api/v1/policy-sets/import": MAX_ARCHIVE_BYTES}
"""The few paths that take more than `MAX_BODY_BYTES`."""
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
    return LARGER_BODIES.get(path, MAX_BODY_BYTES)
