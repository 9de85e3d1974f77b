"""Time as the adapters read it: once, in UTC, and then handed down as an argument."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the present instant. Only adapters and processes call this; deciders take `now`."""
    return datetime.now(UTC)


def wire_time(moment: datetime | None) -> str | None:
    """Return RFC 3339 in UTC with milliseconds and `Z`, the form of the API."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def exact_time(moment: datetime) -> str:
    """Return RFC 3339 in UTC with microseconds and `Z`, the form of journal and attestation."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
