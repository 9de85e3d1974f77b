"""Prefixed ULIDs: `call_01JD…`. The prefix says what an id names, the ULID orders by time."""

from __future__ import annotations

import re
from datetime import datetime

from ulid import ULID

from kernel.errors import MalformedError

_ID = re.compile(r"([a-z]{2,4})_([0-7][0-9A-HJKMNP-TV-Z]{25})")


def new_id(prefix: str, now: datetime) -> str:
    """Return a fresh id with the time of `now` and 80 random bits."""
    return f"{prefix}_{ULID.from_datetime(now)}"


def is_id(prefix: str, text: str) -> bool:
    """Tell whether `text` is a well-formed id of this kind."""
    match = _ID.fullmatch(text)
    return match is not None and match[1] == prefix


def require_id(prefix: str, text: str) -> str:
    """Return `text`, or raise MalformedError `invalid_id`."""
    if not is_id(prefix, text):
        raise MalformedError("invalid_id", f"Not an id of the form {prefix}_….")
    return text
