"""How a class becomes the frozen shape of an event."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from governance.journal.event_names import EventName

SECRET: Mapping[str, bool] = types.MappingProxyType({"secret": True})
"""Metadata of a field whose value never reaches the journal."""

REGISTER: dict[EventName, type] = {}


def event(*names: EventName) -> Callable[[type], type]:
    """Make a class the frozen shape of these events."""

    def register(shape: type) -> type:
        frozen: type = dataclass(frozen=True, slots=True)(shape)
        REGISTER.update(dict.fromkeys(names, frozen))
        return frozen

    return register
