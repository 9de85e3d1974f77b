"""What tests of a stage need beside its own services."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count

from kernel.record import Actor

_NUMBERS = count(1)


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    event: str
    actor: Actor
    subject: str
    now: datetime
    data: Mapping[str, object]
    run: str | None
    call: str | None


@dataclass(slots=True)
class RecordedEvents:
    """A `Record` that remembers what it was given. No two of its events ever share an id."""

    events: list[RecordedEvent] = field(default_factory=list)

    def __call__(
        self,
        *,
        event: str,
        actor: Actor,
        subject: str,
        now: datetime,
        data: Mapping[str, object],
        run: str | None = None,
        call: str | None = None,
    ) -> str:
        self.events.append(RecordedEvent(event, actor, subject, now, dict(data), run, call))
        return f"evt_{next(_NUMBERS)}"

    @property
    def names(self) -> list[str]:
        return [recorded.event for recorded in self.events]
