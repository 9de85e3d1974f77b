"""Lengths of time as people type them: 90, 45m, 12h, 30d, 2w."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from palyra_site.cli.failures import UsageError

_SPAN = re.compile(r"([0-9]{1,6})([smhdw]?)")
_UNITS = {"": "seconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def seconds_of(option: str, text: str | None) -> int | None:
    """Return whole seconds; a bare number is seconds."""
    return None if text is None else int(_span(option, text).total_seconds())


def days_of(option: str, text: str | None) -> int | None:
    """Return whole days, or raise UsageError for a length that is none."""
    if text is None:
        return None
    span = _span(option, text)
    if span < timedelta(days=1) or span % timedelta(days=1):
        raise UsageError(f"{option} takes whole days, such as 30d or 2w, not {text}.")
    return span.days


def time_after(option: str, text: str | None, now: datetime) -> str | None:
    """Return RFC 3339 in UTC for a length from now on, a timestamp or a date (local midnight)."""
    if text is None:
        return None
    try:
        moment = now + _span(option, text) if _SPAN.fullmatch(text) else datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{option} takes a length such as 30d, or a date, not {text}.") from error
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _span(option: str, text: str) -> timedelta:
    match = _SPAN.fullmatch(text)
    if match is None:
        raise UsageError(f"{option} takes a length such as 45m, 12h or 30d, not {text}.")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
