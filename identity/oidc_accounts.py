"""Which person an account at the provider belongs to. Issuer and subject say it, an e-mail never does."""

from __future__ import annotations

from datetime import datetime

from django.db import IntegrityError, transaction

from identity.authority import ANYWHERE, require_authority
from identity.inserting import invalid
from identity.models import User
from identity.oidc import Client
from identity.roles import Permission
from identity.sessions import end_sessions
from kernel.errors import ConflictError
from kernel.record import Actor, Record

_LONGEST = 255


def person_of(issuer: str, subject: str) -> User | None:
    """Return the person whose account this is."""
    return User.objects.filter(oidc_issuer=issuer, oidc_subject=subject).first()


def link_account(
    *, user: User, issuer: str, subject: str, actor: Actor, now: datetime, record: Record
) -> None:
    """Let this account sign the person in, in place of any other account; a password is not needed then.

    Raises ConflictError when it is another person's already. The person's console sessions end, because
    what proves them changed.
    """
    if not 0 < len(issuer) <= _LONGEST or not 0 < len(subject) <= _LONGEST or "\0" in issuer + subject:
        raise invalid("/subject", "length", f"Issuer and subject have 1 to {_LONGEST} characters.")
    _set(user, issuer, subject, actor, now, record)


def unlink_account(*, user: User, actor: Actor, now: datetime, record: Record) -> None:
    """Take the account away from the person, who signs in by password from now on, or not at all."""
    _set(user, None, None, actor, now, record)


def is_of(user: User, client: Client) -> bool:
    """Tell whether this person has an account at this provider."""
    return user.oidc_issuer == client.issuer and user.oidc_subject is not None


def _set(
    user: User, issuer: str | None, subject: str | None, actor: Actor, now: datetime, record: Record
) -> None:
    require_authority(actor, Permission.USERS_MANAGE, ANYWHERE, now)
    locked = User.objects.select_for_update().get(pk=user.pk)
    if (locked.oidc_issuer, locked.oidc_subject) == (issuer, subject):
        return
    try:
        with transaction.atomic():
            User.objects.filter(pk=user.pk).update(
                oidc_issuer=issuer,
                oidc_subject=subject,
                can_log_in=subject is not None or locked.has_usable_password(),
            )
    except IntegrityError:
        raise ConflictError("conflict", "This account belongs to another person.") from None
    record(
        event="user.changed",
        actor=actor,
        subject=user.pk,
        now=now,
        data={"changes": ["oidc_issuer", "oidc_subject"]},
    )
    end_sessions(user=user, reason="factor_changed", actor=actor, now=now, record=record)
