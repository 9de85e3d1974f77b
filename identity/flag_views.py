"""The feature flags as one person or agent may read them, and the table of roles."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from identity.access import (
    FEATURE_OF,
    FEATURES,
    Feature,
    FlagSetting,
    FlagVerdict,
    Registry,
    decide,
    dependants_of,
)
from identity.authorization import required_strength
from identity.flags import setting_of
from identity.models import FeatureFlag, FeatureFlagChange
from identity.roles import AGENT_PERMISSIBLE, INSTANCE_ONLY, MATRIX, Permission, WorkspaceRole
from identity.types import AuthStrength, Principal
from kernel.errors import NotFoundError, RefusedError


@dataclass(frozen=True, slots=True)
class FlagView:
    """One flag: how it is set, and what that means for whoever looks.

    `version` is 0 while the flag has no row and stands at its default. `workspaces` holds what of the
    allow set is within reach of whoever looks.
    """

    feature: Feature
    setting: FlagSetting
    workspaces: tuple[str, ...]
    dependants: tuple[str, ...]
    here: FlagVerdict
    version: int
    changed_at: datetime | None


@dataclass(frozen=True, slots=True)
class RoleRow:
    """One permission: who holds it, and what using it needs."""

    permission: Permission
    roles: tuple[WorkspaceRole, ...]
    strength: AuthStrength
    instance_only: bool
    for_agents: bool
    feature: str | None


def require_standing(principal: Principal) -> None:
    """Raise RefusedError for somebody who holds nothing here: strangers see nothing."""
    if not principal.permissions:
        raise RefusedError("role_required", "This needs a role in the workspace.")


def flag_views(principal: Principal) -> tuple[FlagView, ...]:
    """Return every flag in the order of the product's own list."""
    require_standing(principal)
    rows = {row.key: row for row in FeatureFlag.objects.all()}
    flags = Registry({key: setting_of(row) for key, row in rows.items()})
    return tuple(_view(feature, rows.get(key), flags, principal) for key, feature in FEATURES.items())


def flag_view(principal: Principal, key: str) -> FlagView:
    """Return one flag, or raise NotFoundError."""
    for view in flag_views(principal):
        if view.feature.key == key:
            return view
    raise NotFoundError("not_found", "There is no such feature flag.")


def changes_of(key: str) -> QuerySet[FeatureFlagChange]:
    """Return the changes of one flag, in no order."""
    return FeatureFlagChange.objects.filter(key=key)


def role_table() -> tuple[RoleRow, ...]:
    """Return the matrix as it is in force."""
    return tuple(
        RoleRow(
            permission=permission,
            roles=tuple(role for role in WorkspaceRole if role in MATRIX[permission]),
            strength=required_strength(permission),
            instance_only=permission in INSTANCE_ONLY,
            for_agents=permission in AGENT_PERMISSIBLE,
            feature=FEATURE_OF.get(permission),
        )
        for permission in Permission
    )


def _view(feature: Feature, row: FeatureFlag | None, flags: Registry, principal: Principal) -> FlagView:
    setting = flags.setting(feature.key) or FlagSetting(feature.enabled, feature.stage)
    place, everywhere = principal.workspace_id, bool(principal.instance_roles)
    return FlagView(
        feature=feature,
        setting=setting,
        workspaces=tuple(sorted(one for one in setting.workspaces if everywhere or one == place)),
        dependants=dependants_of(feature.key),
        here=decide(flags, feature.key, workspace_id=place, standing=principal.vouching),
        version=row.version if row is not None else 0,
        changed_at=row.changed_at if row is not None else None,
    )
