"""Who may change what is decided: the identity permission and Cedar's own word, both."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from identity.authority import require_authority
from identity.models import Workspace
from identity.roles import NEEDS_MFA, Permission
from identity.selectors import INSTANCE
from kernel.errors import RefusedError
from kernel.record import Actor
from policy.decisions import govern
from policy.snapshot import principal_facts, principal_ref
from policy.types import AgentFacts, Effect, EntityRef, PolicyRequestContext, UserFacts


def require_governance(
    actor: Actor, permission: Permission, resource: EntityRef, workspace_id: str, now: datetime
) -> None:
    """Raise RefusedError unless the instance acts, or a person with the permission and Cedar's allow.

    An empty `workspace_id` asks for the permission in the whole instance.
    """
    require_authority(actor, permission, workspace_id, now)
    if actor.kind == "system":
        return
    within = workspace_id or Workspace.objects.values_list("pk", flat=True).get(slug=INSTANCE)
    decision = govern(
        reference=principal_ref(actor.kind, actor.id),
        known=_as_acting(principal_facts(actor.kind, actor.id, within, now), permission),
        permission=permission,
        resource=resource,
        workspace_id=within,
        context=PolicyRequestContext(
            now=now,
            device_id=actor.device_id or None,
            auth_method=actor.auth,
            source_ip=actor.client_ip or None,
        ),
    )
    if decision.effect is not Effect.ALLOW:
        raise RefusedError("role_required", decision.reason)


def _as_acting(known: UserFacts | AgentFacts | None, permission: Permission) -> UserFacts | AgentFacts | None:
    """Who got here with such a permission has shown a second factor: no verb of it begins without."""
    if isinstance(known, UserFacts) and permission in NEEDS_MFA:
        return replace(known, mfa=True)
    return known
