"""Management verbs: the identity permission and a Cedar allow."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from identity.access import FEATURE_OF, decide
from identity.authorization import authorize, strength_of
from identity.roles import Permission
from identity.types import AuthStrength, Principal
from kernel.errors import AuthenticationError, RefusedError, UnavailableError
from policy import services as policy
from policy.types import Code, Effect, EntityRef

F = TypeVar("F", bound=Callable[..., object])

SERVER = EntityRef("Server", "palyra")
"""What a verb on the whole installation is done to."""


def needs(permission: Permission | None) -> Callable[[F], F]:
    """Declare on an operation the permission it asks for; None for what needs no role.

    The operation asks for it itself, for the right workspace and under its lock. The declaration lets a
    test find an operation that asks for nothing.
    """

    def declare(operation: F) -> F:
        operation.permission = permission  # type: ignore[attr-defined]  # functions take attributes
        return operation

    return declare


def require_permission(
    principal: Principal, permission: Permission, workspace_id: str, now: datetime
) -> None:
    """Raise RefusedError or AuthenticationError unless the matrix lets this principal do it here."""
    verdict = authorize(principal, permission, workspace_id=workspace_id, flags=principal.flags, now=now)
    if verdict.allowed:
        return
    if verdict.reason == "step_up_required":
        raise AuthenticationError("step_up_required", f"{permission.value} needs a one-time code.")
    if verdict.reason == "feature_disabled":
        raise RefusedError("feature_disabled", f"The feature {FEATURE_OF[permission]} is off here.")
    if verdict.reason == "insufficient_scope":
        raise RefusedError("insufficient_scope", f"This credential does not hold {permission.value}.")
    raise RefusedError("role_required", f"This needs the permission {permission.value}.")


def require_fresh_code(principal: Principal, now: datetime) -> None:
    """Raise AuthenticationError `step_up_required` without a one-time code of the last five minutes.

    For verbs that ask for one whatever their permission says.
    """
    if strength_of(principal, now) < AuthStrength.FRESH_MFA:
        raise AuthenticationError("step_up_required", "This needs a fresh one-time code.")


def require_feature(principal: Principal, key: str, workspace_id: str) -> None:
    """Raise RefusedError `feature_disabled` while this feature is off for the principal there."""
    standing = principal.vouching
    if not decide(principal.flags, key, workspace_id=workspace_id, standing=standing).enabled:
        raise RefusedError("feature_disabled", f"The feature {key} is off here.")


def require_verb(
    principal: Principal,
    permission: Permission,
    workspace_id: str,
    now: datetime,
    *,
    resource: EntityRef | None = None,
) -> None:
    """Ask both locks of a management verb: the permission, and a Cedar allow of its governance action.

    The verb is done to `resource`, or to the workspace. Raises as `require_permission` and
    `require_policy`.
    """
    require_permission(principal, permission, workspace_id, now)
    within = resource or EntityRef("Workspace", workspace_id)
    require_policy(principal, permission, within, workspace_id, now)


def require_policy(
    principal: Principal, permission: Permission, resource: EntityRef, workspace_id: str, now: datetime
) -> None:
    """Raise RefusedError unless the active policy set permits this verb on the resource.

    UnavailableError `not_ready` while no set can be asked: then nothing is governed, and nothing changes.
    """
    decision = policy.permit_governance(
        principal=principal, permission=permission, resource=resource, workspace_id=workspace_id, now=now
    )
    if decision.reason_code == Code.NO_ACTIVE_SET:
        raise UnavailableError("not_ready", decision.reason)
    if decision.effect is not Effect.ALLOW:
        raise RefusedError("role_required", f"Policy does not permit {permission.value} here.")
