"""Which person an account at the provider belongs to. Issuer and subject say it, an e-mail never does."""

from __future__ import annotations

import re
from datetime import datetime

from django.db import IntegrityError, transaction

from identity.authority import ANYWHERE, require_authority
from identity.inserting import invalid
from identity.invitations import accept_offer
from identity.models import Invitation, User
from identity.oidc import Client, ProvedIdentity
from identity.owners import hold_every_workspace, require_owner_left
from identity.people import create_user
from identity.roles import Permission
from identity.selectors import user_by_name
from identity.sessions import end_sessions
from kernel.errors import ConflictError
from kernel.record import Actor, Record, system_actor

_LONGEST = 255
_LONGEST_NAME = 120
_LONGEST_BASE = 140
_MOST_NAMESAKES = 10


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


def admit_invited(*, proved: ProvedIdentity, invitation: Invitation, now: datetime, record: Record) -> User:
    """Make the person whom an open invitation expects, with the account that proved the invited address.

    They get the offered role and no password. Raises what accepting an invitation raises.
    """
    system = system_actor("console")
    name = proved.name if proved.name.isprintable() else ""
    user = create_user(
        username=_free_username(proved.email),
        password=None,
        display_name=name.strip()[:_LONGEST_NAME],
        email=proved.email,
        actor=system,
        now=now,
        record=record,
    )
    link_account(
        user=user, issuer=proved.issuer, subject=proved.subject, actor=system, now=now, record=record
    )
    actor = Actor(kind="user", id=user.pk, auth="none", surface="console")
    accept_offer(invitation_id=invitation.pk, user=user, actor=actor, now=now, record=record)
    user.refresh_from_db()
    return user


def unlink_account(*, user: User, actor: Actor, now: datetime, record: Record) -> None:
    """Take the account away from the person, who signs in by password from now on, or not at all.

    Raises ConflictError `last_owner` when a workspace would lose its last owner who can log in.
    """
    places = hold_every_workspace()
    if not User.objects.get(pk=user.pk).has_usable_password():
        for place in places:
            require_owner_left(place, lambda one: one.user == user.pk)
    _set(user, None, None, actor, now, record)


def is_of(user: User, client: Client) -> bool:
    """Tell whether this person has an account at this provider."""
    return user.oidc_issuer == client.issuer and user.oidc_subject is not None


def _free_username(email: str) -> str:
    """Return a user name made of an address; a number tells it from one that is taken."""
    base = re.sub(r"[^a-z0-9._@-]", "-", email.lower())[:_LONGEST_BASE].lstrip("._@-").ljust(3, "0")
    for number in range(1, _MOST_NAMESAKES):
        name = base if number == 1 else f"{base}-{number}"
        if user_by_name(name) is None:
            return name
    raise ConflictError("conflict", "No user name is left for this address.")


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
