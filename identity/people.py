"""Every write to people. Their roles are in `memberships.py`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from identity.authority import ANYWHERE, require_authority
from identity.inserting import insert, invalid
from identity.models import ApiToken, RecoveryCode, SetupLink, TotpFactor, User
from identity.owners import hold_every_workspace, hold_user, require_owner_left
from identity.passwords import issue_setup_link, set_password
from identity.revocation import revoke_token
from identity.roles import Permission
from identity.selectors import INSTANCE, workspace_by_slug
from identity.sessions import end_sessions
from identity.texts import require_email, require_name, require_note
from identity.tokens import TokenKind
from kernel.errors import ConflictError, PreconditionFailedError, RefusedError
from kernel.ids import new_id
from kernel.record import Actor, Record

LONGEST_NAME = 120
LONGEST_REASON = 500
RESET = "factor_reset"
_USERNAME = re.compile(r"[a-z0-9][a-z0-9._@-]{2,149}")


def create_user(
    *,
    username: str,
    password: str | None,
    display_name: str = "",
    email: str = "",
    actor: Actor,
    now: datetime,
    record: Record,
) -> User:
    """Create a person. Without a password they cannot log in, until a setup link gives them one.

    Raises InvalidError for a name or password outside the rules, ConflictError for a taken name.
    """
    require_authority(actor, Permission.USERS_MANAGE, ANYWHERE, now)
    if not _USERNAME.fullmatch(username):
        raise invalid("/username", "pattern", "Lower-case letters, digits and . _ @ - only; 3 to 150.")
    user = User(
        id=new_id("usr", now),
        username=username,
        display_name=require_name("/display_name", display_name, LONGEST_NAME) if display_name else "",
        email=require_email("/email", email) if email else "",
        created_at=now,
    )
    set_password(user, password, now)
    insert(user, "This user name is taken.")
    record(
        event="user.created",
        actor=actor,
        subject=user.pk,
        now=now,
        data={"username": username, "can_log_in": user.can_log_in},
    )
    return user


def change_user(
    *,
    user_id: str,
    changes: Mapping[str, str],
    seen_version: int | None = None,
    actor: Actor,
    now: datetime,
    record: Record,
) -> User:
    """Change `display_name` and `email`; an empty text clears them.

    Raises PreconditionFailedError when the person changed since `seen_version`, InvalidError for any
    other field or a value outside the rules, NotFoundError.
    """
    user = hold_user(user_id)
    require_authority(actor, Permission.USERS_MANAGE, ANYWHERE, now)
    if seen_version is not None and seen_version != user.version:
        raise PreconditionFailedError("precondition_failed", "The person was changed meanwhile.")
    wanted = {name: _value(name, text) for name, text in changes.items()}
    changed = sorted(name for name, text in wanted.items() if getattr(user, name) != text)
    if not changed:
        return user
    for name in changed:
        setattr(user, name, wanted[name])
    user.version += 1
    user.save(update_fields=[*changed, "version"])
    record(event="user.changed", actor=actor, subject=user.pk, now=now, data={"changes": changed})
    return user


def disable_user(*, user_id: str, reason: str, actor: Actor, now: datetime, record: Record) -> User:
    """Stop a person: their sessions end, their tokens and agents are refused from the next call on.

    Roles stay, so that `enable_user` restores what was. Raises ConflictError `last_owner` when a
    workspace would lose its last owner, `state_changed` for somebody disabled, RefusedError for oneself.
    """
    for workspace_id in hold_every_workspace():
        require_owner_left(workspace_id, lambda one: one.user == user_id)
    _hold_link(user_id)
    user = _held(user_id, actor, now)
    if actor.id == user.pk:
        raise RefusedError("role_required", "Nobody disables themselves.")
    if not user.is_active:
        raise ConflictError("state_changed", "This person is disabled already.")
    user.is_active = False
    SetupLink.objects.filter(user=user).update(expires_at=now)
    end_sessions(user=user, reason="disabled", actor=actor, now=now, record=record)
    return _moved(user, "user.disabled", reason, actor, now, record)


def enable_user(*, user_id: str, reason: str, actor: Actor, now: datetime, record: Record) -> User:
    """Let a disabled person act again, with the roles and tokens they have."""
    user = _held(user_id, actor, now)
    if user.is_active:
        raise ConflictError("state_changed", "This person is not disabled.")
    user.is_active = True
    return _moved(user, "user.enabled", reason, actor, now, record)


def reset_factor(
    *, user_id: str, reason: str, actor: Actor, now: datetime, record: Record
) -> tuple[User, str]:
    """Take away a person's authenticator, recovery codes, password, sessions and personal tokens.

    Returns the text of a setup link. What acts for the person (agents, services) goes on.

    The password goes too: whoever stole it could else enrol an authenticator of their own. Raises
    ConflictError for somebody disabled, somebody who is to log in never, and the last owner of the
    instance, unless the instance itself asks: whoever holds the machine can help an owner who lost the
    authenticator. RefusedError for oneself.
    """
    hold_every_workspace()
    if actor.kind != "system":
        require_owner_left(workspace_by_slug(INSTANCE).pk, lambda one: one.user == user_id)
    _hold_link(user_id)
    user = _held(user_id, actor, now)
    if actor.id == user.pk:
        raise RefusedError("role_required", "Nobody resets their own authenticator.")
    if not user.is_active or not _has_a_door(user):
        raise ConflictError("state_changed", "This person cannot log in.")
    set_password(user, None, now)
    user.must_change_password = False
    TotpFactor.objects.filter(user=user).delete()
    RecoveryCode.objects.filter(user=user).delete()
    end_sessions(user=user, reason=RESET, actor=actor, now=now, record=record)
    _revoke_personal_tokens(user, actor, now, record)
    _moved(user, "factor.reset", reason, actor, now, record)
    return user, issue_setup_link(user=user, actor=actor, now=now, record=record)


def _revoke_personal_tokens(user: User, actor: Actor, now: datetime, record: Record) -> None:
    """A personal token stands for a login with the factor that is gone."""
    tokens = ApiToken.objects.filter(principal_user=user, kind=TokenKind.USER, revoked_at__isnull=True)
    for token_id in tokens.order_by("pk").values_list("pk", flat=True):
        revoke_token(token_id=token_id, reason=RESET, actor=actor, now=now, record=record)


def _has_a_door(user: User) -> bool:
    """Tell whether somebody logs in, or was once given a link to; the owner of a demo never was."""
    return user.can_log_in or SetupLink.objects.filter(user=user).exists()


def _hold_link(user_id: str) -> None:
    """Take a setup link before its person, as whoever redeems it does: in another order both would wait."""
    list(SetupLink.objects.select_for_update().filter(user_id=user_id))


def _held(user_id: str, actor: Actor, now: datetime) -> User:
    user = hold_user(user_id)
    require_authority(actor, Permission.USERS_MANAGE, ANYWHERE, now)
    return user


def _value(name: str, text: str) -> str:
    if name not in ("display_name", "email"):
        raise invalid(f"/{name}", "unknown", "This cannot be changed.")
    if not text:
        return ""
    if name == "email":
        return require_email("/email", text)
    return require_name("/display_name", text, LONGEST_NAME)


def _moved(user: User, event: str, reason: str, actor: Actor, now: datetime, record: Record) -> User:
    """Store a person whose standing changed; elevations from before count no more."""
    user.version += 1
    user.authority_epoch += 1
    user.save()
    why = require_note("/reason", reason, LONGEST_REASON)
    record(event=event, actor=actor, subject=user.pk, now=now, data={"reason": why})
    return user
