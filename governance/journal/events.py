"""The register of events: one name per fact, and the typed fields each one carries.

A name or a field that is not here is a programming error and undoes the effect it should record.
Fields hold ids, codes, counts and, where a reader needs them, the words of a person or an agent; all
of it is redacted, bounded and encrypted before it is stored.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any

from governance.journal import (
    approval_events,
    identity_events,
    job_events,
    journal_events,
    label_events,
    notification_events,
    path_events,
    policy_events,
)
from governance.journal.event_names import EventName as EventName
from governance.journal.event_register import REGISTER

SHAPES = (
    path_events,
    approval_events,
    identity_events,
    policy_events,
    job_events,
    journal_events,
    label_events,
    notification_events,
)
"""The modules that fill the register when they are imported."""


def checked(event: str, data: Mapping[str, object]) -> tuple[EventName, dict[str, object], frozenset[str]]:
    """Return the name, the fields and which of them are secret.

    Raises ValueError for a name that is not registered or fields that are not exactly its fields,
    TypeError for a value of the wrong type.
    """
    name = EventName(event)
    hints, secret = _shape(name)
    if set(data) != set(hints):
        raise ValueError(f"{event}: fields differ: {sorted(set(data) ^ set(hints))}")
    for key, hint in hints.items():
        if not _fits(data[key], hint):
            raise TypeError(f"{event}: {key} is not {hint}")
    return name, dict(data), secret


def registered() -> Mapping[EventName, type]:
    """Return the register: every name has exactly one shape."""
    return types.MappingProxyType(REGISTER)


@cache
def _shape(name: EventName) -> tuple[dict[str, Any], frozenset[str]]:
    shape = REGISTER[name]
    hints = typing.get_type_hints(shape)
    secret = frozenset(item.name for item in dataclasses.fields(shape) if item.metadata.get("secret"))
    return hints, secret


def _fits(value: object, hint: Any) -> bool:
    if hint is Any:
        return True
    if isinstance(hint, types.UnionType):
        return any(_fits(value, option) for option in typing.get_args(hint))
    if hint is type(None):
        return value is None
    origin = typing.get_origin(hint)
    if origin is list:
        (inner,) = typing.get_args(hint)
        return isinstance(value, (list, tuple)) and all(_fits(item, inner) for item in value)
    if origin is dict:
        return isinstance(value, dict)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)
