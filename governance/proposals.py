"""What is proposed, and what the gates find out about it: plain values that the stages hand over."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from governance.models import Run, ToolCall
from identity.types import Principal
from kernel.canonical import digest
from kernel.record import Actor
from policy.types import EffectivePosture, PolicyDecision, ToolFacts
from sandbox.services import Claimed
from sandbox.skills.types import SkillGateDecision, SkillTool
from sandbox.spec import SandboxSpec

RISKS = ("low", "medium", "high", "critical")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A tool call as an adapter understood it; nothing in it is trusted."""

    run_id: str
    tool: str
    input: object
    parent_call_id: str | None = None
    idempotency_key: str | None = None
    traceparent: str | None = None

    @classmethod
    def of_call(cls, call: ToolCall) -> Proposal:
        """Return what a stored call proposed; an idempotency key is not proposed again."""
        return cls(
            run_id=call.run_id,
            tool=call.tool_name,
            input=call.input,
            parent_call_id=call.parent_call_id,
            traceparent=call.traceparent,
        )


@dataclass(frozen=True, slots=True)
class Target:
    """The tool or skill that a proposal names, with the input it accepted."""

    name: str
    version: str
    definition_digest: str
    operation: str
    risk: str
    description: str
    capabilities: frozenset[str]
    requires_approval: bool
    input: Any
    resource: str | None
    tool: ToolFacts | None = None
    skill: SkillTool | None = None

    def as_json(self) -> dict[str, object]:
        return {"tool": self.name, "schema_version": self.version, "resource": self.resource}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an allowed call would run: the frozen spec, its tier and the executor that enforces it."""

    tier: str
    executor: str
    spec: SandboxSpec


@dataclass(frozen=True, slots=True)
class Answer:
    """What gate 9 found: nothing to ask, the request that a person has to answer, or an earlier answer.

    `grant_id` is a candidate: the claim uses it up, or refuses the call.
    """

    approval_id: str | None = None
    grant_id: str | None = None


@dataclass(slots=True)
class Found:
    """What the gates have found so far; a denial leaves the later fields empty."""

    target: Target | None = None
    skill: SkillGateDecision | None = None
    posture: EffectivePosture | None = None
    placement: Placement | None = None
    decision: PolicyDecision | None = None
    reservation_id: str | None = None
    answer: Answer = field(default_factory=Answer)


@dataclass(frozen=True, slots=True)
class Edit:
    """A person's change of a waiting call: who made it, the call and the request it takes the place of.

    `earlier` are the people whose changes that call came from.
    """

    by: Principal
    call_id: str
    request_id: str
    earlier: frozenset[str] = frozenset()

    @property
    def editors(self) -> frozenset[str]:
        return self.earlier | {self.by.id}


@dataclass(frozen=True, slots=True)
class Draft:
    """A proposal inside its transaction: who proposes it, in which run, under which id.

    An edited call is still its principal's; `actor` is whoever makes it. `again_by` proposes
    it once more on behalf of its principal, because people have to be asked anew.
    """

    call_id: str
    proposal: Proposal
    principal: Principal
    run: Run
    now: datetime
    edit: Edit | None = None
    again_by: Actor | None = None

    def actor(self) -> Actor:
        if self.again_by is not None:
            return self.again_by
        return (self.edit.by if self.edit is not None else self.principal).actor()


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run one call, once."""

    call: ToolCall
    claimed: Claimed
    target: Target
    spec: SandboxSpec


def action_digest(
    *, principal_id: str, owner_id: str, target: dict[str, object], operation: str, parameters: object
) -> str:
    """Return the digest an approval is bound to (DESIGN, conventions)."""
    return digest(
        {
            "operation": operation,
            "agent": principal_id,
            "subject": owner_id,
            "target": target,
            "parameters": parameters,
        }
    )


def highest_risk(*risks: str) -> str:
    """Return the greatest of the given levels."""
    return max(risks, key=RISKS.index)
