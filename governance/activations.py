"""Four eyes over the rules: what a second person is asked, and what their answer does.

Everything here runs inside the transaction of the operation, or of the review, that calls it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from approvals import selectors as approval_selectors, services as approvals
from approvals.models import ApprovalRequest
from approvals.services import MAX_TIMEOUT_S, ReviewOutcome
from approvals.types import ApprovalObligation, NewRequest, Risk, SubjectType
from governance.journal.ledger import record
from governance.proposals import action_digest
from governance.safety.secrets import mask
from governance.safety.visible import visible
from identity.models import Workspace
from identity.selectors import INSTANCE
from identity.types import Principal
from kernel.errors import ConflictError, RefusedError
from policy import activation
from policy.activation import ActivationWish, Consent
from policy.diffing import SetDiff, diff_sets
from policy.epoch import hold_epoch
from policy.models import PolicySet, SimulationRun
from policy.set_selectors import active_set, author_ids, source_files

ACTIVATE = "policy.activate"
ROLLBACK = "policy.rollback"
MOST_RULES = 50
"""Names of changed rules that an approver is shown; the diff has all of them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for, as it is bound by the action digest. `simulation` is None for a rollback."""

    verb: str
    set_id: str
    hash: str
    in_force: str
    reason: str
    simulation: int | None
    acknowledged_loosened: int | None

    def as_json(self) -> dict[str, object]:
        return {
            "verb": self.verb,
            "set": self.set_id,
            "hash": self.hash,
            "in_force": self.in_force,
            "reason": self.reason,
            "simulation": self.simulation,
            "acknowledged_loosened": self.acknowledged_loosened,
        }

    @property
    def wish(self) -> ActivationWish:
        return ActivationWish(self.reason, self.simulation or 0, self.acknowledged_loosened or 0)


def plan_to(verb: str, policy_set: PolicySet, reason: str, wish: ActivationWish | None = None) -> Plan:
    """Return the plan to put this set in force, or its text again."""
    left = active_set(policy_set.domain)
    return Plan(
        verb=verb,
        set_id=policy_set.pk,
        hash=policy_set.hash or "",
        in_force=left.pk if left else "",
        reason=activation.checked_reason(visible(mask(reason).text)),
        simulation=wish.simulation if wish else None,
        acknowledged_loosened=wish.acknowledged_loosened if wish else None,
    )


def ask(plan: Plan, policy_set: PolicySet, principal: Principal, now: datetime) -> ApprovalRequest:
    """Ask somebody who holds `policy.activate` and wrote none of it; RefusedError when there is nobody."""
    instance = Workspace.objects.values_list("pk", flat=True).get(slug=INSTANCE)
    excluded = author_ids(policy_set) if plan.verb == ACTIVATE else frozenset[str]()
    request = NewRequest(
        subject_type=SubjectType.POLICY_ACTIVATION,
        subject_id=policy_set.pk,
        subject_label=f"policy:{policy_set.domain} v{policy_set.version}",
        action_digest=_digest(plan, principal.id),
        policy_set_hash=plan.hash,
        tool_definition_hash=None,
        obligation=_obligation(excluded),
        requester_kind=principal.kind.value,
        requester_id=principal.id,
        requester_owner_id=principal.owner_id,
        workspace_id=instance,
        run_id=None,
        session_id=None,
        context=_context(plan, policy_set, principal),
        risk=Risk.CRITICAL,
        timeout_s=MAX_TIMEOUT_S,
        call_id=None,
    )
    if not approval_selectors.has_eligible_reviewer(request, now):
        raise RefusedError("four_eyes_required", "Nobody else holds policy.activate and wrote none of it.")
    return approvals.open_request(request=request, actor=principal.actor(), now=now, record=record)


def set_asked_about(request_id: str) -> str | None:
    """Return the policy set that a request is about, or None for a request about something else."""
    about = ApprovalRequest.objects.filter(pk=request_id, subject_type=SubjectType.POLICY_ACTIVATION)
    return about.values_list("subject_id", flat=True).first()


def hold_turn(request_id: str) -> None:
    """Before a review of such a request: wait for whoever changes the rules, as every writer does first."""
    if set_asked_about(request_id) is not None:
        hold_epoch()


def apply(outcome: ReviewOutcome, principal: Principal, now: datetime) -> None:
    """Do what was allowed, checked again in full; a refusal undoes the review and the request waits on."""
    request = outcome.request
    if outcome.kind != "allowed" or request.subject_type != SubjectType.POLICY_ACTIVATION:
        return
    plan = _bound_plan(request)
    consent = Consent(asked_by=request.requester_id, request=request.pk, client_ip=principal.client_ip)
    perform(plan, consent, principal, now)


def perform(plan: Plan, consent: Consent, principal: Principal, now: datetime) -> PolicySet:
    """Carry a plan out in the name of whoever stands behind it."""
    left = active_set(PolicySet.objects.values_list("domain", flat=True).get(pk=plan.set_id))
    if (left.pk if left else "") != plan.in_force:
        raise ConflictError("policy_base_moved", "Another set came into force since this was asked.")
    if plan.verb == ROLLBACK:
        return activation.rollback(
            set_id=plan.set_id,
            reason=plan.reason,
            consent=consent,
            actor=principal.actor(),
            now=now,
            record=record,
        )
    return activation.activate(
        set_id=plan.set_id,
        wish=plan.wish,
        consent=consent,
        actor=principal.actor(),
        now=now,
        record=record,
    )


def _bound_plan(request: ApprovalRequest) -> Plan:
    """Return the plan a request shows, or raise unless it is the one its digest is bound to."""
    shown: Mapping[str, object] = request.context["parameters_view"]
    number, loosened = shown["simulation"], shown["acknowledged_loosened"]
    plan = Plan(
        verb=str(shown["verb"]),
        set_id=str(shown["set"]),
        hash=str(shown["hash"]),
        in_force=str(shown["in_force"]),
        reason=str(shown["reason"]),
        simulation=number if isinstance(number, int) else None,
        acknowledged_loosened=loosened if isinstance(loosened, int) else None,
    )
    if _digest(plan, request.requester_id) != request.action_digest or plan.set_id != request.subject_id:
        raise ConflictError("conflict", "The request is not about what its digest says.")
    return plan


def _digest(plan: Plan, requester_id: str) -> str:
    return action_digest(
        principal_id=requester_id,
        owner_id=requester_id,
        target={"tool": None, "schema_version": plan.hash, "resource": plan.set_id},
        operation=plan.verb,
        parameters=plan.as_json(),
    )


def _obligation(excluded: frozenset[str]) -> ApprovalObligation:
    return ApprovalObligation(
        quorum=1,
        role_sets=(),
        timeout_s=MAX_TIMEOUT_S,
        max_scope="once",
        step_up=True,
        comment=True,
        max_uses=None,
        policy_ids=(),
        excluded=excluded,
    )


def _context(plan: Plan, policy_set: PolicySet, principal: Principal) -> dict[str, object]:
    """Return what the second person sees before they answer (approvals part §3.2)."""
    left = active_set(policy_set.domain)
    diff = _named(diff_sets(source_files(left) if left else (), source_files(policy_set)))
    counted = ", ".join(f"{len(names)} rules {change}" for change, names in diff.items())
    verb = "restore" if plan.verb == ROLLBACK else "activate"
    return {
        "title": f"{verb.capitalize()} version {policy_set.version} of the rules",
        "summary": f"user {principal.id} wants to {verb} version {policy_set.version} of {policy_set.domain}"
        f" in place of version {left.version if left else 'none'}: {counted}.",
        "risk": Risk.CRITICAL.value,
        "risk_reasons": ["The rules decide about every call of every agent."],
        "parameters_view": plan.as_json(),
        "warnings": [],
        "policy_set": {
            "id": policy_set.pk,
            "version": policy_set.version,
            "domain": policy_set.domain,
            "title": visible(mask(policy_set.title).text),
            "note": visible(mask(policy_set.reason).text),
            "hash": plan.hash,
            "authors": sorted(author_ids(policy_set)),
        },
        "diff": {change: names[:MOST_RULES] for change, names in diff.items()},
        "simulation": _simulated(policy_set, plan.simulation),
        "requester": {"kind": principal.kind.value, "id": principal.id, "owner": principal.owner_id},
    }


def _named(diff: SetDiff) -> dict[str, list[str]]:
    """Return the ids of rules that are added, removed or changed."""
    return {
        "added": [rule.id for rule in diff.added],
        "removed": [rule.id for rule in diff.removed],
        "changed": [f"{rule.id} ({', '.join(rule.parts)})" for rule in diff.changed],
    }


def _simulated(policy_set: PolicySet, number: int | None) -> dict[str, object] | None:
    runs = SimulationRun.objects.filter(policy_set=policy_set)
    run = None if number is None else runs.filter(number=number).first()
    if run is None:
        return None
    names = ("number", "total", "unchanged", "loosened", "tightened", "reason_only", "inexact", "failed")
    return {name: getattr(run, name) for name in names}
