"""What a person has to answer before a call may run: the strictest of policy, posture and skill."""

from __future__ import annotations

from approvals.types import ApprovalObligation
from governance.proposals import Target, highest_risk
from policy.types import Effect, EffectivePosture, Obligation, PolicyDecision

DEFAULT_TIMEOUT_S = 600
CRITICAL_QUORUM = 2


def approval_needed(decision: PolicyDecision, posture: EffectivePosture, target: Target) -> bool:
    """Tell whether anything on the path asks for a person. Computed once, at gate 9's entry."""
    return (
        decision.effect is Effect.REQUIRE_APPROVAL
        or posture.state == "ask_each_time"
        or (target.skill is not None and target.requires_approval and not posture.explicit)
    )


def build_obligation(decision: PolicyDecision, target: Target) -> tuple[ApprovalObligation, str]:
    """Return the merged obligation and the risk it is asked with: nothing lowers either."""
    asked = [item for item in decision.obligations if item.kind == "approval"]
    risk = highest_risk(target.risk, *(item.risk for item in asked))
    quorum = max((item.quorum for item in asked), default=1)
    obligation = ApprovalObligation(
        quorum=max(quorum, CRITICAL_QUORUM) if risk == "critical" else quorum,
        role_sets=tuple(frozenset({role}) for item in asked for role in item.approver_roles),
        timeout_s=DEFAULT_TIMEOUT_S,
        max_scope="once",
        step_up=risk in ("high", "critical") or any(item.step_up for item in asked),
        comment=risk == "critical",
        max_uses=1,
        policy_ids=tuple(sorted({policy for item in asked for policy in item.policy_ids})),
    )
    return obligation, risk


def as_json(obligations: tuple[Obligation, ...]) -> list[dict[str, object]]:
    """Return obligations as the wire shows them."""
    return [
        {
            "kind": item.kind,
            "risk": item.risk,
            "quorum": item.quorum,
            "approver_roles": list(item.approver_roles),
            "step_up": item.step_up,
        }
        for item in obligations
    ]
