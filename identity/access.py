"""Feature flags: what is switched on, for whom, and why not. Empty means off, unknown means off.

`decide` answers for one workspace and the roles of whoever vouches for a request: the person, or
the minter of the token as that person stands now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from identity.roles import Permission, WorkspaceRole


class Stage(StrEnum):
    """Who may use a feature that is on, from the fewest to all."""

    LAB = "lab"
    INTERNAL = "internal"
    ADMIN_ONLY = "admin_only"
    PILOT = "pilot"
    GENERAL = "general"


@dataclass(frozen=True, slots=True)
class Standing:
    """The roles of one person: in the workspace asked about, and in the workspace `instance`."""

    local: frozenset[WorkspaceRole] = frozenset()
    wide: frozenset[WorkspaceRole] = frozenset()


@dataclass(frozen=True, slots=True)
class Feature:
    """What the product knows of a flag: its defaults, what it depends on and what being off means."""

    key: str
    enabled: bool
    stage: Stage
    depends_on: str | None
    when_off: str


@dataclass(frozen=True, slots=True)
class FlagSetting:
    """How one flag is set on this instance. `workspaces` is the allow set of the stage `pilot`."""

    enabled: bool
    stage: Stage
    percent: int = 100
    workspaces: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class FlagVerdict:
    """`reason` is the first that applies; `dependency` names the flag that is off below this one."""

    enabled: bool
    reason: str
    dependency: str | None = None


FEATURES: dict[str, Feature] = {
    feature.key: feature
    for feature in (
        Feature(
            "api_tokens", True, Stage.GENERAL, None,
            "No token can be minted, rotated or used, except kind adm. Revoking and listing work.",
        ),
        Feature(
            "rbac", True, Stage.GENERAL, None,
            "Safe mode: owners keep their rights, everybody else only reads, agents too.",
        ),
        Feature(
            "team_mode", False, Stage.PILOT, "rbac",
            "Only the built-in workspaces exist; workspaces, teams and invitations cannot be changed.",
        ),
        Feature(
            "staged_rollout", False, Stage.INTERNAL, None,
            "Every flag that is rolled out to less than 100 percent counts as off.",
        ),
        Feature(
            "compat_api", False, Stage.ADMIN_ONLY, "api_tokens",
            "The OpenAI-compatible routes answer nobody.",
        ),
        Feature(
            "compat_embeddings_api", False, Stage.ADMIN_ONLY, "compat_api",
            "The embeddings route answers nobody.",
        ),
        Feature(
            "compat_tools_invoke", False, Stage.LAB, "compat_api", "The tool route answers nobody."
        ),
        Feature("mcp", False, Stage.PILOT, "api_tokens", "The MCP server answers nobody."),
        Feature("authzen_api", False, Stage.PILOT, "api_tokens", "The AuthZEN routes answer nobody."),
        Feature(
            "skills_registry", True, Stage.GENERAL, None,
            "No skill can be staged or activated. Quarantine and recall work.",
        ),
        Feature(
            "device_pairing", True, Stage.GENERAL, None,
            "No pairing can be started. Devices that are paired keep working.",
        ),
        Feature(
            "oauth_profiles", True, Stage.GENERAL, None, "Providers are reached with API keys only."
        ),
        Feature("oidc_login", False, Stage.GENERAL, None, "Nobody signs in through a provider."),
        Feature("smart_routing", True, Stage.GENERAL, None, "Models are chosen by name only."),
        Feature("egress_proxy", True, Stage.GENERAL, None, "No tool reaches the network."),
        Feature("break_glass", False, Stage.GENERAL, None, "No approval can be forced."),
    )
}  # fmt: skip

FEATURE_OF: dict[Permission, str] = {
    Permission.TOKENS_MINT: "api_tokens",
    Permission.WORKSPACE_MANAGE: "team_mode",
    Permission.WORKSPACE_SHARING_MANAGE: "team_mode",
    Permission.INVITATIONS_MANAGE: "team_mode",
    Permission.COMPAT_MODELS_READ: "compat_api",
    Permission.COMPAT_CHAT_CREATE: "compat_api",
    Permission.COMPAT_RESPONSES_CREATE: "compat_api",
    Permission.COMPAT_EMBEDDINGS_CREATE: "compat_embeddings_api",
    Permission.COMPAT_TOOLS_INVOKE: "compat_tools_invoke",
    Permission.MCP_USE: "mcp",
    Permission.SKILLS_STAGE: "skills_registry",
    Permission.SKILLS_ACTIVATE: "skills_registry",
    Permission.DEVICES_PAIR: "device_pairing",
    Permission.APPROVALS_BREAK_GLASS: "break_glass",
}
"""Which feature a permission belongs to; `authorize` asks for it."""

UNDIVIDED = frozenset({"rbac", "staged_rollout"})
"""Switches of the whole instance: on for everybody or off for everybody, whatever their stage says."""


@dataclass(frozen=True, slots=True)
class Registry:
    """All flags at one moment. A flag without a setting stands at its default.

    A registry that could not be read (`Registry.closed()`) answers off to everything.
    """

    settings: Mapping[str, FlagSetting] = field(default_factory=dict)
    readable: bool = True

    @classmethod
    def closed(cls) -> Registry:
        """Return the registry of a failed read."""
        return cls(readable=False)

    def setting(self, key: str) -> FlagSetting | None:
        """Return how a flag stands, or None for a flag that does not exist."""
        feature = FEATURES.get(key)
        if feature is None:
            return None
        stored = self.settings.get(key)
        return stored or FlagSetting(enabled=feature.enabled, stage=feature.stage)


NOBODY = Standing()
ALL_OFF = Registry.closed()


def decide(registry: Registry, key: str, *, workspace_id: str, standing: Standing) -> FlagVerdict:
    """Decide whether a feature is on here. Pure and total.

    Reasons in order: unknown_flag, flag_off, dependency_off, stage_excluded, rollout_excluded, enabled.
    """
    setting = registry.setting(key)
    if setting is None:
        return FlagVerdict(False, "unknown_flag")
    if not registry.readable or not setting.enabled:
        return FlagVerdict(False, "flag_off")
    below = FEATURES[key].depends_on
    if below is not None:
        beneath = decide(registry, below, workspace_id=workspace_id, standing=standing)
        if not beneath.enabled:
            return FlagVerdict(False, "dependency_off", beneath.dependency or below)
    if key in UNDIVIDED:
        return FlagVerdict(True, "enabled")
    if not _in_stage(setting, workspace_id, standing):
        return FlagVerdict(False, "stage_excluded")
    if not _in_rollout(registry, key, setting, workspace_id):
        return FlagVerdict(False, "rollout_excluded")
    return FlagVerdict(True, "enabled")


def bucket_of(key: str, workspace_id: str) -> int:
    """Return the rollout bucket 0 to 9999 of a workspace: stable, and different for each flag."""
    return int(hashlib.sha256(f"{key}:{workspace_id}".encode()).hexdigest()[:8], 16) % 10000


def dependants_of(key: str) -> tuple[str, ...]:
    """Return every flag that needs this one, directly or through others, nearest first."""
    direct = tuple(feature.key for feature in FEATURES.values() if feature.depends_on == key)
    return direct + tuple(further for near in direct for further in dependants_of(near))


def missing_below(registry: Registry, key: str) -> str | None:
    """Return the nearest flag below this one that is switched off, or None when all are on."""
    below = FEATURES[key].depends_on
    if below is None:
        return None
    setting = registry.setting(below)
    if setting is None or not registry.readable or not setting.enabled:
        return below
    return missing_below(registry, below)


def safe_roles(registry: Registry, roles: frozenset[WorkspaceRole]) -> frozenset[WorkspaceRole]:
    """Return the roles that count: in safe mode (`rbac` off) owners stay and all others only look."""
    setting = registry.setting("rbac")
    if not roles or (registry.readable and setting is not None and setting.enabled):
        return roles
    kept = roles & {WorkspaceRole.OWNER}
    return kept or frozenset({WorkspaceRole.VIEWER})


def in_safe_mode(registry: Registry) -> bool:
    """Tell whether `rbac` is off."""
    owner_and_admin = frozenset({WorkspaceRole.OWNER, WorkspaceRole.ADMIN})
    return safe_roles(registry, owner_and_admin) != owner_and_admin


def safe_permissions(registry: Registry, held: frozenset[Permission]) -> frozenset[Permission]:
    """Return what an agent or service may do: in safe mode it reads and nothing else."""
    if not in_safe_mode(registry):
        return held
    return frozenset(permission for permission in held if permission.endswith(".read"))


def _in_stage(setting: FlagSetting, workspace_id: str, standing: Standing) -> bool:
    administering = frozenset({WorkspaceRole.OWNER, WorkspaceRole.ADMIN})
    match setting.stage:
        case Stage.GENERAL:
            return True
        case Stage.PILOT:
            return workspace_id in setting.workspaces
        case Stage.ADMIN_ONLY:
            return bool((standing.local | standing.wide) & administering)
        case Stage.INTERNAL:
            return bool(standing.wide)
        case Stage.LAB:
            return WorkspaceRole.OWNER in standing.wide
    return False


def _in_rollout(registry: Registry, key: str, setting: FlagSetting, workspace_id: str) -> bool:
    """`staged_rollout` is the switch of this very mechanism; whom it is staged for does not matter here."""
    if setting.percent >= 100:
        return True
    staged = registry.setting("staged_rollout")
    return staged is not None and staged.enabled and bucket_of(key, workspace_id) < setting.percent * 100
