"""Every write to feature flags.

A flag is on only while the flags it needs are on: switching it on asks for them, switching one of them
off takes the flags above along. Changes of any flags come one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from identity import flag_cache
from identity.access import (
    FEATURES,
    UNDIVIDED,
    Feature,
    FlagSetting,
    Registry,
    Stage,
    dependants_of,
    missing_below,
)
from identity.authority import ANYWHERE, require_authority
from identity.flags import setting_of
from identity.inserting import invalid
from identity.models import FeatureFlag, FeatureFlagChange, Workspace
from identity.roles import Permission
from identity.selectors import INSTANCE
from kernel.errors import ConflictError, NotFoundError, PreconditionFailedError, RefusedError
from kernel.record import Actor, Record

SHORTEST_REASON, LONGEST_REASON = 8, 200
MOST_WORKSPACES = 500


@dataclass(frozen=True, slots=True)
class FlagWishes:
    """What is to change; None leaves a part as it is. `cascade` agrees to switch dependants off too."""

    reason: str
    enabled: bool | None = None
    stage: str | None = None
    percent: int | None = None
    workspaces: Sequence[str] | None = None
    cascade: bool = False


@dataclass(frozen=True, slots=True)
class FlagChange:
    """The flag as it stands now, and the dependants that were switched off with it, nearest first."""

    flag: FeatureFlag
    cascaded: tuple[str, ...] = ()


def change_flag(
    *,
    key: str,
    wishes: FlagWishes,
    seen_version: int,
    actor: Actor,
    now: datetime,
    record: Record,
) -> FlagChange:
    """Change one flag; each flag that really changes leaves a row and an event.

    `seen_version` is what the caller looked at, 0 for a flag without a row. Raises NotFoundError,
    InvalidError, PreconditionFailedError, and ConflictError `dependency_off` for a flag whose
    dependency is off or whose dependants are on without `cascade`.
    """
    require_authority(actor, Permission.ROLLOUT_MANAGE, ANYWHERE, now)
    feature = feature_named(key)
    reason = _reason(wishes)
    _require_sensible(feature, wishes)
    _hold_flags()
    rows = {row.key: row for row in FeatureFlag.objects.all()}
    _require_seen(rows.get(key), seen_version)
    standing = Registry({name: setting_of(row) for name, row in rows.items()})
    before = standing.setting(key) or FlagSetting(feature.enabled, feature.stage)
    after = _wanted(before, wishes)
    falling = _falling(standing, key, before, after, wishes.cascade)
    writer = _Writer(rows, actor, reason, now, record)
    flag = writer.write(feature, after)
    for name in falling:
        writer.switch_off(name, standing)
    return FlagChange(flag, falling)


def stand_at(
    *, key: str, setting: FlagSetting, reason: str, actor: Actor, now: datetime, record: Record
) -> None:
    """Write one flag as it is to stand, whatever other flags say. Only the instance itself may."""
    if actor.kind != "system":
        raise RefusedError("role_required", "Only the instance itself writes a flag without looking.")
    _hold_flags()
    rows = {row.key: row for row in FeatureFlag.objects.filter(pk=key)}
    _Writer(rows, actor, reason, now, record).write(FEATURES[key], setting)


def feature_named(key: str) -> Feature:
    """Return what the product knows of a flag, or raise NotFoundError."""
    feature = FEATURES.get(key)
    if feature is None:
        raise NotFoundError("not_found", "There is no such feature flag.")
    return feature


def _hold_flags() -> None:
    """Wait for whoever changes a flag at this moment: what one change asks of another must not move."""
    Workspace.objects.select_for_update(no_key=True).get(slug=INSTANCE)


def _require_seen(row: FeatureFlag | None, seen_version: int) -> None:
    if seen_version != (row.version if row is not None else 0):
        raise PreconditionFailedError("precondition_failed", "The flag changed since you looked at it.")


def _reason(wishes: FlagWishes) -> str:
    reason = wishes.reason.strip()
    if not SHORTEST_REASON <= len(reason) <= LONGEST_REASON or "\0" in reason:
        raise invalid("/reason", "length", f"A reason has {SHORTEST_REASON} to {LONGEST_REASON} characters.")
    return reason


def _require_sensible(feature: Feature, wishes: FlagWishes) -> None:
    parts = {"stage": wishes.stage, "percent": wishes.percent, "workspaces": wishes.workspaces}
    given = [name for name, value in parts.items() if value is not None]
    if not given and wishes.enabled is None:
        raise invalid("/enabled", "required", "Say what is to change.")
    if given and feature.key in UNDIVIDED:
        raise invalid(f"/{given[0]}", "undivided", "This flag is on for everybody or off for everybody.")
    if wishes.stage is not None and wishes.stage not in frozenset(Stage):
        raise invalid("/stage", "unknown", f"The stages are {', '.join(Stage)}.")
    if wishes.percent is not None and not 0 <= wishes.percent <= 100:
        raise invalid("/percent", "range", "A percentage is 0 to 100.")
    _require_workspaces(wishes.workspaces or ())


def _require_workspaces(wanted: Sequence[str]) -> None:
    if len(wanted) > MOST_WORKSPACES:
        raise invalid("/workspaces", "length", f"At most {MOST_WORKSPACES} workspaces.")
    live = Workspace.objects.filter(pk__in=wanted, archived_at__isnull=True)
    known = set(live.values_list("pk", flat=True))
    for at, one in enumerate(wanted):
        if one not in known:
            raise invalid(f"/workspaces/{at}", "unknown", "There is no such workspace.")


def _wanted(before: FlagSetting, wishes: FlagWishes) -> FlagSetting:
    listed = before.workspaces if wishes.workspaces is None else frozenset(wishes.workspaces)
    return FlagSetting(
        enabled=before.enabled if wishes.enabled is None else wishes.enabled,
        stage=before.stage if wishes.stage is None else Stage(wishes.stage),
        percent=before.percent if wishes.percent is None else wishes.percent,
        workspaces=listed,
    )


def _falling(
    standing: Registry, key: str, before: FlagSetting, after: FlagSetting, cascade: bool
) -> tuple[str, ...]:
    """Return the dependants that fall with this change, or raise ConflictError `dependency_off`."""
    if after.enabled and not before.enabled:
        missing = missing_below(standing, key)
        if missing is not None:
            raise _dependency(f"{key} needs {missing}, which is off.", dependency=missing)
    if after.enabled:
        return ()
    falling = tuple(name for name in dependants_of(key) if _is_enabled(standing, name))
    if falling and not cascade:
        raise _dependency(f"{', '.join(falling)} would go off too.", dependants=list(falling))
    return falling


def _is_enabled(standing: Registry, key: str) -> bool:
    setting = standing.setting(key)
    return setting is not None and setting.enabled


def _dependency(detail: str, **extra: object) -> ConflictError:
    return ConflictError("dependency_off", detail, extra=extra)


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes the flags of one change, each with its row and its event."""

    rows: dict[str, FeatureFlag]
    actor: Actor
    reason: str
    now: datetime
    record: Record

    def switch_off(self, key: str, standing: Registry) -> None:
        setting = standing.setting(key)
        if setting is not None:
            off = FlagSetting(False, setting.stage, setting.percent, setting.workspaces)
            self.write(FEATURES[key], off)

    def write(self, feature: Feature, after: FlagSetting) -> FeatureFlag:
        row = self.rows.get(feature.key)
        before = None if row is None else as_stored(row)
        new = _columns(after)
        if row is not None and before == new:
            return row
        row = row or FeatureFlag(key=feature.key, version=0)
        for name, value in new.items():
            setattr(row, name, value)
        row.version += 1
        row.changed_at = self.now
        row.save()
        self._leave_trace(feature.key, before, new)
        return row

    def _leave_trace(self, key: str, before: dict[str, Any] | None, after: dict[str, Any]) -> None:
        FeatureFlagChange.objects.create(
            key=key, before=before, after=after, actor=self.actor.id, reason=self.reason, at=self.now
        )
        self.record(
            event="flag.changed",
            actor=self.actor,
            subject=key,
            now=self.now,
            data={"before": before, "after": after, "reason": self.reason},
        )
        flag_cache.changed()


def as_stored(row: FeatureFlag) -> dict[str, Any]:
    """Return the columns of a flag that people set, as changes and events show them."""
    return {
        "enabled": row.enabled,
        "stage": str(row.stage),
        "percent": row.percent,
        "workspaces": row.workspaces,
    }


def _columns(setting: FlagSetting) -> dict[str, Any]:
    return {
        "enabled": setting.enabled,
        "stage": setting.stage.value,
        "percent": setting.percent,
        "workspaces": sorted(setting.workspaces),
    }
