"""What a service may rely on to leave a trace: no event, no effect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Actor:
    """Who caused an event, by id only.

    `kind` is user, agent, device, service or system; `auth` is session, token, mtls or none;
    `surface` is console, api, cli, worker, sweeper or shell. `client_ip` and `device_id` are for rules
    that read them, empty when unknown; an event does not carry them.
    """

    kind: str
    id: str
    auth: str
    surface: str
    client_ip: str = ""
    device_id: str = ""


def system_actor(surface: str) -> Actor:
    """Return the actor of work that no person or agent asked for at this moment."""
    return Actor(kind="system", id="system", auth="none", surface=surface)


@dataclass(frozen=True, slots=True)
class RequestMarks:
    """How logs and traces know the request that is being answered. `trace_id` is 32 hex digits (W3C)."""

    request_id: str | None = None
    trace_id: str | None = None


_MARKS: ContextVar[RequestMarks] = ContextVar("palyra_request_marks", default=RequestMarks())  # noqa: B039  # frozen


def request_marks() -> RequestMarks:
    """Return the marks of the request that is being answered; empty ones outside of any."""
    return _MARKS.get()


@contextmanager
def marked(marks: RequestMarks) -> Iterator[None]:
    """Let every event recorded inside carry these marks."""
    token = _MARKS.set(marks)
    try:
        yield
    finally:
        _MARKS.reset(token)


class Record(Protocol):
    """Append one journal event inside the caller's transaction and return its `evt_` id.

    `event` is a name of the register (journal part), `data` its fields; an unknown name, an unknown
    or a missing field raises, and so undoes the caller's effect.
    """

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
    ) -> str: ...
