"""Tokens as they travel. The text of one is only ever in what `with_secret` returns."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from identity.models import ApiToken
from identity.token_selectors import token_state
from identity.tokens import PATTERN, TOKEN_LENGTH, TokenKind
from kernel.clock import wire_time

REPORT_PATH = "/api/v1/tokens/leaked"


def render_token(token: ApiToken, now: datetime) -> dict[str, Any]:
    """Return a token without its text. `prefix` is its public beginning, by which it is found again."""
    return {
        "id": token.pk,
        "object": "token",
        "prefix": f"plr_{token.kind}_{token.lookup}",
        "label": token.label,
        "kind": str(token.kind),
        "principal": {
            "type": "agent" if token.principal_agent_id else "user",
            "id": token.principal_agent_id or token.principal_user_id,
        },
        "workspace_id": token.workspace_id,
        "scopes": list(token.scopes),
        "state": token_state(token, now),
        "minted_by": token.minted_by,
        "created_at": wire_time(token.created_at),
        "expires_at": wire_time(token.expires_at),
        "overlap_ends_at": _time(token.overlap_ends_at),
        "last_used_at": _time(token.last_used_at),
        "last_used_network": token.last_used_network or None,
        "rate_per_minute": token.rate_per_minute,
        "allowed_networks": list(token.allowed_networks),
        "exposed": token.exposed_at is not None,
        "rotated_from": token.rotated_from_id,
        "revoked_at": _time(token.revoked_at),
        "revoked_reason": token.revoked_reason or None,
    }


def render_withheld(token: ApiToken, now: datetime) -> dict[str, Any]:
    """Return what a repeat of the same request is answered with: the text was shown to the first."""
    return render_token(token, now) | {"token": None, "secret_withheld": True}


def with_secret(rendered: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Return a token with its text, for the one answer that shows it."""
    return {**rendered, "token": text, "secret_withheld": False}


def render_format(report_url: str) -> dict[str, Any]:
    """Return how a token reads, for programs that look for leaked ones."""
    return {
        "issuer": "Palyra",
        "regex": PATTERN,
        "prefix": "plr_",
        "length": TOKEN_LENGTH,
        "kinds": [kind.value for kind in TokenKind],
        "alphabet": "0-9A-Za-z",
        "checksum": {
            "algorithm": "CRC-32",
            "description": "The last 6 characters are the CRC-32 (ISO-HDLC, as in zlib) of all characters "
            "before them, as a base62 number with digits 0-9A-Za-z, padded with 0 on the left.",
        },
        "report_url": report_url,
        "report_body": {"tokens": ["plr_…"]},
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else wire_time(moment)
