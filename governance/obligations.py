"""What a person has to answer before a call may run: the strictest of policy, posture and skill."""

from __future__ import annotations

from approvals.types import ApprovalObligation, Risk, Scope
from governance.proposals import Placement, Target
from governance.subjects import assess_call
from policy.types import Effect, EffectivePosture, Obligation, PolicyDecision, PostureState

DEFAULT_TIMEOUT_S = 600
CRITICAL_QUORUM = 2
_WIDEST: dict[str, Scope] = {
    Risk.LOW: Scope.ALWAYS,
    Risk.MEDIUM: Scope.ALWAYS,
    Risk.HIGH: Scope.TEMPORARY,
    Risk.CRITICAL: Scope.ONCE,
}
"""How far an answer may reach at most, by risk (approvals part §3.5)."""
_SCOPES = tuple(Scope)


def approval_needed(decision: PolicyDecision, posture: EffectivePosture, target: Target) -> bool:
    """Tell whether anything on the path asks for a person. Computed once, at gate 9's entry."""
    return (
        decision.effect is Effect.REQUIRE_APPROVAL
        or posture.state == "ask_each_time"
        or (target.skill is not None and target.requires_approval and not posture.explicit)
    )


def build_obligation(
    decision: PolicyDecision,
    target: Target,
    placement: Placement | None = None,
    posture: EffectivePosture | None = None,
    *,
    channel: str = "",
) -> tuple[ApprovalObligation, str]:
    """Return the merged obligation and the risk it is asked with: nothing lowers either."""
    asked = [item for item in decision.obligations if item.kind == "approval"]
    risks = tuple(item.risk for item in asked)
    risk = assess_call(target, placement, channel=channel, asked=risks).risk
    quorum = max((item.quorum for item in asked), default=1)
    obligation = ApprovalObligation(
        quorum=max(quorum, CRITICAL_QUORUM) if risk == Risk.CRITICAL else quorum,
        role_sets=tuple(frozenset({role}) for item in asked for role in item.approver_roles),
        timeout_s=DEFAULT_TIMEOUT_S,
        max_scope=_narrowest(_WIDEST[risk], _of_posture(posture)),
        step_up=risk in (Risk.HIGH, Risk.CRITICAL) or any(item.step_up for item in asked),
        comment=risk == Risk.CRITICAL,
        max_uses=None,
        policy_ids=tuple(sorted({policy for item in asked for policy in item.policy_ids})),
    )
    return obligation, risk


def _of_posture(posture: EffectivePosture | None) -> str:
    """An `ask_each_time` that nobody further down may loosen is asked each time."""
    rows = posture.chain if posture is not None else ()
    kept = any(row.state == PostureState.ASK_EACH_TIME and not row.overridable for row in rows)
    return Scope.ONCE if kept else Scope.ALWAYS


def _narrowest(*scopes: str) -> str:
    """Return the scope that reaches the least; one that is not known reaches nothing but this call."""
    return min((scope if scope in _SCOPES else Scope.ONCE for scope in scopes), key=_rank)


def _rank(scope: str) -> int:
    return next(rank for rank, known in enumerate(_SCOPES) if known == scope)


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
