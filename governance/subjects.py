"""What a question is about, and how risky that is: read from definitions, never from an agent's words."""

from __future__ import annotations

from dataclasses import dataclass

from approvals.types import SubjectType
from governance.placement import argv_of
from governance.proposals import Placement, Target
from governance.risk import Assessment, RiskFacts, assess
from kernel.errors import PalyraError
from policy.catalog import BUILTIN_NAMES
from sandbox.types import SandboxRefusal

_FAMILIES = {
    "browser": SubjectType.BROWSER_ACTION,
    "channel": SubjectType.CHANNEL_SEND,
    "message": SubjectType.CHANNEL_SEND,
    "device": SubjectType.NODE_CAPABILITY,
    "node": SubjectType.NODE_CAPABILITY,
}
"""The first word of a tool's name, which a person or the catalog gave it, says what it acts on."""
OF_TOOLS = frozenset({SubjectType.TOOL, SubjectType.SECRET_ACCESS, *_FAMILIES.values()})
"""What a call of a tool of the catalog can be to an approver."""
_VOUCHED = "allowlisted"
_OVERRIDDEN = frozenset({"quarantined", "recalled"})


@dataclass(frozen=True, slots=True)
class Subject:
    """The kind of a question and the name by which lists and grants know what it is about."""

    type: SubjectType
    label: str


def subject_of(target: Target) -> Subject:
    """Return what a call of this tool or skill is to an approver. A skill is never a plain tool."""
    if target.skill is not None:
        return Subject(SubjectType.SKILL, f"skill:{target.name}@{target.version}")
    return Subject(_type_of(target), f"tool:{target.name}")


def _type_of(target: Target) -> SubjectType:
    family = _FAMILIES.get(target.name.partition(".")[0])
    if family is not None:
        return family
    slots = target.tool.secrets if target.tool is not None else ()
    return SubjectType.SECRET_ACCESS if slots or "secrets_read" in target.capabilities else SubjectType.TOOL


def assess_call(
    target: Target, placement: Placement | None, *, channel: str = "", asked: tuple[str, ...] = ()
) -> Assessment:
    """Return the risk of one call and why. `channel` is the run's own, `asked` the levels of the rules.

    Without a placement, as for a question that runs nothing, the tier is the one the tool asks for.
    """
    tool, skill = target.tool, target.skill
    spec = placement.spec if placement is not None else None
    return assess(
        RiskFacts(
            subject_type=subject_of(target).type,
            rated=target.risk,
            known=tool is not None or skill is not None,
            capabilities=target.capabilities,
            tier=spec.tier if spec is not None else tool.tier if tool is not None else "",
            egress_mode=spec.egress_mode if spec is not None else "strict",
            argv=_argv(target),
            sends_body=_has_body(target),
            verified=None if skill is None else skill.trust == _VOUCHED,
            overridden=skill is not None and skill.status in _OVERRIDDEN,
            flagged=tool is not None and tool.sensitive,
            own_channel=_is_own_channel(target, channel),
            asked=asked,
        )
    )


def _argv(target: Target) -> tuple[str, ...] | None:
    """The command line of a custom tool; None, which reads as any, when it cannot be known."""
    try:
        return argv_of(target)
    except (SandboxRefusal, PalyraError, LookupError, TypeError, ValueError):
        return None


def _has_body(target: Target) -> bool:
    """A request with a body or a method that has one; a foreign tool on the network may always send one."""
    if target.name not in BUILTIN_NAMES:
        return "network" in target.capabilities
    given = target.input if isinstance(target.input, dict) else {}
    return bool(given.get("body")) or str(given.get("method", "GET")) not in ("GET", "HEAD")


def _is_own_channel(target: Target, channel: str) -> bool:
    given = target.input if isinstance(target.input, dict) else {}
    return bool(channel) and given.get("channel") == channel
