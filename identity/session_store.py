"""The session engine: a row for who is signed in, a signed cookie for who is not.

The cookie of somebody signed in is 32 random bytes; the row holds its SHA-256. Everybody else carries
their few values (a CSRF secret, a message) themselves, signed, so that looking at the door writes
nothing and nobody from outside grows the table. Rows are opened, moved to a new key and ended by
`identity.sessions`; this module reads them and writes what a page keeps in its session.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.core import signing
from django.db.models import QuerySet

from identity.models import ConsoleSession
from kernel.clock import utc_now

IDLE_LIFE = timedelta(minutes=30)
WHOLE_LIFE = timedelta(hours=12)
TOUCH_INTERVAL = timedelta(seconds=60)
KEY_BYTES = 32
ANONYMOUS_PREFIX = "anonymous:"
ANONYMOUS_SALT = "palyra.session.anonymous"


def new_key() -> str:
    """Return what a cookie of somebody signed in holds: 32 random bytes as base64url."""
    return secrets.token_urlsafe(KEY_BYTES)


def digest_of(key: str) -> str:
    """Return under which primary key the session of this cookie is stored."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def live_row(key: str, now: datetime) -> ConsoleSession | None:
    """Return the session of this cookie while it is neither ended nor too old."""
    row = ConsoleSession.objects.filter(pk=digest_of(key), ended_at__isnull=True).first()
    if row is None or row.expires_at <= now or row.absolute_expires_at <= now:
        return None
    return row


class SessionStore(SessionBase):
    """Django's session of one request. `row` is there for somebody signed in, else None.

    A cookie that belongs to no live session counts as none and is never taken over.
    """

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        self._row: ConsoleSession | None = None

    @property
    def row(self) -> ConsoleSession | None:
        self.keys()  # loads
        return self._row

    def load(self) -> dict[str, Any]:
        key = self.session_key or ""
        if key.startswith(ANONYMOUS_PREFIX):
            return _anonymous_values(key)
        self._row = live_row(key, utc_now()) if key else None
        return {} if self._row is None else self.decode(self._row.data)

    def save(self, must_create: bool = False) -> None:
        """Write the values to the row, or into the signed key of somebody not signed in.

        UpdateError when the row ended meanwhile: what ended stays ended.
        """
        values = dict(self.items())
        if self._row is None:
            self._session_key = _anonymous_key(values)
            return
        if not _still_open(self._row).update(data=self.encode(values)):
            raise UpdateError

    def create(self) -> None:
        self.clear()
        self._row = None
        self.save(must_create=True)

    def cycle_key(self) -> None:
        """Move the session to a new key; the old cookie opens nothing from now on."""
        row = self.row
        if row is None:
            self.modified = True
            return
        key = new_key()
        if not _still_open(row).update(key_digest=digest_of(key)):
            raise UpdateError
        self.moved_to(key)

    def moved_to(self, key: str) -> None:
        """Go on under the key to which `identity.sessions` moved this session's row."""
        self.keys()  # what was read under the old key stays
        self._session_key = key
        self._row = live_row(key, utc_now())
        self.modified = True

    def touch(self, now: datetime) -> None:
        """Let the idle time begin again, writing at most once a minute."""
        row = self.row
        if row is None or now - row.seen_at < TOUCH_INTERVAL:
            return
        ends = min(now + IDLE_LIFE, row.absolute_expires_at)
        if _still_open(row).filter(seen_at=row.seen_at).update(seen_at=now, expires_at=ends):
            row.seen_at, row.expires_at = now, ends

    def exists(self, session_key: str) -> bool:
        return live_row(session_key, utc_now()) is not None

    def delete(self, session_key: str | None = None) -> None:
        """Let go of the row. `identity.sessions` ends rows, because an end leaves an event."""
        self._row = None

    def get_expire_at_browser_close(self) -> bool:
        return True

    @classmethod
    def clear_expired(cls) -> None:
        """The sweeper does it (`identity.sessions.sweep`)."""


def _still_open(row: ConsoleSession) -> QuerySet[ConsoleSession]:
    return ConsoleSession.objects.filter(pk=row.pk, ended_at__isnull=True)


def _anonymous_values(key: str) -> dict[str, Any]:
    try:
        values: dict[str, Any] = signing.loads(
            key.removeprefix(ANONYMOUS_PREFIX), salt=ANONYMOUS_SALT, max_age=WHOLE_LIFE
        )
    except signing.BadSignature:
        return {}
    return {} if SESSION_KEY in values else values


def _anonymous_key(values: dict[str, Any]) -> str:
    if SESSION_KEY in values:
        raise ValueError("only identity.sessions.open_session signs somebody in")
    return ANONYMOUS_PREFIX + signing.dumps(values, salt=ANONYMOUS_SALT, compress=True)
