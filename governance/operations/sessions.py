"""Verbs on console sessions: one's own, and the one somebody has just been let in with."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from governance.authority import needs
from governance.journal.ledger import record
from identity import sessions
from identity.models import RecoveryCode, TotpFactor, User
from identity.sessions import Browser
from identity.types import Principal
from kernel.record import Actor


@needs(None)
def open_for(
    *,
    user: User,
    factor: TotpFactor | RecoveryCode | None,
    code_entered: bool,
    browser: Browser,
    now: datetime,
) -> str:
    """Sign in somebody who has proved who they are by other means; return what their cookie holds."""
    actor = Actor(kind="user", id=user.pk, auth="session", surface="console")
    with transaction.atomic(durable=True):
        return sessions.open_session(
            user=user,
            factor=factor,
            code_entered=code_entered,
            browser=browser,
            actor=actor,
            now=now,
            record=record,
        )


@needs(None)
def sign_out(*, user: User, key_digest: str, now: datetime) -> None:
    """End the session of a cookie that its person gives up; one that has ended already stays so."""
    actor = Actor(kind="user", id=user.pk, auth="session", surface="console")
    with transaction.atomic(durable=True):
        sessions.end_own_session(user=user, key_digest=key_digest, actor=actor, now=now, record=record)


@needs(None)
def end_one(*, principal: Principal, ref: str, now: datetime) -> None:
    """End one of one's own sessions; NotFoundError for anybody else's, and for one that has ended."""
    user = _person(principal)
    with transaction.atomic(durable=True):
        sessions.end_session(
            user=user, ref=ref, reason="ended_by_owner", actor=principal.actor(), now=now, record=record
        )


@needs(None)
def end_others(*, principal: Principal, now: datetime) -> int:
    """End all of one's own sessions but this one; return how many there were."""
    user = _person(principal)
    with transaction.atomic(durable=True):
        return sessions.end_sessions(
            user=user,
            reason="ended_by_owner",
            actor=principal.actor(),
            now=now,
            record=record,
            keep=sessions.own_digest(principal),
        )


def _person(principal: Principal) -> User:
    return User.objects.get(pk=principal.id)
