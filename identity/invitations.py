"""Every write to invitations: the offer of one role to whoever holds a text.

The text is 32 random bytes, shown once; its SHA-256 is stored. It is accepted by a person who is
logged in: the e-mail address says whom it was meant for and is never matched with accounts.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from identity.authority import require_authority
from identity.inserting import insert, invalid
from identity.memberships import place_membership, require_outranked
from identity.models import Invitation, Membership, User
from identity.owners import hold_workspace
from identity.roles import Permission, WorkspaceRole
from identity.texts import require_email
from kernel.errors import ConflictError, NotFoundError, RefusedError
from kernel.ids import new_id
from kernel.record import Actor, Record

PREFIX = "pli_"
LONGEST_DAYS = 30


@dataclass(frozen=True, slots=True)
class Invited:
    """A new invitation and, this once, its text."""

    invitation: Invitation
    text: str = field(repr=False)


def create_invitation(
    *,
    workspace_id: str,
    email: str,
    role: WorkspaceRole,
    expires_in_days: int,
    actor: Actor,
    now: datetime,
    record: Record,
) -> Invited:
    """Offer a role that the actor outranks. Raises InvalidError, RefusedError, NotFoundError."""
    workspace = hold_workspace(workspace_id)
    _require_may_invite(actor, workspace_id, role, now)
    if not 1 <= expires_in_days <= LONGEST_DAYS:
        raise invalid("/expires_in_days", "range", f"1 to {LONGEST_DAYS} days.")
    text = PREFIX + secrets.token_urlsafe(32)
    invitation = Invitation(
        id=new_id("inv", now),
        workspace=workspace,
        email=require_email("/email", email),
        role=role,
        digest=digest_of(text),
        invited_by=actor.id,
        created_at=now,
        expires_at=now + timedelta(days=expires_in_days),
    )
    insert(invitation, "Try again.")
    record(
        event="invitation.created",
        actor=actor,
        subject=invitation.pk,
        now=now,
        data={"workspace": workspace_id, "role": role.value, "expires_at": invitation.expires_at.isoformat()},
    )
    return Invited(invitation, text)


def accept_invitation(*, text: str, user: User, actor: Actor, now: datetime, record: Record) -> Membership:
    """Give `user` the offered role, once.

    Whoever invited must still be entitled to. Nobody accepts an own invitation. Raises NotFoundError for
    an unknown text, ConflictError for an offer that ended and for a role that is held, RefusedError.
    """
    found = _found(text)
    return accept_offer(invitation_id=found.pk, user=user, actor=actor, now=now, record=record)


def accept_offer(
    *, invitation_id: str, user: User, actor: Actor, now: datetime, record: Record
) -> Membership:
    """As `accept_invitation`, for somebody whom a sign-in provider proved to own the invited address."""
    hold_workspace(Invitation.objects.get(pk=invitation_id).workspace_id)
    invitation = Invitation.objects.select_for_update().get(pk=invitation_id)
    _require_open(invitation, now)
    inviter = Actor(kind="user", id=invitation.invited_by, auth="none", surface=actor.surface)
    role = WorkspaceRole(invitation.role)
    _require_may_invite(inviter, invitation.workspace_id, role, now)
    if invitation.invited_by == user.pk:
        raise RefusedError("role_required", "Nobody changes their own roles.")
    if not User.objects.filter(pk=user.pk, is_active=True).exists():
        raise RefusedError("role_required", "This person is disabled.")
    invitation.accepted_at, invitation.accepted_by = now, user.pk
    invitation.save(update_fields=["accepted_at", "accepted_by"])
    record(
        event="invitation.accepted",
        actor=actor,
        subject=invitation.pk,
        now=now,
        data={"user": user.pk, "workspace": invitation.workspace_id, "role": role.value},
    )
    return place_membership(
        user=user,
        workspace=invitation.workspace,
        role=role,
        granted_by=invitation.invited_by,
        actor=actor,
        now=now,
        record=record,
    )


def revoke_invitation(*, invitation_id: str, actor: Actor, now: datetime, record: Record) -> Invitation:
    """Withdraw an offer. Doing it again changes nothing; ConflictError for one that was accepted."""
    invitation = Invitation.objects.select_for_update().filter(pk=invitation_id).first()
    if invitation is None:
        raise NotFoundError("not_found", "There is no such invitation.")
    require_authority(actor, Permission.INVITATIONS_MANAGE, invitation.workspace_id, now)
    if invitation.accepted_at is not None:
        raise ConflictError("state_changed", "The invitation was accepted.")
    if invitation.revoked_at is not None:
        return invitation
    invitation.revoked_at = now
    invitation.save(update_fields=["revoked_at"])
    record(
        event="invitation.revoked",
        actor=actor,
        subject=invitation.pk,
        now=now,
        data={"workspace": invitation.workspace_id},
    )
    return invitation


def place_of(text: str) -> str:
    """Return the id of the workspace that this text invites to, or raise NotFoundError."""
    return _found(text).workspace_id


def open_offer(*, email: str, now: datetime) -> Invitation | None:
    """Return the newest open invitation for this address, whatever the case of its ASCII letters.

    The database may take more for equal than letters that are the same, so equality is decided here.
    """
    rows = Invitation.objects.filter(email__iexact=email, accepted_at__isnull=True, revoked_at__isnull=True)
    for row in rows.filter(expires_at__gt=now).order_by("-created_at", "-id"):
        plain = row.email.isascii() and email.isascii()
        if row.email == email or (plain and row.email.lower() == email.lower()):
            return row
    return None


def state_of(invitation: Invitation, now: datetime) -> str:
    """Return open, accepted, revoked or expired."""
    if invitation.accepted_at is not None:
        return "accepted"
    if invitation.revoked_at is not None:
        return "revoked"
    return "open" if invitation.expires_at > now else "expired"


def digest_of(text: str) -> bytes:
    """Return what is stored of an invitation's text."""
    return hashlib.sha256(text.encode()).digest()


def _found(text: str) -> Invitation:
    found = Invitation.objects.filter(digest=digest_of(text)).first()
    if found is None:
        raise NotFoundError("not_found", "There is no such invitation.")
    return found


def _require_open(invitation: Invitation, now: datetime) -> None:
    state = state_of(invitation, now)
    if state != "open":
        raise ConflictError("state_changed", f"The invitation is {state}.")


def _require_may_invite(actor: Actor, workspace_id: str, role: WorkspaceRole, now: datetime) -> None:
    require_authority(actor, Permission.INVITATIONS_MANAGE, workspace_id, now)
    require_outranked(actor, workspace_id, (role,), now)
