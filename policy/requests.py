"""From a policy request to Cedar's: normalised names, checked ids, typed context."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime

from policy.catalog import short_name
from policy.cedar_types import LONG_MAX, UnrepresentableError, record_value
from policy.compilation import CompiledSet
from policy.placement import Placement, place, uid
from policy.schema import TOOL_EXECUTE, Action
from policy.types import (
    AgentFacts,
    ApprovalFacts,
    Code,
    EntityRef,
    PolicyEvaluationConfig,
    PolicyRequest,
    PolicyRequestContext,
    UserFacts,
    World,
)

MAX_ID = 512


class RequestError(Exception):
    """The request cannot be put to Cedar; `code` is the reason of the denial."""

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request in normal form. `action` is None when the schema knows no such action."""

    principal: EntityRef
    action_name: str
    action: Action | None
    resource: EntityRef
    placement: Placement
    capabilities: tuple[str, ...]
    sensitive: bool
    context: dict[str, object]

    @property
    def executes_tool(self) -> bool:
        return self.action_name == TOOL_EXECUTE or self.action_name.startswith(f"{TOOL_EXECUTE}:")

    def cedar(self, *, allow_sensitive: bool, approval: ApprovalFacts | None) -> dict[str, object]:
        """Return Cedar's request with the two facts that differ between passes."""
        assert self.action is not None  # the engine answers unknown actions before
        context = self.context | {"allow_sensitive_tools": allow_sensitive}
        if approval is not None:
            context["approval"] = _approval(approval)
        return {
            "principal": uid(self.principal.type, self.principal.id),
            "action": uid("Action", self.action.name),
            "resource": uid(self.resource.type, self.resource.id),
            "context": context,
        }


def prepare(
    request: PolicyRequest,
    context: PolicyRequestContext,
    config: PolicyEvaluationConfig,
    world: World,
    policies: CompiledSet,
) -> Prepared:
    """Return the normal form, or raise RequestError naming the first thing that is wrong."""
    principal = _principal(request.principal, world)
    resource = _resource(request.resource)
    name = _action_name(request.action, resource)
    _check_match(resource, context)
    action = policies.actions.get(name)
    if action is not None and resource.type not in action.resource_types:
        raise RequestError(Code.INVALID_REQUEST, "The action does not apply to this kind of resource.")
    _check_world(name, resource, world)
    placement = place(
        world,
        resource,
        channel=_optional(context.channel),
        session_id=_optional(context.session_id),
        config=config,
    )
    capabilities = _capabilities(context, world)
    sensitive = _is_sensitive(name, capabilities, world, config)
    return Prepared(
        principal=principal,
        action_name=name,
        action=action,
        resource=resource,
        placement=placement,
        capabilities=capabilities,
        sensitive=sensitive,
        context=_context(name, context, placement, capabilities, sensitive)
        | _input(name, resource, context, policies),
    )


def _identifier(text: str, code: Code = Code.INVALID_REQUEST) -> str:
    trimmed = text.strip()
    if not trimmed or len(trimmed) > MAX_ID or "\0" in trimmed:
        raise RequestError(code, "An identifier is blank, longer than 512 characters or holds NUL.")
    if any("\ud800" <= character <= "\udfff" for character in trimmed):
        raise RequestError(code, "An identifier is not valid Unicode.")
    return trimmed


def _optional(text: str | None) -> str | None:
    return _identifier(text, Code.INVALID_CONTEXT) if text is not None and text.strip() else None


def _principal(ref: EntityRef, world: World) -> EntityRef:
    known = world.principal
    kind = {UserFacts: "User", AgentFacts: "Agent"}.get(type(known))
    if known is None or (ref.type, _identifier(ref.id)) != (kind, known.id):
        raise RequestError(Code.INVALID_REQUEST, "The principal is not known.")
    return EntityRef(ref.type, known.id)


def _resource(ref: EntityRef) -> EntityRef:
    identifier = _identifier(ref.id)
    if ref.type == "Tool":
        return EntityRef("Tool", short_name(identifier))
    return EntityRef(ref.type, identifier.lower() if ref.type == "Skill" else identifier)


def _action_name(text: str, resource: EntityRef) -> str:
    name = text.strip()
    if not name or not name.isascii():
        raise RequestError(Code.INVALID_REQUEST, "The action is blank or not ASCII.")
    name = name.lower()
    return f"{TOOL_EXECUTE}:{resource.id}" if name == TOOL_EXECUTE and resource.type == "Tool" else name


def _check_match(resource: EntityRef, context: PolicyRequestContext) -> None:
    tool, skill = _optional(context.tool_name), _optional(context.skill_id)
    wrong_tool = tool is not None and resource.type == "Tool" and short_name(tool) != resource.id
    wrong_skill = skill is not None and resource.type == "Skill" and skill.lower() != resource.id
    if wrong_tool or wrong_skill:
        raise RequestError(
            Code.RESOURCE_MISMATCH, "The context names another tool or skill than the resource."
        )


def _check_world(name: str, resource: EntityRef, world: World) -> None:
    executes = name.startswith(f"{TOOL_EXECUTE}:")
    if executes and name != f"{TOOL_EXECUTE}:{resource.id}":
        raise RequestError(Code.RESOURCE_MISMATCH, "The action names another tool than the resource.")
    if executes and (world.tool is None or world.tool.name != resource.id):
        raise RequestError(Code.INVALID_REQUEST, "The tool is not known.")
    if resource.type == "Skill" and (world.skill is None or world.skill.skl_id.lower() != resource.id):
        raise RequestError(Code.INVALID_REQUEST, "The skill is not known.")


def _capabilities(context: PolicyRequestContext, world: World) -> tuple[str, ...]:
    """Return what the request names together with what the tool has: it can add, never leave out."""
    named = {capability.strip().lower() for capability in context.capabilities} - {""}
    return tuple(sorted(named | (world.tool.capabilities if world.tool else frozenset())))


def _is_sensitive(
    name: str, capabilities: tuple[str, ...], world: World, config: PolicyEvaluationConfig
) -> bool:
    if name in config.sensitive_actions or config.sensitive_capability_names & set(capabilities):
        return True
    if world.skill is not None and world.skill.requires_approval:
        return True
    tool = world.tool
    named = tool is not None and (tool.sensitive or tool.name in config.sensitive_tool_names)
    return named and name.startswith(f"{TOOL_EXECUTE}:")


def _context(
    name: str,
    context: PolicyRequestContext,
    placement: Placement,
    capabilities: tuple[str, ...],
    sensitive: bool,
) -> dict[str, object]:
    built: dict[str, object] = {
        "action_name": TOOL_EXECUTE if name.startswith(f"{TOOL_EXECUTE}:") else name,
        "channel": {"__entity": uid("Channel", placement.channel)},
        "capabilities": list(capabilities),
        "is_sensitive_action": sensitive,
        "posture": context.posture,
        "labels": sorted(context.labels),
        "adds_labels": sorted(context.adds_labels),
        "sinks": sorted(context.sinks),
        "tainted_arguments": sorted(context.tainted_arguments),
        "calls_in_run": _count(context.calls_in_run),
        "auth_method": context.auth_method,
        "external_execution": context.external_execution,
        "now": {"__extn": {"fn": "datetime", "arg": _instant(context.now)}},
    }
    for key in ("device_id", "session_id", "run_id", "tool_name", "skill_id"):
        text = _optional(getattr(context, key))
        if text is not None:
            built[key] = text
    if placement.session_id is not None:
        built["session"] = {"__entity": uid("Session", placement.session_id)}
    if context.source_ip is not None:
        built["source_ip"] = {"__extn": {"fn": "ip", "arg": _address(context.source_ip)}}
    return built


def _input(
    name: str, resource: EntityRef, context: PolicyRequestContext, policies: CompiledSet
) -> dict[str, object]:
    schema = policies.inputs.get(resource.id)
    if schema is None or not name.startswith(f"{TOOL_EXECUTE}:"):
        return {}
    try:
        return {"input": record_value(schema, context.tool_input)}
    except UnrepresentableError as error:
        raise RequestError(Code.INPUT_UNREPRESENTABLE, f"The input cannot be judged: {error}.") from error


def _count(value: int) -> int:
    if not 0 <= value <= LONG_MAX:
        raise RequestError(Code.INVALID_CONTEXT, "A count is out of range.")
    return value


def _instant(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise RequestError(Code.INVALID_CONTEXT, "The time has no zone.")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _address(text: str) -> str:
    try:
        address = ipaddress.ip_address(text.strip().partition("%")[0])
    except ValueError as error:
        raise RequestError(Code.INVALID_CONTEXT, "The source address is not an IP address.") from error
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.compressed


def _approval(approval: ApprovalFacts) -> dict[str, object]:
    return {
        "id": approval.id,
        "scope": approval.scope,
        "risk": approval.risk,
        "count": _count(approval.count),
        "roles": sorted(approval.roles),
        "deciders": [{"__entity": uid("User", user)} for user in sorted(approval.deciders)],
    }
