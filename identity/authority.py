"""Whether an actor may write: asked again by every service, under its lock, whoever calls."""

from __future__ import annotations

from datetime import datetime

from identity.roles import Permission
from identity.selectors import permissions_of_user
from kernel.errors import RefusedError
from kernel.record import Actor

ANYWHERE = ""
"""In place of a workspace id: only roles in `instance` count."""


def require_authority(actor: Actor, permission: Permission, workspace_id: str, now: datetime) -> None:
    """Raise RefusedError unless the instance itself or a person who holds `permission` acts.

    `system` is the instance itself (bootstrap, sweeper); no agent or service changes identity.
    """
    if actor.kind == "system":
        return
    if actor.kind == "user" and permission in permissions_of_user(
        user_id=actor.id, workspace_id=workspace_id, now=now
    ):
        return
    raise RefusedError("role_required", f"This needs the permission {permission}.")
