"""Waiting for the end of a call or a job, in pieces the server allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from palyra_site.cli.exits import Exit
from palyra_site.cli.session import Session

if TYPE_CHECKING:
    from palyra_site.cli.connection import Answer

_QUICK = 1.0
_STEP = 5
_OPEN_JOBS = frozenset({"queued", "running"})


def wait_for_call(session: Session, call_id: str, *, seconds: int, seen: Answer | None = None) -> Answer:
    """Return the call when it has ended, else its last answer after `seconds`.

    Ctrl-C leaves the call alone, says how to resume, and exits 130.
    """
    try:
        return _wait(session, call_id, seconds, seen)
    except KeyboardInterrupt as error:
        session.say(f"the call goes on; resume with: palyra calls wait {call_id}")
        raise typer.Exit(Exit.INTERRUPTED) from error


def _wait(session: Session, call_id: str, seconds: int, seen: Answer | None) -> Answer:
    from palyra_site.cli.client import LONGEST_WAIT, has_ended

    now = session.world.monotonic
    deadline = now() + seconds
    answer = seen or session.api.calls.look(call_id, wait=0)
    while not has_ended(answer.data) and (left := deadline - now()) > 0:
        asked = now()
        answer = session.api.calls.look(call_id, wait=max(1, min(LONGEST_WAIT, int(left))))
        # A server with too many waiters answers at once; asking again at once would make it worse.
        if not has_ended(answer.data) and now() - asked < _QUICK:
            session.world.sleep(answer.retry_after or _QUICK)
    return answer


def wait_for_job(
    session: Session,
    job_id: str,
    *,
    seconds: int,
    seen: Answer | None = None,
    tell: Callable[[Answer], None] | None = None,
) -> Answer:
    """Return the job when it has ended, else its last answer after `seconds`.

    The progress goes to standard error, or to `tell`. Ctrl-C leaves the job alone, says how to resume, and
    exits 130.
    """
    try:
        return _wait_for_job(session, job_id, seconds, seen, tell or _teller(session))
    except KeyboardInterrupt as error:
        session.say(f"the job goes on; resume with: palyra jobs wait {job_id}")
        raise typer.Exit(Exit.INTERRUPTED) from error


def _wait_for_job(
    session: Session, job_id: str, seconds: int, seen: Answer | None, tell: Callable[[Answer], None]
) -> Answer:
    now = session.world.monotonic
    deadline = now() + seconds
    answer = seen or session.api.jobs.look(job_id, wait=0)
    tell(answer)
    while answer.data.get("state") in _OPEN_JOBS and (left := deadline - now()) > 0:
        asked = now()
        answer = session.api.jobs.look(job_id, wait=max(1, min(_STEP, int(left))))
        tell(answer)
        if answer.data.get("state") in _OPEN_JOBS and now() - asked < _QUICK:
            session.world.sleep(answer.retry_after or _QUICK)
    return answer


def _teller(session: Session) -> Callable[[Answer], None]:
    told = ""

    def tell(answer: Answer) -> None:
        """Write the progress when it is another than before."""
        nonlocal told
        data = answer.data
        total = data.get("total")
        line = f"{data.get('state')}: {data.get('done')}" + (f" of {total}" if total is not None else "")
        if line != told:
            session.say(line)
        told = line

    return tell
