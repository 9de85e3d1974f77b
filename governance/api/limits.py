"""Fixed limits and names of the HTTP surface."""

from __future__ import annotations

ORIGIN = "https://palyra.dev"
MAX_BODY_BYTES = 1_048_576
PREFIXES = ("/api/", "/docs/errors/", "/v1/", "/mcp")
API_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
