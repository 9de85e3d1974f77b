"""What rules ask for besides their effect: obligations add up, and the strictest of each kind counts."""

from __future__ import annotations

from collections.abc import Iterable

from policy.compilation import OBLIGATIONS, Rule
from policy.types import ApprovalFacts, Obligation, Risk


def unknown_obligations(rules: Iterable[Rule]) -> list[str]:
    """Return the names of obligations that nobody here can meet, sorted."""
    return sorted(name for rule in rules for name in rule.obligations - OBLIGATIONS)


def obligations_of(rules: Iterable[Rule], *, least_risk: str = Risk.LOW) -> tuple[Obligation, ...]:
    """Return the union of what these rules ask for: one obligation per kind, the strictest of each.

    No obligation has a smaller risk than `least_risk`, that of what is acted upon.
    """
    built = [_obligation(rule, kind, least_risk) for rule in rules for kind in sorted(_kinds(rule))]
    return merge((), tuple(built))


def merge(one: tuple[Obligation, ...], other: tuple[Obligation, ...]) -> tuple[Obligation, ...]:
    """Return both together, one obligation per kind, sorted by kind."""
    merged: dict[str, Obligation] = {}
    for item in (*one, *other):
        merged[item.kind] = _join(merged[item.kind], item) if item.kind in merged else item
    return tuple(merged[kind] for kind in sorted(merged))


def is_met(obligation: Obligation, approval: ApprovalFacts) -> bool:
    """Tell whether an approval is enough: as many people, in each role, up to this risk, with a code.

    It answers for the rules that people were told of and for no others that ask by now.
    """
    if obligation.kind != "approval":
        return True
    return (
        approval.count >= obligation.quorum
        and set(obligation.approver_roles) <= approval.roles
        and Risk(obligation.risk).rank <= Risk(approval.risk).rank
        and (_is_proved(approval) or not obligation.step_up)
        and (approval.policy_ids is None or approval.policy_ids.issuperset(obligation.policy_ids))
    )


def _is_proved(approval: ApprovalFacts) -> bool:
    """Tell whether everybody proved a fresh code; for a high risk nobody can answer without one."""
    return approval.step_up or Risk(approval.risk).rank >= Risk.HIGH.rank


def _kinds(rule: Rule) -> set[str]:
    return {"approval" if kind == "step_up" else kind for kind in rule.obligations}


def _obligation(rule: Rule, kind: str, least_risk: str) -> Obligation:
    risk = _greatest(rule.annotations.get("risk", Risk.MEDIUM), least_risk)
    default_quorum = 2 if risk is Risk.CRITICAL else 1
    return Obligation(
        kind=kind,
        risk=risk,
        quorum=int(rule.annotations.get("quorum", default_quorum)),
        approver_roles=tuple(sorted(rule.approver_roles)),
        step_up="step_up" in rule.obligations or risk.rank >= Risk.HIGH.rank,
        policy_ids=(rule.id,),
    )


def _join(one: Obligation, other: Obligation) -> Obligation:
    return Obligation(
        kind=one.kind,
        risk=_greatest(one.risk, other.risk),
        quorum=max(one.quorum, other.quorum),
        approver_roles=tuple(sorted({*one.approver_roles, *other.approver_roles})),
        step_up=one.step_up or other.step_up,
        policy_ids=tuple(sorted({*one.policy_ids, *other.policy_ids})),
    )


def _greatest(*risks: str) -> Risk:
    return max((Risk(risk) for risk in risks), key=lambda risk: risk.rank)
