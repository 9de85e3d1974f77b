"""`authorize`: the one function that answers *may they?* No answer means no."""

from __future__ import annotations

from datetime import datetime, timedelta

from identity.access import FEATURE_OF, Registry, decide, safe_permissions, safe_roles
from identity.roles import (
    AGENT_PERMISSIBLE,
    MATRIX,
    NEEDS_FRESH_MFA,
    NEEDS_MFA,
    Permission,
    WorkspaceRole,
    permissions_of,
)
from identity.types import AuthStrength, AuthzVerdict, Principal, PrincipalKind

FRESH_CODE_SECONDS = 300
SHAREABLE = AGENT_PERMISSIBLE | {permission for permission in Permission if permission.endswith(".read")}
"""What a share with another workspace may open: reading and using, never managing or deciding."""

_PEOPLE = frozenset({PrincipalKind.USER})
_RANKED = tuple(WorkspaceRole)
_HELD_LOCALLY = {role: permissions_of(frozenset({role}), in_instance=False) for role in WorkspaceRole}
_HELD_WIDELY = {role: permissions_of(frozenset({role}), in_instance=True) for role in WorkspaceRole}


def authorize(
    principal: Principal,
    permission: str,
    *,
    workspace_id: str,
    shares: frozenset[str] = frozenset(),
    flags: Registry,
    now: datetime,
) -> AuthzVerdict:
    """Decide whether `principal` may use `permission` on an object of `workspace_id`.

    `shares` are the workspaces with which that object is shared, `flags` the feature flags, usually
    those the principal came with. The first reason that applies is given, in this order: anonymous,
    principal_inactive, workspace_mismatch, unknown_permission, feature_disabled, role_required,
    insufficient_scope, step_up_required, permitted. Pure and total.
    """
    outside = _outside(principal, workspace_id, shares)
    if outside is not None:
        return AuthzVerdict(False, outside)
    if permission not in MATRIX:
        return AuthzVerdict(False, "unknown_permission")
    known = Permission(permission)
    if not _is_on(principal, known, workspace_id, flags):
        return AuthzVerdict(False, "feature_disabled")
    role = _role_for(principal, known, workspace_id, shares, flags)
    if role is None:
        return AuthzVerdict(False, "role_required")
    if not _in_scope(principal, known, flags):
        return AuthzVerdict(False, "insufficient_scope", role)
    if strength_of(principal, now) < required_strength(known):
        return AuthzVerdict(False, "step_up_required", role)
    return AuthzVerdict(True, "permitted", role)


def _outside(principal: Principal, workspace_id: str, shares: frozenset[str]) -> str | None:
    if principal.kind is PrincipalKind.ANONYMOUS:
        return "anonymous"
    if not principal.active:
        return "principal_inactive"
    return None if _reaches(principal, workspace_id, shares) else "workspace_mismatch"


def required_strength(permission: Permission) -> AuthStrength:
    """Return the weakest proof of identity with which this permission may be used."""
    if permission in NEEDS_FRESH_MFA:
        return AuthStrength.FRESH_MFA
    return AuthStrength.MFA if permission in NEEDS_MFA else AuthStrength.NONE


def strength_of(principal: Principal, now: datetime) -> AuthStrength:
    """Return how strongly the principal stands *now*: a fresh code ages to `mfa` after 300 s."""
    age = now - principal.authenticated_at
    fresh = timedelta(0) <= age <= timedelta(seconds=FRESH_CODE_SECONDS)
    if principal.auth_strength is AuthStrength.FRESH_MFA and not fresh:
        return AuthStrength.MFA
    return principal.auth_strength


def _reaches(principal: Principal, workspace_id: str, shares: frozenset[str]) -> bool:
    own = principal.workspace_id
    return workspace_id == own or own in shares or bool(_instance_roles(principal))


def _instance_roles(principal: Principal) -> frozenset[WorkspaceRole]:
    return principal.instance_roles if principal.kind in _PEOPLE else frozenset()


def _is_on(principal: Principal, permission: Permission, workspace_id: str, flags: Registry) -> bool:
    feature = FEATURE_OF.get(permission)
    if feature is None:
        return True
    return decide(flags, feature, workspace_id=workspace_id, standing=principal.vouching).enabled


def _role_for(
    principal: Principal,
    permission: Permission,
    workspace_id: str,
    shares: frozenset[str],
    flags: Registry,
) -> WorkspaceRole | None:
    """The highest role that gives the permission here, or None."""
    shared = principal.workspace_id in shares and permission in SHAREABLE
    at_home = workspace_id == principal.workspace_id or shared
    local = safe_roles(flags, principal.roles) if at_home else frozenset[WorkspaceRole]()
    wide = safe_roles(flags, _instance_roles(principal))
    for role in _RANKED:
        if role in local and permission in _HELD_LOCALLY[role]:
            return role
        if role in wide and permission in _HELD_WIDELY[role]:
            return role
    return None


def _in_scope(principal: Principal, permission: Permission, flags: Registry) -> bool:
    if principal.kind in _PEOPLE:
        return permission in principal.permissions
    if permission not in principal.permissions or permission not in AGENT_PERMISSIBLE:
        return False
    return permission in safe_permissions(flags, frozenset({permission}))
