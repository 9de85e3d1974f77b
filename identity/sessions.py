"""A console session as a principal. The session remembers when a one-time code was last entered."""

from __future__ import annotations

import hashlib
from datetime import datetime

from django.contrib.sessions.backends.base import SessionBase

from identity.models import ConsoleSession, User
from identity.selectors import principal_of_user
from identity.types import AuthStrength, Principal, Surface
from kernel.record import Actor, Record

_CODE_AT = "palyra_code_at"


def mark_code_entered(session: SessionBase, now: datetime) -> None:
    """Remember that a right code was entered at `now`. Call after login and after each step-up."""
    session[_CODE_AT] = now.isoformat()


def code_entered_at(session: SessionBase) -> datetime | None:
    """Return when this session last saw a right code."""
    text = session.get(_CODE_AT)
    return datetime.fromisoformat(text) if isinstance(text, str) else None


def principal_of_session(
    *,
    user: User,
    session: SessionBase,
    verified: bool,
    workspace_id: str,
    client_ip: str,
    request_id: str,
    now: datetime,
) -> Principal:
    """Return the person behind a console request.

    `verified` is django-otp's answer for this session. Without it the strength is `password`, with a
    code at most 300 s old it is `fresh_mfa`, else `mfa`. Only a digest of the session key is kept.
    """
    entered = code_entered_at(session) if verified else None
    strength = AuthStrength.MFA if verified else AuthStrength.PASSWORD
    key = (session.session_key or "").encode()
    return principal_of_user(
        user=user,
        workspace_id=workspace_id,
        strength=AuthStrength.FRESH_MFA if entered else strength,
        client_ip=client_ip,
        request_id=request_id,
        authenticated_at=entered or now,
        now=now,
        surface=Surface.CONSOLE,
        session_digest="sha256:" + hashlib.sha256(key).hexdigest(),
    )


def end_sessions(
    *, user: User, reason: str, actor: Actor, now: datetime, record: Record, keep: str | None = None
) -> int:
    """End this person's console sessions, all but the one whose key digest is `keep`.

    Call it in the transaction of what makes them end (password, factor, `is_active`). One event names
    how many ended, none is left when there were none. The next request of each is signed out.
    """
    rows = ConsoleSession.objects.filter(user=user, ended_at__isnull=True, expires_at__gt=now)
    ended = rows.exclude(key_digest=keep or "").update(ended_at=now, ended_reason=reason)
    if ended:
        record(
            event="login_session.ended",
            actor=actor,
            subject=user.pk,
            now=now,
            data={"reason": reason, "count": ended},
        )
    return ended
