"""Where the engine places entities: which groups a principal, tool, skill and channel are in."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock

import cedarpy

from policy.schema import NAMESPACE
from policy.slicing import Closure, Uid, closures_of
from policy.types import (
    AgentFacts,
    EntityRef,
    PolicyEvaluationConfig,
    SkillFacts,
    ToolEntity,
    UserFacts,
    World,
)

NO_CHANNEL = "none"
ALLOWLISTED = "allowlisted"
HANDLES = 4096

Entity = dict[str, object]


@dataclass(frozen=True, slots=True)
class Placement:
    """The allowlist facts of one request, and the world they hold in. Hashable: it keys handles."""

    world: World
    resource: EntityRef
    channel: str
    session_id: str | None
    principal_allowed: bool
    channel_allowed: bool
    tool_allowlisted: bool
    skill_allowlisted: bool


def place(
    world: World,
    resource: EntityRef,
    *,
    channel: str | None,
    session_id: str | None,
    config: PolicyEvaluationConfig,
) -> Placement:
    """Return the placement of one request.

    A list of principals or channels that names somebody restricts to those; without a channel a
    non-empty list denies. An empty principal list covers the members of the workspace only.
    """
    principals, channels = config.tool_execute_principal_allowlist, config.tool_execute_channel_allowlist
    principal = world.principal
    member = principal is not None and principal.member
    return Placement(
        world=world,
        resource=resource,
        channel=channel or NO_CHANNEL,
        session_id=session_id,
        principal_allowed=principal is not None and (principal.id in principals if principals else member),
        channel_allowed=channel in channels if channels else True,
        tool_allowlisted=world.tool is not None and world.tool.name in config.allowlisted_tools,
        skill_allowlisted=world.skill is not None and world.skill.skl_id.lower() in config.allowlisted_skills,
    )


def uid(kind: str, identifier: str) -> dict[str, str]:
    """Return the dict form of an entity uid, which no identifier can break out of."""
    return {"type": f"{NAMESPACE}::{kind}", "id": identifier}


def entities_of(placement: Placement) -> list[Entity]:
    """Return the closure of entities of one request in Cedar's JSON form."""
    world = placement.world
    built = [_entity("Workspace", world.workspace_id)]
    built.extend(_principal(placement))
    built.append(_channel(placement))
    if world.tool is not None:
        built.append(_tool(world.tool, placement.tool_allowlisted))
    if world.skill is not None:
        built.append(_skill(world.skill, placement.skill_allowlisted))
    if placement.session_id is not None:
        built.append(_entity("Session", placement.session_id, parents=[_workspace(world)]))
    return _with_resource(built, placement)


@dataclass(frozen=True, slots=True)
class Constructed:
    """The entities of one placement as Cedar has them, their names, and their ancestors."""

    handle: cedarpy.Entities
    names: tuple[str, ...]
    closures: Mapping[Uid, Closure]

    def closure(self, reference: EntityRef) -> Closure:
        """Return an entity with its ancestors; one that was not built has none."""
        wanted = (f"{NAMESPACE}::{reference.type}", reference.id)
        return self.closures.get(wanted) or Closure(wanted)


class EntityHandles:
    """Parsed entities by placement, least recently used out first. One per compiled set."""

    def __init__(self, schema: cedarpy.Schema, size: int = HANDLES) -> None:
        self._schema = schema
        self._size = size
        self._lock = Lock()
        self._handles: OrderedDict[Placement, Constructed] = OrderedDict()

    def get(self, placement: Placement) -> Constructed:
        """Return the entities of one request; raises ValueError when they break the schema."""
        with self._lock:
            if placement in self._handles:
                self._handles.move_to_end(placement)
                return self._handles[placement]
        entities = entities_of(placement)
        handle = cedarpy.Entities.from_json_str(json.dumps(entities), schema=self._schema)
        names = tuple(_name_of(entity) for entity in entities)
        found = Constructed(handle, names, closures_of(entities))
        with self._lock:
            self._handles[placement] = found
            while len(self._handles) > self._size:
                self._handles.popitem(last=False)
        return found


def _entity(
    kind: str,
    identifier: str,
    *,
    attrs: dict[str, object] | None = None,
    parents: list[dict[str, str]] | None = None,
) -> Entity:
    return {"uid": uid(kind, identifier), "attrs": attrs or {}, "parents": parents or []}


def _name_of(entity: Entity) -> str:
    reference = entity["uid"]
    assert isinstance(reference, dict)  # built above
    return f"{reference['type']}::{json.dumps(reference['id'])}"


def _workspace(world: World) -> dict[str, str]:
    return uid("Workspace", world.workspace_id)


def _principal(placement: Placement) -> list[Entity]:
    principal, world = placement.world.principal, placement.world
    if principal is None:
        return []
    parents = [uid("Group", "tool_execute_principals")] if placement.principal_allowed else []
    if isinstance(principal, UserFacts):
        return [_user(principal, world, parents)]
    return _agent(principal, world, parents)


def _user(user: UserFacts, world: World, parents: list[dict[str, str]]) -> Entity:
    attrs: dict[str, object] = {
        "active": user.active,
        "mfa": user.mfa,
        "permissions": sorted(user.permissions),
    }
    roles = [uid("Group", f"role:{role}") for role in sorted(user.roles)]
    return _entity("User", user.id, attrs=attrs, parents=[*parents, *roles, *_membership(user.member, world)])


def _agent(agent: AgentFacts, world: World, parents: list[dict[str, str]]) -> list[Entity]:
    attrs: dict[str, object] = {
        "active": agent.active,
        "owner": {"__entity": uid("User", agent.owner.id)},
    }
    own = _entity("Agent", agent.id, attrs=attrs, parents=[*parents, *_membership(agent.member, world)])
    return [own, _user(agent.owner, world, [])]


def _membership(member: bool, world: World) -> list[dict[str, str]]:
    return [uid("Group", "workspace_members"), _workspace(world)] if member else []


def _channel(placement: Placement) -> Entity:
    parents = [uid("ChannelGroup", "tool_execute_channels")] if placement.channel_allowed else []
    return _entity("Channel", placement.channel, parents=parents)


def _tool(tool: ToolEntity, allowlisted: bool) -> Entity:
    attrs: dict[str, object] = {
        "capabilities": sorted(tool.capabilities),
        "tier": tool.tier,
        "risk": tool.risk,
        "sensitive": tool.sensitive,
        "enabled": tool.enabled,
        "runtime_supported": tool.runtime_supported,
    }
    parents = [uid("ToolGroup", ALLOWLISTED)] if allowlisted else []
    return _entity("Tool", tool.name, attrs=attrs, parents=parents)


def _skill(skill: SkillFacts, allowlisted: bool) -> Entity:
    attrs: dict[str, object] = {
        "version": skill.version,
        "digest": skill.digest,
        "publisher": skill.publisher,
        "status": skill.status,
    }
    parents = [uid("SkillGroup", ALLOWLISTED)] if allowlisted else []
    return _entity("Skill", skill.skl_id.lower(), attrs=attrs, parents=parents)


_IN_WORKSPACE = frozenset(
    {"CronJob", "MemoryItem", "Attachment", "Budget", "PolicySet", "ApprovalRequest", "Grant", "Token"}
) | {"Posture", "SecretScope"}


def _with_resource(built: list[Entity], placement: Placement) -> list[Entity]:
    """Add the resource when it is not an entity already; what lives in a workspace gets it as parent."""
    wanted = uid(placement.resource.type, placement.resource.id)
    if any(entity["uid"] == wanted for entity in built) or placement.resource.type not in _IN_WORKSPACE:
        return built
    parents = [_workspace(placement.world)]
    return [*built, _entity(placement.resource.type, placement.resource.id, parents=parents)]
