"""Following events, of a run or of what waits for a person, across whatever happens to the connection."""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from palyra_site.cli.exits import WAITING_STATES, Exit
from palyra_site.cli.failures import CliError
from palyra_site.cli.session import Session

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
QUESTIONS = "approval_request"
_REMEMBERED = 10_000
"""A new connection may tell again what the one before told in its last minute, or all that waits."""
Event = Mapping[str, Any]


def past_events(session: Session, run_id: str, *, after: str | None, names: str | None) -> Iterator[Event]:
    """Yield the events of a run up to the newest."""
    for line in session.api.runs.events(run_id, after=after, names=names):
        if line:
            yield _parsed(line)


def follow_events(session: Session, run_id: str, *, after: str | None, names: str | None) -> Iterator[Event]:
    """Yield the events of a run, each once, until it is closed and all its calls have ended.

    A connection that breaks once it had begun is made again, after 1 to 30 s, and goes on behind the last
    event. What the server refuses is raised.
    """
    last, pause, begun = after, FIRST_PAUSE, False
    while True:
        try:
            for key, event in _frames(session.api.runs.live_events(run_id, after=last, names=names)):
                if begun and pause > FIRST_PAUSE:
                    session.say("-- reconnected --")
                begun, pause = True, FIRST_PAUSE
                if event is not None:
                    last = key
                    yield event
            if _is_over(session, run_id):
                yield from past_events(session, run_id, after=last, names=names)
                return
        except CliError as error:
            if not begun or error.exit_code is not Exit.UNREACHABLE:
                raise
            session.world.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311  # spreads clients
            pause = min(pause * 2, LONGEST_PAUSE)


def follow_questions(session: Session) -> Iterator[Event]:
    """Yield the events of requests that this person could answer, each once: those that wait, then new ones.

    Goes on until it is interrupted: a stream that ends or breaks once it had begun is opened again, after
    1 to 30 s. What the server refuses is raised.
    """
    last: str | None = None
    pause, begun = FIRST_PAUSE, False
    seen: deque[str] = deque(maxlen=_REMEMBERED)
    while True:
        try:
            for key, event in _frames(session.api.approvals.live_events(after=last, names=QUESTIONS)):
                if begun and pause > FIRST_PAUSE:
                    session.say("-- reconnected --")
                begun, pause = True, FIRST_PAUSE
                if event is not None and key not in seen:
                    seen.append(key)
                    last = key
                    yield event
        except CliError as error:
            if last is not None and error.code == "event_gone":
                last = None
            elif not begun or error.exit_code is not Exit.UNREACHABLE:
                raise
        session.world.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311  # spreads clients
        pause = min(pause * 2, LONGEST_PAUSE)


def follow_journal(session: Session, filters: Mapping[str, Any], *, after: int | None) -> Iterator[Event]:
    """Yield sealed events behind a number in the order of their numbers, each once, until interrupted.

    A stream that ends or breaks once it had begun is opened again behind the last event, after 1 to 30 s.
    What the server refuses is raised, also that the log is shorter than what was seen of it.
    """
    from palyra_site.cli.journal_api import journal_of

    last, pause, begun = after, FIRST_PAUSE, False
    while True:
        try:
            for key, event in _frames(journal_of(session).live_lines(filters, after=last)):
                if begun and pause > FIRST_PAUSE:
                    session.say("-- reconnected --")
                begun, pause = True, FIRST_PAUSE
                if event is not None:
                    last = int(key) if key.isdecimal() else last
                    yield event
        except CliError as error:
            if not begun or error.exit_code is not Exit.UNREACHABLE:
                raise
        session.world.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311  # spreads clients
        pause = min(pause * 2, LONGEST_PAUSE)


def _frames(lines: Iterable[str]) -> Iterator[tuple[str, Event | None]]:
    """Yield key and data of every frame; None as data says that the stream has opened."""
    key, data = "", ""
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "retry":
            yield "", None
        elif name == "id":
            key = value
        elif name == "data":
            data = value
        elif not line and data:
            yield key, _parsed(data)
            data = ""


def _is_over(session: Session, run_id: str) -> bool:
    run = session.api.runs.show(run_id).data
    calls = run.get("calls")
    counts = calls if isinstance(calls, dict) else {}
    return run.get("state") != "open" and not any(counts.get(state) for state in WAITING_STATES)


def _parsed(text: str) -> Event:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise _invalid() from error
    if not isinstance(value, dict):
        raise _invalid()
    return value


def _invalid() -> CliError:
    return CliError("invalid_answer", "An event of the stream is no JSON object.", exit_code=Exit.INTERNAL)
