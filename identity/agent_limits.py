"""How often an agent may ask people: the defaults, and what an agent's own limits may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from kernel.errors import Detail, InvalidError

MOST = 1_000


@dataclass(frozen=True, slots=True)
class AskLimits:
    """`pending_per_run` at one time, `asks_per_run` in all, `asks_per_hour` over all runs of the agent."""

    pending_per_run: int = 10
    asks_per_run: int = 30
    asks_per_hour: int = 60


NAMES = tuple(field.name for field in fields(AskLimits))


def limits_from(stored: Mapping[str, object]) -> AskLimits:
    """Return the limits of an agent: its own where it has a sound one, else the default. Total."""
    return AskLimits(**{name: value for name in NAMES if (value := _sound(stored.get(name))) is not None})


def checked_limits(given: Mapping[str, object]) -> dict[str, int]:
    """Return limits as they are stored, or raise InvalidError with a pointer to each fault."""
    faults = [_fault(name, "This limit does not exist.") for name in given if name not in NAMES]
    faults += [
        _fault(name, f"A limit is a whole number from 1 to {MOST}.")
        for name, value in given.items()
        if name in NAMES and _sound(value) is None
    ]
    if faults:
        raise InvalidError("invalid", "The limits are not valid.", errors=tuple(faults))
    return {name: value for name in NAMES if (value := _sound(given.get(name))) is not None}


def _sound(value: object) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and isinstance(value, int) and 1 <= value <= MOST else None


def _fault(name: str, sentence: str) -> Detail:
    return Detail(f"/limits/{name.replace('~', '~0').replace('/', '~1')}", "invalid", sentence)
