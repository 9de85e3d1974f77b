"""Management verbs: the identity permission and a Cedar allow."""

from __future__ import annotations

from datetime import datetime

from approvals.models import ApprovalRequest
from identity.authorization import authorize
from identity.roles import Permission
from identity.types import Principal
from kernel.errors import AuthenticationError, RefusedError
from policy import services as policy
from policy.types import Effect, EntityRef


def require_permission(
    principal: Principal, permission: Permission, workspace_id: str, now: datetime
) -> None:
    """Raise RefusedError or AuthenticationError unless the matrix lets this principal do it here."""
    verdict = authorize(principal, permission, workspace_id=workspace_id, now=now)
    if verdict.allowed:
        return
    if verdict.reason == "step_up_required":
        raise AuthenticationError("step_up_required", f"{permission.value} needs a one-time code.")
    code = "insufficient_scope" if verdict.reason == "insufficient_scope" else "role_required"
    raise RefusedError(code, f"This needs the permission {permission.value}.")


def require_governed(
    principal: Principal, permission: Permission, request: ApprovalRequest, now: datetime
) -> None:
    """Raise RefusedError unless the active policy set permits this verb on the request."""
    decision = policy.permit_governance(
        principal=principal,
        permission=permission,
        resource=EntityRef("ApprovalRequest", request.id),
        workspace_id=request.workspace_id,
        now=now,
    )
    if decision.effect is not Effect.ALLOW:
        raise RefusedError("role_required", f"Policy does not permit {permission.value} here.")
