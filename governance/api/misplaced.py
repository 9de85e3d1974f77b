"""Tokens where none may be: in the query string or in the body. Both end up in logs and in storage."""

from __future__ import annotations

from dataclasses import dataclass, field

from rest_framework.request import Request

from governance.api.limits import MAX_BODY_BYTES
from identity.tokens import find_tokens

_PARAMETERS = frozenset({"token", "access_token"})


@dataclass(frozen=True, slots=True)
class Misplaced:
    """Where something like a credential came; `texts` are the well-formed tokens of it."""

    place: str
    texts: tuple[str, ...] = field(repr=False)


def misplaced_tokens(request: Request) -> Misplaced | None:
    """Return what was sent in the wrong place, or None.

    In a query that is a parameter named like a credential or any text with a well-formed token, in a
    body a well-formed token anywhere. A body too large for the API is left to whoever refuses it.
    """
    query = " ".join(value for values in request.query_params.lists() for value in (values[0], *values[1]))
    texts = find_tokens(query)
    if texts or _PARAMETERS & set(request.query_params):
        return Misplaced("query", texts)
    texts = find_tokens(_body(request))
    return Misplaced("body", texts) if texts else None


def _body(request: Request) -> str:
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isdigit() or not 0 < int(length) <= MAX_BODY_BYTES:
        return ""
    return bytes(request.body).decode("utf-8", errors="replace")
