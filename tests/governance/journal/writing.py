"""How the tests of the journal write into it: through `record`, for a run that exists."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.db import transaction

from governance.journal.ledger import record
from governance.journal.models import JournalEvent
from governance.models import Run
from kernel.ids import new_id
from kernel.record import Actor

NOW = datetime(2026, 3, 2, 9, 30, 0, 123456, tzinfo=UTC)
AGENT = Actor(kind="agent", id="agt_01J00000000000000000000000", auth="token", surface="api")
PERSON = Actor(kind="user", id="usr_01J00000000000000000000000", auth="session", surface="console")
CALL = "call_01J00000000000000000000000"


def open_run(now: datetime = NOW) -> Run:
    """Insert an open run that leaves room for a hundred calls."""
    return Run.objects.create(
        id=new_id("run", now),
        workspace_id="wsp_1",
        principal_kind="agent",
        principal_id=AGENT.id,
        owner_id=PERSON.id,
        max_calls=100,
        opened_at=now,
        deadline_at=now + timedelta(hours=1),
    )


def write(
    event: str = "run.closed",
    *,
    actor: Actor = AGENT,
    subject: str = CALL,
    now: datetime = NOW,
    run: str | None = None,
    call: str | None = None,
    **data: object,
) -> JournalEvent:
    """Record one event in a transaction of its own; without data, the reason why a run closed."""
    fields = data or {"state": "completed", "close_code": "done", "reason": ""}
    with transaction.atomic():
        written = record(event=event, actor=actor, subject=subject, now=now, data=fields, run=run, call=call)
    return JournalEvent.objects.get(id=written)


def propose(content: object, *, run: str | None = None) -> JournalEvent:
    """Record a proposal whose input is `content`: the one field that takes any JSON."""
    return write("tool_call.proposed", run=run, tool="echo", input=content, input_bytes=1)
