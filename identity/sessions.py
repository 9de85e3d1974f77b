"""Console sessions: opening, elevating and ending them, and the person behind one as a principal.

The writes run inside the caller's transaction. `session_store` is what a request reads.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase
from django.db.models import QuerySet
from django_otp import DEVICE_ID_SESSION_KEY

from identity.authorization import FRESH_CODE_SECONDS
from identity.models import ConsoleSession, RecoveryCode, TotpFactor, User
from identity.networks import UNKNOWN_NETWORK, network_of
from identity.selectors import principal_of_user
from identity.session_store import IDLE_LIFE, WHOLE_LIFE, SessionStore, digest_of, new_key
from identity.types import AuthStrength, Principal, Surface
from kernel.errors import AuthenticationError, NotFoundError
from kernel.record import Actor, Record

MOST_SESSIONS = 10
KEPT_FOR = timedelta(days=30)
LONGEST_AGENT = 200
BACKEND = "identity.backends.MatrixBackend"
DIGEST_PREFIX = "sha256:"


@dataclass(frozen=True, slots=True)
class Browser:
    """From where somebody signs in, as the request says."""

    ip: str
    user_agent: str = ""


def open_session(
    *,
    user: User,
    factor: TotpFactor | RecoveryCode | None,
    code_entered: bool,
    browser: Browser,
    actor: Actor,
    now: datetime,
    record: Record,
) -> str:
    """Sign a person in and return what their cookie holds; it is here and nowhere else.

    `factor` verifies the session; None leaves it to the enrolment page. `code_entered` says that an
    authenticator's code was entered just now, which makes it fresh. Beyond ten sessions the oldest end.
    """
    locked = User.objects.select_for_update().get(pk=user.pk)
    _make_room(locked, actor, now, record)
    key = new_key()
    row = ConsoleSession(
        key_digest=digest_of(key),
        ref=secrets.token_hex(8),
        user=locked,
        data=SessionStore().encode(_signed_in(locked, factor)),
        created_at=now,
        seen_at=now,
        expires_at=now + IDLE_LIFE,
        absolute_expires_at=now + WHOLE_LIFE,
        ip=browser.ip[:45],
        user_agent=browser.user_agent[:LONGEST_AGENT].replace("\0", ""),
    )
    if code_entered:
        row.mfa_at, row.mfa_network = now, network_of(browser.ip)
        row.mfa_epoch = locked.authority_epoch
    row.save(force_insert=True)
    User.objects.filter(pk=locked.pk).update(last_login=now)
    return key


def _signed_in(user: User, factor: TotpFactor | RecoveryCode | None) -> dict[str, str]:
    """Return the values that Django's and django-otp's middleware look for."""
    values = {
        SESSION_KEY: user.pk,
        BACKEND_SESSION_KEY: BACKEND,
        HASH_SESSION_KEY: user.get_session_auth_hash(),
    }
    return values if factor is None else values | {DEVICE_ID_SESSION_KEY: factor.persistent_id}


def _make_room(user: User, actor: Actor, now: datetime, record: Record) -> None:
    kept = live_sessions(user, now).order_by("-created_at")[: MOST_SESSIONS - 1]
    oldest = live_sessions(user, now).exclude(pk__in=[row.pk for row in kept])
    _end(oldest, user=user, reason="limit", actor=actor, now=now, record=record)


def live_sessions(user: User, now: datetime) -> QuerySet[ConsoleSession]:
    """Return the sessions with which this person is signed in now."""
    return ConsoleSession.objects.filter(
        user=user, ended_at__isnull=True, expires_at__gt=now, absolute_expires_at__gt=now
    )


def elevate_session(*, principal: Principal, now: datetime) -> str:
    """Let an authenticator's code accepted at `now` count for this session; return the session's new key.

    It counts for five minutes, from the network it came from, while the person's roles stay as they are.
    AuthenticationError when the session ended meanwhile.
    """
    key = new_key()
    user = User.objects.get(pk=principal.id)
    own = ConsoleSession.objects.select_for_update().filter(pk=own_digest(principal), user=user)
    row = own.filter(ended_at__isnull=True, expires_at__gt=now).first()
    if row is None:
        raise AuthenticationError("unauthenticated", "This session has ended; sign in again.")
    ConsoleSession.objects.filter(pk=row.pk).update(
        key_digest=digest_of(key),
        mfa_at=now,
        mfa_network=network_of(principal.client_ip),
        mfa_epoch=user.authority_epoch,
    )
    return key


def principal_digest(session_key: str) -> str:
    """Return what a principal carries of its session: `sha256:` and the digest of the key."""
    return DIGEST_PREFIX + digest_of(session_key)


def own_digest(principal: Principal) -> str:
    """Return the primary key of the session a principal came with, or an empty text."""
    return (principal.session_digest or "").removeprefix(DIGEST_PREFIX)


def end_sessions(
    *, user: User, reason: str, actor: Actor, now: datetime, record: Record, keep: str | None = None
) -> int:
    """End this person's console sessions, all but the one whose key digest is `keep`.

    Call it in the transaction of what makes them end (password, factor, `is_active`). One event names
    how many ended, none is left when there were none. The next request of each is signed out.
    """
    rows = live_sessions(user, now).exclude(pk=keep or "")
    ended = _end(rows, user=user, reason=reason, actor=actor, now=now, record=record)
    # Those that are over by this host's clock may not be by another's.
    over = ConsoleSession.objects.filter(user=user, ended_at__isnull=True).exclude(pk=keep or "")
    over.update(ended_at=now, ended_reason=reason)
    return ended


def end_own_session(*, user: User, key_digest: str, actor: Actor, now: datetime, record: Record) -> None:
    """End the session of this key, as its person asked; do nothing when it has ended already."""
    rows = live_sessions(user, now).filter(pk=key_digest)
    _end(rows, user=user, reason="signed_out", actor=actor, now=now, record=record)


def end_session(*, user: User, ref: str, reason: str, actor: Actor, now: datetime, record: Record) -> None:
    """End one session of this person, named by its `ref`; NotFoundError when it is not live."""
    rows = live_sessions(user, now).filter(ref=ref)
    if not _end(rows, user=user, reason=reason, actor=actor, now=now, record=record):
        raise NotFoundError("not_found", "This session has ended already.")


def _end(
    rows: QuerySet[ConsoleSession], *, user: User, reason: str, actor: Actor, now: datetime, record: Record
) -> int:
    ended = rows.update(ended_at=now, ended_reason=reason)
    if ended:
        record(
            event="login_session.ended",
            actor=actor,
            subject=user.pk,
            now=now,
            data={"reason": reason, "count": ended},
        )
    return ended


def sweep(now: datetime) -> int:
    """Delete the sessions that have been over for 30 days, and return how many there were."""
    old = ConsoleSession.objects.filter(absolute_expires_at__lte=now - KEPT_FOR)
    return old.delete()[0] if old.exists() else 0  # a delete of nothing locks SQLite too


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

    `verified` is django-otp's answer for this session; without it the strength is `password`. It is
    `fresh_mfa` after a code of an authenticator, at most 300 s ago, from this network, under the roles
    as they are; then `authenticated_at` is that moment. Else it is `mfa`.
    """
    row = session.row if isinstance(session, SessionStore) else None
    entered = _fresh_code(row, user, client_ip, now) if verified and row is not None else None
    strength = AuthStrength.MFA if verified else AuthStrength.PASSWORD
    return principal_of_user(
        user=user,
        workspace_id=workspace_id,
        strength=AuthStrength.FRESH_MFA if entered else strength,
        client_ip=client_ip,
        request_id=request_id,
        authenticated_at=entered or now,
        now=now,
        surface=Surface.CONSOLE,
        session_digest=DIGEST_PREFIX + (row.pk if row is not None else ""),
    )


def _fresh_code(row: ConsoleSession, user: User, client_ip: str, now: datetime) -> datetime | None:
    network = network_of(client_ip)
    same_place = network != UNKNOWN_NETWORK and network == row.mfa_network
    if row.mfa_at is None or not same_place or row.mfa_epoch != user.authority_epoch:
        return None
    age = now - row.mfa_at
    return row.mfa_at if timedelta(0) <= age <= timedelta(seconds=FRESH_CODE_SECONDS) else None
