"""Verbs on people. All of them are for owners of the instance, behind a fresh one-time code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction

from governance import authority, idempotency
from governance.authority import needs
from governance.idempotency import Ticket
from governance.journal.ledger import record
from identity import passwords, people
from identity.models import User
from identity.roles import Permission
from identity.selectors import INSTANCE, user_by_name, workspace_by_slug
from identity.types import Principal
from kernel.errors import NotFoundError
from kernel.record import system_actor

Render = Callable[[User], object]


@dataclass(frozen=True, slots=True)
class CreatedUser:
    """A person and, this once, the text of the link with which they set their password."""

    user: User
    setup_link: str = field(repr=False)

    def address(self, origin: str) -> str:
        """Return the page on which the link is used."""
        return f"{origin}/admin/setup/{self.setup_link}/"


@needs(Permission.USERS_MANAGE)
def create(
    *,
    principal: Principal,
    username: str,
    email: str,
    display_name: str = "",
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[CreatedUser], object] | None = None,
) -> CreatedUser:
    """Create a person without a password and without a role."""
    with transaction.atomic(durable=True):
        _require_authority(principal, now)
        actor = principal.actor()
        user = people.create_user(
            username=username,
            password=None,
            display_name=display_name,
            email=email,
            actor=actor,
            now=now,
            record=record,
        )
        link = passwords.issue_setup_link(user=user, actor=actor, now=now, record=record)
        made = CreatedUser(user, link)
        idempotency.store_rendered(ticket, render, made, status=201, object_id=user.pk)
    return made


@needs(Permission.USERS_MANAGE)
def change(
    *,
    principal: Principal,
    user_id: str,
    changes: Mapping[str, str],
    seen_version: int | None = None,
    now: datetime,
) -> User:
    """Change what is written about a person: `display_name`, `email`."""
    with transaction.atomic(durable=True):
        _require_authority(principal, now)
        return people.change_user(
            user_id=user_id,
            changes=changes,
            seen_version=seen_version,
            actor=principal.actor(),
            now=now,
            record=record,
        )


@needs(Permission.USERS_MANAGE)
def disable(
    *,
    principal: Principal,
    user_id: str,
    reason: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> User:
    """Stop a person. Their agents are refused from the next call on, queued calls at claim."""
    with transaction.atomic(durable=True):
        _require_authority(principal, now)
        user = people.disable_user(
            user_id=user_id, reason=reason, actor=principal.actor(), now=now, record=record
        )
        idempotency.store_rendered(ticket, render, user, status=200, object_id=user_id)
    return user


@needs(Permission.USERS_MANAGE)
def enable(
    *,
    principal: Principal,
    user_id: str,
    reason: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> User:
    """Let a disabled person act again, with the roles they have."""
    with transaction.atomic(durable=True):
        _require_authority(principal, now)
        user = people.enable_user(
            user_id=user_id, reason=reason, actor=principal.actor(), now=now, record=record
        )
        idempotency.store_rendered(ticket, render, user, status=200, object_id=user_id)
    return user


@needs(Permission.USERS_MANAGE)
def reset_factor(
    *,
    principal: Principal,
    user_id: str,
    reason: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[CreatedUser], object] | None = None,
) -> CreatedUser:
    """Take a person's authenticator, recovery codes and password away and give a new setup link."""
    with transaction.atomic(durable=True):
        _require_authority(principal, now)
        user, link = people.reset_factor(
            user_id=user_id, reason=reason, actor=principal.actor(), now=now, record=record
        )
        made = CreatedUser(user, link)
        idempotency.store_rendered(ticket, render, made, status=200, object_id=user_id)
    return made


@needs(None)
def reset_factor_on_the_machine(*, username: str, reason: str, now: datetime) -> CreatedUser:
    """As `reset_factor`, for whoever holds the machine; the last owner of the instance too."""
    with transaction.atomic(durable=True):
        user = user_by_name(username)
        if user is None:
            raise NotFoundError("not_found", "There is no such person.")
        changed, link = people.reset_factor(
            user_id=user.pk, reason=reason, actor=system_actor("shell"), now=now, record=record
        )
        return CreatedUser(changed, link)


def _require_authority(principal: Principal, now: datetime) -> None:
    instance = workspace_by_slug(INSTANCE)
    authority.require_verb(principal, Permission.USERS_MANAGE, instance.pk, now)
