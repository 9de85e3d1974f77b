"""Every write to people, memberships and agents. Credentials are in `credentials.py`.

Each function runs inside the caller's transaction and leaves one event. The authority of an actor
who is a person is checked here against the memberships of this moment; `system` is the instance
itself (bootstrap, sweeper), and no agent or service changes identity.
"""

from __future__ import annotations

import re
from datetime import datetime

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from identity.lifecycle import AGENT_ALLOWED, AgentState
from identity.models import Agent, Membership, User, Workspace
from identity.roles import Permission, WorkspaceRole
from identity.selectors import DEFAULT, INSTANCE, effective_roles, permissions_of_user
from kernel.errors import ConflictError, Detail, InvalidError, NotFoundError, RefusedError
from kernel.ids import new_id
from kernel.record import Actor, Record
from kernel.state import transition

_USERNAME = re.compile(r"[a-z0-9][a-z0-9._@-]{2,149}")
_LONGEST_PASSWORD = 256
ANYWHERE = ""
"""In place of a workspace id: only roles in `instance` count."""
_GRANTABLE: dict[WorkspaceRole, frozenset[WorkspaceRole]] = {
    WorkspaceRole.OWNER: frozenset(WorkspaceRole),
    WorkspaceRole.ADMIN: frozenset(
        {WorkspaceRole.OPERATOR, WorkspaceRole.APPROVER, WorkspaceRole.AUDITOR, WorkspaceRole.VIEWER}
    ),
}


def require_authority(actor: Actor, permission: Permission, workspace_id: str, now: datetime) -> None:
    """Raise RefusedError unless the instance itself or a person who holds `permission` acts."""
    if actor.kind == "system":
        return
    if actor.kind == "user" and permission in permissions_of_user(
        user_id=actor.id, workspace_id=workspace_id, now=now
    ):
        return
    raise RefusedError("role_required", f"This needs the permission {permission}.")


def create_workspaces(*, actor: Actor, now: datetime, record: Record) -> tuple[Workspace, Workspace]:
    """Make the two built-in workspaces if they are missing; return (`instance`, `default`)."""
    if actor.kind != "system":
        raise RefusedError("role_required", "Only the instance makes its built-in workspaces.")
    instance = _built_in(INSTANCE, "Instance", actor, now, record)
    return instance, _built_in(DEFAULT, "Default", actor, now, record)


def _built_in(slug: str, name: str, actor: Actor, now: datetime, record: Record) -> Workspace:
    workspace, created = Workspace.objects.get_or_create(
        slug=slug, defaults={"id": new_id("wsp", now), "name": name, "created_at": now}
    )
    if created:
        record(
            event="workspace.changed",
            actor=actor,
            subject=workspace.pk,
            now=now,
            data={"change": "created", "slug": slug},
        )
    return workspace


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
    """Create a person. Without a password they can never log in and never count as a second person.

    Raises InvalidError for a name or password outside the rules, ConflictError for a taken name.
    """
    require_authority(actor, Permission.USERS_MANAGE, ANYWHERE, now)
    if not _USERNAME.fullmatch(username):
        raise _invalid("/username", "pattern", "Lower-case letters, digits and . _ @ - only; 3 to 150.")
    user = User(
        id=new_id("usr", now), username=username, display_name=display_name, email=email, created_at=now
    )
    _set_password(user, password, now)
    _insert(user, "This user name is taken.")
    record(
        event="user.created",
        actor=actor,
        subject=user.pk,
        now=now,
        data={"username": username, "can_log_in": user.can_log_in},
    )
    return user


def _set_password(user: User, password: str | None, now: datetime) -> None:
    if password is None:
        user.can_log_in = False
        user.set_unusable_password()
        return
    if len(password) > _LONGEST_PASSWORD:
        raise _invalid("/password", "max_length", f"At most {_LONGEST_PASSWORD} characters.")
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise _invalid("/password", "weak", " ".join(error.messages)) from None
    user.set_password(password)
    user.password_changed_at = now


def grant_membership(
    *,
    user: User,
    workspace: Workspace,
    role: WorkspaceRole,
    expires_at: datetime | None = None,
    actor: Actor,
    now: datetime,
    record: Record,
) -> Membership:
    """Give a person one more role. Nobody grants a role they do not outrank, nobody to themselves."""
    require_authority(actor, Permission.WORKSPACE_MEMBERSHIPS_MANAGE, workspace.pk, now)
    _require_outranked(actor, workspace, role, now)
    if actor.id == user.pk:
        raise RefusedError("role_required", "Nobody changes their own roles.")
    if expires_at is not None and expires_at <= now:
        raise _invalid("/expires_at", "past", "The end lies in the past.")
    membership = Membership(
        id=new_id("mbr", now),
        workspace=workspace,
        user=user,
        role=role,
        granted_by=actor.id,
        granted_at=now,
        expires_at=expires_at,
    )
    _insert(membership, "This person holds the role already.")
    _raise_epoch(user)
    record(
        event="membership.granted",
        actor=actor,
        subject=membership.pk,
        now=now,
        data={"user": user.pk, "team": None, "workspace": workspace.pk, "role": role.value},
    )
    return membership


def _require_outranked(actor: Actor, workspace: Workspace, role: WorkspaceRole, now: datetime) -> None:
    if actor.kind == "system":
        return
    own = effective_roles(user_id=actor.id, workspace_id=workspace.pk, now=now)
    if not any(role in _GRANTABLE.get(held, frozenset()) for held in own):
        raise RefusedError("role_required", f"The role {role} is not outranked by the granting person's.")


def _raise_epoch(user: User) -> None:
    locked = User.objects.select_for_update().get(pk=user.pk)
    locked.authority_epoch += 1
    locked.save(update_fields=["authority_epoch"])


def register_agent(
    *,
    owner: User,
    workspace: Workspace,
    name: str,
    purpose: str = "",
    actor: Actor,
    now: datetime,
    record: Record,
) -> Agent:
    """Register a program under a human owner who has at least one live role in the workspace."""
    require_authority(actor, Permission.AGENTS_MANAGE, workspace.pk, now)
    if not name.strip() or len(name) > 80:
        raise _invalid("/name", "length", "A name has 1 to 80 characters.")
    if not permissions_of_user(user_id=owner.pk, workspace_id=workspace.pk, now=now):
        raise _invalid("/owner", "no_role", "The owner has no live role in this workspace.")
    agent = Agent(
        id=new_id("agt", now), owner=owner, workspace=workspace, name=name, purpose=purpose, created_at=now
    )
    _insert(agent, "An agent of this name exists in the workspace.")
    record(
        event="agent.registered",
        actor=actor,
        subject=agent.pk,
        now=now,
        data={"name": name, "owner": owner.pk, "workspace": workspace.pk},
    )
    return agent


def suspend_agent(*, agent_id: str, reason: str, actor: Actor, now: datetime, record: Record) -> Agent:
    """Stop an agent: its next call fails to authenticate and its queued calls are refused at claim."""
    agent = _move_agent(agent_id, AgentState.ACTIVE, AgentState.SUSPENDED, actor, now)
    record(event="agent.suspended", actor=actor, subject=agent_id, now=now, data={"reason": reason})
    return agent


def resume_agent(*, agent_id: str, reason: str, actor: Actor, now: datetime, record: Record) -> Agent:
    """Let a suspended agent act again."""
    agent = _move_agent(agent_id, AgentState.SUSPENDED, AgentState.ACTIVE, actor, now)
    record(event="agent.resumed", actor=actor, subject=agent_id, now=now, data={"reason": reason})
    return agent


def _move_agent(agent_id: str, source: AgentState, target: AgentState, actor: Actor, now: datetime) -> Agent:
    agent = Agent.objects.select_for_update().filter(pk=agent_id).first()
    if agent is None:
        raise NotFoundError("not_found", "No such agent.")
    require_authority(actor, Permission.AGENTS_MANAGE, agent.workspace_id, now)
    transition(
        Agent.objects.filter(pk=agent_id),
        AGENT_ALLOWED,
        source=source,
        target=target,
        authority_epoch=agent.authority_epoch + 1,
    )
    agent.refresh_from_db()
    return agent


def _insert(row: User | Membership | Agent, taken: str) -> None:
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        raise ConflictError("conflict", taken) from None


def _invalid(pointer: str, code: str, detail: str) -> InvalidError:
    return InvalidError("invalid", detail, errors=(Detail(pointer, code, detail),))
