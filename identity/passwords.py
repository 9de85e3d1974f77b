"""Every write to passwords, and the links with which somebody sets a first one."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from identity.authority import ANYWHERE, require_authority
from identity.inserting import invalid
from identity.models import SetupLink, User
from identity.roles import Permission
from identity.sessions import end_sessions
from kernel.errors import NotFoundError
from kernel.record import Actor, Record

LONGEST_PASSWORD = 256
LINK_LIFE = timedelta(hours=72)
LINK_BYTES = 32


def set_password(user: User, password: str | None, now: datetime) -> None:
    """Put a password that meets the rules on an unsaved row; None means that nobody ever logs in with it.

    Raises InvalidError at `/password` with the rules that are not met.
    """
    if password is None:
        user.can_log_in = False
        user.set_unusable_password()
        return
    require_strong(user, password)
    user.set_password(password)
    user.password_changed_at = now


def require_strong(user: User, password: str) -> None:
    """Raise InvalidError at `/password` unless this person may choose this password."""
    if len(password) > LONGEST_PASSWORD or "\0" in password:
        raise invalid("/password", "max_length", f"At most {LONGEST_PASSWORD} characters, none of them NUL.")
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise invalid("/password", "weak", " ".join(error.messages)) from None


def issue_setup_link(*, user: User, actor: Actor, now: datetime, record: Record) -> str:
    """Return the text of a link with which `user` may set a password within 72 hours, once.

    The text is here and nowhere else; an earlier link of this person stops working. The password that
    is in force stays so until the link is used.
    """
    require_authority(actor, Permission.USERS_MANAGE, ANYWHERE, now)
    text = secrets.token_urlsafe(LINK_BYTES)
    SetupLink.objects.update_or_create(
        user=user, defaults={"digest": _digest(text), "created_at": now, "expires_at": now + LINK_LIFE}
    )
    _changed(user, "setup_link", actor, now, record)
    return text


def link_owner(*, text: str, now: datetime) -> User | None:
    """Return the person for whom this link still works."""
    link = SetupLink.objects.select_related("user").filter(digest=_digest(text), expires_at__gt=now).first()
    return link.user if link is not None and link.user.is_active else None


def redeem_setup_link(*, text: str, password: str, now: datetime, record: Record) -> User:
    """Set the password of the person the link was made for, use the link up and end their sessions.

    Raises NotFoundError for a text that is wrong, used or expired, InvalidError for a weak password
    (the link then still works). Of two at once one wins.
    """
    link = SetupLink.objects.select_for_update().filter(digest=_digest(text), expires_at__gt=now).first()
    if link is None:
        raise NotFoundError("not_found", "This link does not work, or no longer.")
    user = User.objects.select_for_update().get(pk=link.user_id)
    if not user.is_active:
        raise NotFoundError("not_found", "This link does not work, or no longer.")
    user.can_log_in = True
    link.delete()
    actor = Actor(kind="user", id=user.pk, auth="none", surface="console")
    replace_password(user=user, new=password, actor=actor, now=now, record=record)
    return user


def change_password(
    *,
    user: User,
    current: str,
    new: str,
    actor: Actor,
    now: datetime,
    record: Record,
    keep: str | None = None,
) -> User:
    """Replace one's own password and end all sessions but `keep` (a key digest).

    Raises InvalidError at `/current` when the present password is another one, at `/password` when the
    new one is weak or the same. Count the attempt first (`login_attempts`).
    """
    locked = User.objects.select_for_update().get(pk=user.pk)
    if not locked.is_active or not locked.check_password(current[:LONGEST_PASSWORD]):
        raise invalid("/current", "wrong", "This is not your present password.")
    replace_password(user=locked, new=new, actor=actor, now=now, record=record, keep=keep)
    return locked


def replace_password(
    *, user: User, new: str, actor: Actor, now: datetime, record: Record, keep: str | None = None
) -> None:
    """Set the password of a locked row whose owner has proved who they are; end all sessions but `keep`.

    Raises InvalidError at `/password` when it is weak or the present one.
    """
    if user.has_usable_password() and user.check_password(new[:LONGEST_PASSWORD]):
        raise invalid("/password", "same", "The new password is the present one.")
    set_password(user, new, now)
    user.must_change_password = False
    user.save(update_fields=["password", "password_changed_at", "must_change_password", "can_log_in"])
    _changed(user, "password", actor, now, record)
    end_sessions(user=user, reason="password_changed", actor=actor, now=now, record=record, keep=keep)


def _changed(user: User, what: str, actor: Actor, now: datetime, record: Record) -> None:
    record(event="user.changed", actor=actor, subject=user.pk, now=now, data={"changes": [what]})


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
