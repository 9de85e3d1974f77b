"""A world that has something to tell: its cast, a request, an endpoint, and a network made of functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from django.db import transaction

from approvals.models import ApprovalRequest
from approvals.services import open_request
from approvals.types import NewRequest
from governance.journal.ledger import record
from governance.notifications import worker
from governance.notifications.delivery import Claim
from governance.notifications.mail import Posting
from governance.notifications.sending import Answer
from governance.notifications.webhooks import Told
from governance.operations import webhooks
from kernel.canonical import digest
from kernel.errors import ConflictError
from policy.services import install_baseline
from tests.approvals.asking import agent_actor, question
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, Cast, make_cast, principal
from vault import services as vault

URL = "https://hooks.example.com/palyra?key=1"
TAKEN = Answer(200, "", "ok", 12)
BROKEN = Answer(500, "", "broken", 12)
SILENT = Answer(None, "timeout", "", 10_000)
GONE = Answer(410, "", "", 12)
_numbers = count()


@dataclass(frozen=True, slots=True)
class World:
    cast: Cast

    def endpoint(self, *event_types: str, url: str = URL, now: datetime = NOW) -> Told:
        """Add an endpoint as the owner."""
        who = principal(self.cast.owner, self.cast.default, now=now)
        return webhooks.create(principal=who, url=url, event_types=event_types or ("*",), now=now)

    def ask(self, now: datetime = NOW, **changes: Any) -> ApprovalRequest:
        """Ask something new, with a real event in the journal."""
        call_id = f"call_{next(_numbers)}"
        asked: NewRequest = replace(
            question(self.cast, call_id), run_id=None, tool="fs.write", action_digest=digest(call_id)
        )
        with transaction.atomic():
            return open_request(
                request=replace(asked, **changes), actor=agent_actor(self.cast), now=now, record=record
            )


def found() -> World:
    cast = make_cast()
    vault.ensure_ready(now=NOW)
    with transaction.atomic():
        install_baseline(actor=SYSTEM, now=NOW, record=RecordedEvents())
    return World(cast)


@dataclass
class Receiver:
    """The other side: answers from a script, the last answer again and again, and what it was sent."""

    answers: list[Answer] = field(default_factory=lambda: [TAKEN])
    mail_errors: list[str] = field(default_factory=lambda: [""])
    claims: list[Claim] = field(default_factory=list)
    mails: list[Posting] = field(default_factory=list)

    def post(self, claim: Claim, now: datetime) -> Answer:
        self.claims.append(claim)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def send(self, posting: Posting) -> str:
        self.mails.append(posting)
        return self.mail_errors.pop(0) if len(self.mail_errors) > 1 else self.mail_errors[0]

    def run(self, now: datetime = NOW) -> int:
        """Wake the worker at `now`; return how many attempts it made."""
        return worker.work(lambda: now, worker.Network(post=self.post, send=self.send))


def later(**span: float) -> datetime:
    return NOW + timedelta(**span)


def refuses(act: Callable[[], object]) -> bool:
    """Tell whether an act met somebody who was faster."""
    try:
        act()
    except ConflictError:
        return True
    return False
