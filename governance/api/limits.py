"""Fixed limits and names of the HTTP surface."""

from __future__ import annotations

ORIGIN = "https://palyra.dev"
MAX_BODY_BYTES = 1_048_576
PREFIX = "/api/"
