"""What the settings of a feature flag mean, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from identity.access import FEATURES, UNDIVIDED, FlagVerdict, Registry, Stage, bucket_of
from identity.flag_views import FlagView

STAGES: dict[Stage, str] = {
    Stage.LAB: "Owners of the instance",
    Stage.INTERNAL: "Members of the instance",
    Stage.ADMIN_ONLY: "Owners and admins",
    Stage.PILOT: "Chosen workspaces",
    Stage.GENERAL: "Everybody",
}


def audience(view: FlagView) -> str:
    """Return whom a flag reaches while it is on: stage, then part of the workspaces."""
    if view.feature.key in UNDIVIDED:
        return "The whole instance"
    who = STAGES[view.setting.stage]
    return who if view.setting.percent >= 100 else f"{who}, in {view.setting.percent} % of the workspaces"


def why_off(view: FlagView, registry: Registry) -> str:
    """Return why a feature is off for whoever looks, or nothing when it is on."""
    verdict: FlagVerdict = view.here
    if verdict.enabled:
        return ""
    if verdict.reason == "dependency_off":
        return f"Needs {verdict.dependency}, which is off here."
    if verdict.reason == "stage_excluded":
        return f"Only for: {STAGES[view.setting.stage].lower()}."
    if verdict.reason == "rollout_excluded":
        staged = registry.setting("staged_rollout")
        if staged is None or not staged.enabled:
            return "On for a part of the workspaces, and staged_rollout is off."
        return f"This workspace is not among the {view.setting.percent} %."
    return "Switched off."


def reached(view: FlagView, workspace_ids: Iterable[str]) -> int:
    """Return in how many of these workspaces a flag is rolled out, whatever the roles there."""
    setting = view.setting
    return sum(
        bucket_of(view.feature.key, one) < setting.percent * 100
        and (setting.stage is not Stage.PILOT or one in setting.workspaces)
        for one in workspace_ids
    )


def depth_of(key: str) -> int:
    """Return how many flags stand below this one in the tree of dependencies."""
    below = FEATURES[key].depends_on
    return 0 if below is None else 1 + depth_of(below)


def tree_order() -> tuple[str, ...]:
    """Return all flags, each followed by those that need it."""
    return tuple(
        found for key, feature in FEATURES.items() if feature.depends_on is None for found in _branch(key)
    )


def _branch(key: str) -> Iterable[str]:
    yield key
    for name, feature in FEATURES.items():
        if feature.depends_on == key:
            yield from _branch(name)
