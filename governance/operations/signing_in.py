"""Verbs of somebody who proves who they are."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from governance.authority import needs
from governance.journal.ledger import record
from identity.factors import verify_totp
from identity.models import User
from identity.types import Principal, PrincipalKind
from kernel.errors import AuthenticationError
from kernel.record import Actor, system_actor


@needs(None)
def step_up(*, principal: Principal, code: str, now: datetime) -> datetime:
    """Verify a one-time code and return `now`; AuthenticationError `step_up_required` when it is wrong.

    Runs before the verb it protects and commits on its own, so that a wrong code stays counted.
    """
    user = User.objects.filter(id=principal.id).first() if principal.kind is PrincipalKind.USER else None
    accepted = user is not None and verify_totp(user=user, code=code, now=now)
    with transaction.atomic(durable=True):
        record(
            event="step_up.succeeded" if accepted else "step_up.failed",
            actor=principal.actor(),
            subject=principal.id,
            now=now,
            data={},
        )
    if not accepted:
        raise AuthenticationError("step_up_required", "The one-time code is wrong or was used before.")
    return now


@needs(None)
def record_login(*, user_id: str | None, succeeded: bool, now: datetime) -> None:
    """Leave `login.succeeded` or `login.failed`; an unknown name is the subject `anonymous`."""
    subject = user_id or "anonymous"
    proved = Actor(kind="user", id=subject, auth="session", surface="console")
    actor = proved if succeeded else system_actor("console")
    with transaction.atomic(durable=True):
        record(
            event="login.succeeded" if succeeded else "login.failed",
            actor=actor,
            subject=subject,
            now=now,
            data={"factor": "totp"} if succeeded else {"network": "unknown", "reason": "refused", "count": 1},
        )
