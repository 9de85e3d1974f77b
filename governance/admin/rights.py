"""Who may do what, and why: every permission put to `authorize`, the function that decides it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from identity.access import FEATURE_OF, safe_permissions
from identity.authorization import authorize, required_strength
from identity.models import Agent, ApiToken, Membership, User, Workspace
from identity.place_selectors import memberships_of
from identity.roles import (
    AGENT_PERMISSIBLE,
    INSTANCE_ONLY,
    MATRIX,
    Permission,
    WorkspaceRole,
    narrowed,
)
from identity.selectors import (
    INSTANCE,
    permissions_at,
    principal_of_agent,
    principal_of_user,
    standing_of,
)
from identity.token_selectors import is_usable
from identity.types import AuthStrength, Principal

MOST_TOKENS = 100
_PROOFS = {
    AuthStrength.NONE: "any sign-in",
    AuthStrength.MFA: "a second factor",
    AuthStrength.FRESH_MFA: "a code of the last 5 minutes",
}


@dataclass(frozen=True, slots=True)
class Right:
    """One permission of a person: `source` is where it comes from, `why_not` the reason without it."""

    permission: Permission
    allowed: bool
    source: str = ""
    proof: str = ""
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Rights:
    """What a person holds and lacks in one workspace; `barrier` is a reason that stops everything."""

    held: tuple[Right, ...]
    missing: tuple[Right, ...]
    barrier: str = ""

    @property
    def by_source(self) -> list[tuple[str, str, list[Permission]]]:
        """The held permissions under (source, proof), so that a person reads a few lines, not fifty."""
        return _grouped((right.source, right.proof, right.permission) for right in self.held)

    @property
    def by_reason(self) -> list[tuple[str, str, list[Permission]]]:
        """The others under the reason."""
        return _grouped((right.why_not, "", right.permission) for right in self.missing)


@dataclass(frozen=True, slots=True)
class AgentRight:
    """One permission as an agent comes by it: it acts with what all three of the others grant.

    `why_not` is a reason beyond those three.
    """

    permission: Permission
    is_permissible: bool
    owner_holds: bool
    in_token: bool
    holds: bool
    why_not: str


def _grouped(rows: Iterable[tuple[str, str, Permission]]) -> list[tuple[str, str, list[Permission]]]:
    groups: dict[tuple[str, str], list[Permission]] = {}
    for first, second, permission in rows:
        groups.setdefault((first, second), []).append(permission)
    return [(*key, sorted(permissions)) for key, permissions in groups.items()]


def live_roles(user: User, workspace: Workspace, now: datetime) -> list[Membership]:
    """Return the memberships that give this person rights in the workspace, its own first."""
    rows = memberships_of([user.pk]).filter(workspace__archived_at__isnull=True)
    found = [
        row
        for row in rows
        if (row.expires_at is None or row.expires_at > now)
        and (row.workspace_id == workspace.pk or row.workspace.slug == INSTANCE)
    ]
    return sorted(found, key=lambda row: (row.workspace.slug == INSTANCE, row.pk))


def rights_of(user: User, workspace: Workspace, now: datetime) -> Rights:
    """Return every permission of a person here, as it stands with a code just entered."""
    principal = principal_of_user(
        user=user,
        workspace_id=workspace.pk,
        strength=AuthStrength.FRESH_MFA,
        client_ip="",
        request_id="",
        authenticated_at=now,
        now=now,
    )
    given = live_roles(user, workspace, now)
    rights = [_right(principal, permission, workspace, given, now) for permission in Permission]
    return Rights(
        held=tuple(right for right in rights if right.allowed),
        missing=tuple(right for right in rights if not right.allowed),
        barrier="" if user.is_active else "This person is disabled and may do nothing.",
    )


def _right(
    principal: Principal,
    permission: Permission,
    workspace: Workspace,
    given: Sequence[Membership],
    now: datetime,
) -> Right:
    verdict = authorize(principal, permission, workspace_id=workspace.pk, flags=principal.flags, now=now)
    if not verdict.allowed:
        return Right(permission, False, why_not=_why_not(verdict.reason, permission))
    return Right(
        permission,
        True,
        source=_source(verdict.role, permission, given),
        proof=_PROOFS.get(required_strength(permission), "any sign-in"),
    )


def _source(role: WorkspaceRole | None, permission: Permission, given: Sequence[Membership]) -> str:
    """The membership that gives it; in safe mode a role may count that no membership names."""
    for row in given:
        in_instance = row.workspace.slug == INSTANCE
        if row.role == role and (in_instance or permission not in INSTANCE_ONLY):
            through = f", through the team {row.team.name}" if row.team else ""
            return f"{row.role} in {row.workspace.name}{through}"
    return f"{role} in safe mode" if role else ""


def _why_not(reason: str, permission: Permission) -> str:
    if reason == "feature_disabled":
        return f"The feature {FEATURE_OF[permission]} is off here."
    if reason != "role_required":
        return {"principal_inactive": "The person is disabled."}.get(reason, reason.replace("_", " "))
    roles = ", ".join(role.value for role in WorkspaceRole if role in MATRIX[permission])
    where = " in the workspace Instance" if permission in INSTANCE_ONLY else ""
    return f"Given by {roles}{where}."


def live_tokens(agent: Agent, now: datetime) -> list[ApiToken]:
    """Return the agent's tokens that may still open something; it does not matter who looks."""
    rows = ApiToken.objects.filter(principal_agent=agent, revoked_at__isnull=True, expires_at__gt=now)
    return list(rows.order_by("-pk")[:MOST_TOKENS])


def rights_of_agent(agent: Agent, tokens: Sequence[ApiToken], now: datetime) -> tuple[AgentRight, ...]:
    """Return how an agent comes by each permission: its tokens, what an agent may hold, its owner's.

    `holds` is what its usable tokens open now, asked of `authorize` as for a real call. Features that
    are on for some people only are asked for the minter of the newest token.
    """
    live = [token for token in tokens if is_usable(token, now)]
    scopes = frozenset(scope for token in live for scope in token.scopes)
    newest = max(live, key=lambda token: token.pk, default=None)
    owned = permissions_at(standing_of(user_id=agent.owner_id, workspace_id=agent.workspace_id, now=now))
    principal = principal_of_agent(agent=agent, token=newest, client_ip="", request_id="", now=now)
    bounded = safe_permissions(principal.flags, owned & AGENT_PERMISSIBLE)
    acting = replace(principal, permissions=narrowed(bounded, scopes))
    return tuple(
        _agent_right(
            acting, permission, owner_holds=permission in owned, in_token=permission in scopes, now=now
        )
        for permission in Permission
        if permission in AGENT_PERMISSIBLE or permission in scopes
    )


def _agent_right(
    acting: Principal, permission: Permission, *, owner_holds: bool, in_token: bool, now: datetime
) -> AgentRight:
    verdict = authorize(acting, permission, workspace_id=acting.workspace_id, flags=acting.flags, now=now)
    is_permissible = permission in AGENT_PERMISSIBLE
    why_not = ""
    if verdict.reason == "principal_inactive":
        why_not = "The agent, its owner or the workspace is not in use."
    elif not verdict.allowed and is_permissible and owner_holds and in_token:
        why_not = _why_not(verdict.reason, permission)
    return AgentRight(permission, is_permissible, owner_holds, in_token, verdict.allowed, why_not)
