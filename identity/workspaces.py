"""Every write to workspaces."""

from __future__ import annotations

from datetime import datetime

from identity.models import Workspace
from identity.selectors import DEFAULT, INSTANCE
from kernel.errors import RefusedError
from kernel.ids import new_id
from kernel.record import Actor, Record


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
