"""Asking people for more calls in a run, and giving them: the one question about a budget that exists.

The ceiling of the workspace stays: a person raises what a run was opened with, never what policy allows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from math import ceil

from django.db.models import F

from approvals import selectors as approval_selectors, services as approvals
from approvals.limits import asks_too_much
from approvals.models import ApprovalRequest
from approvals.services import ReviewOutcome
from approvals.types import ApprovalObligation, CloseCode, NewRequest, RequestStatus, Risk, Scope, SubjectType
from governance.journal.ledger import record
from governance.models import Run
from governance.obligations import DEFAULT_TIMEOUT_S
from governance.parameter_views import shown_text
from governance.proposals import action_digest
from governance.risk import Assessment, RiskFacts, assess
from governance.runs.turns import hold_run
from identity.parties import parties_to
from identity.types import Principal
from kernel.errors import ConflictError, Detail, InvalidError, RateLimitedError, RefusedError
from kernel.record import system_actor
from policy.selectors import tool_call_config

OPERATION = "budget.raise"
_PENDING = {"status": RequestStatus.PENDING, "subject_type": SubjectType.BUDGET_OVERRIDE}


@dataclass(frozen=True, slots=True)
class Wish:
    """To how many calls a run is to be raised, from the number it may make now."""

    run_id: str
    before: int
    wanted: int

    def as_json(self) -> dict[str, object]:
        return {"run": self.run_id, "calls_limit": self.before, "max_calls": self.wanted}


def ask_for_more(run: Run, wanted: int, reason: str, principal: Principal, now: datetime) -> ApprovalRequest:
    """Ask people to let a run, whose turn the caller holds, make `wanted` calls in all.

    Asking the same again changes nothing. ConflictError while another number is asked about, or when the
    run is closed; InvalidError for a number that is no raise or above the ceiling of the workspace;
    RefusedError `four_eyes_required` when nobody could answer, RateLimitedError when people are asked
    too often.
    """
    wish = _checked(run, wanted, now)
    asked = _question(wish, run, reason, principal, now)
    waiting = ApprovalRequest.objects.filter(run_id=run.id, **_PENDING, expires_at__gt=now)
    if waiting.exclude(action_digest=asked.action_digest).exists():
        raise ConflictError("conflict", "Another raise of this run waits for an answer.")
    if not waiting.exists():
        _require_askable(asked, now)
    return approvals.open_request(request=asked, actor=principal.actor(), now=now, record=record)


def apply(outcome: ReviewOutcome, principal: Principal, now: datetime) -> None:
    """Give a run what people allowed, in the transaction of the answer; a refusal undoes the answer too."""
    request = outcome.request
    if outcome.kind != "allowed" or request.subject_type != SubjectType.BUDGET_OVERRIDE:
        return
    wish = _bound(request)
    run = hold_run(wish.run_id)
    after = min(wish.wanted, tool_call_config(run.workspace_id).max_calls_per_run)
    if after <= wish.before:
        raise ConflictError("conflict", "The workspace does not allow as many calls any more.")
    rows = Run.objects.filter(id=run.id, state="open", deadline_at__gt=now, max_calls=wish.before)
    if rows.update(max_calls=after, version=F("version") + 1) != 1:
        raise ConflictError("conflict", "The run ended, or its allowance is another by now.")
    record(
        event="budget.raised",
        actor=principal.actor(),
        subject=run.id,
        now=now,
        data={"request": request.id, "metric": "calls", "before": wish.before, "after": after},
        run=run.id,
    )


def withdraw(run: Run, now: datetime) -> None:
    """End what was asked about the allowance of a run that ends."""
    for request_id in ApprovalRequest.objects.filter(run_id=run.id, **_PENDING).values_list("id", flat=True):
        approvals.cancel_request(
            request_id=request_id,
            close_code=CloseCode.RUN_CLOSED,
            actor=system_actor("runs"),
            now=now,
            record=record,
        )


def _checked(run: Run, wanted: int, now: datetime) -> Wish:
    if run.state != "open" or run.deadline_at <= now:
        raise ConflictError("run.closed", "The run is closed.")
    if run.approval_channel == "none":
        raise _invalid("The run has nobody to ask.")
    most = tool_call_config(run.workspace_id).max_calls_per_run
    if not run.max_calls < wanted <= most:
        raise _invalid(f"A raise is to more than {run.max_calls} and at most {most} calls.")
    return Wish(run.id, run.max_calls, wanted)


def _invalid(sentence: str) -> InvalidError:
    return InvalidError("invalid", sentence, errors=(Detail("/max_calls", "range", sentence),))


def _require_askable(asked: NewRequest, now: datetime) -> None:
    if not approval_selectors.has_eligible_reviewer(asked, now):
        raise RefusedError("four_eyes_required", "No active person may answer this request.")
    excess = asks_too_much(asked, now)
    if excess is not None:
        raise RateLimitedError(
            "rate_limited", "People would be asked too often.", retry_after=excess.retry_after
        )


def _question(wish: Wish, run: Run, reason: str, principal: Principal, now: datetime) -> NewRequest:
    percent = ceil(100 * (wish.wanted - wish.before) / wish.before)
    found = assess(RiskFacts(SubjectType.BUDGET_OVERRIDE, raise_percent=percent))
    parties = parties_to(principal)
    return NewRequest(
        subject_type=SubjectType.BUDGET_OVERRIDE,
        subject_id=run.id,
        subject_label="budget:calls",
        action_digest=_digest(wish, principal.id, principal.owner_id),
        policy_set_hash="",
        tool_definition_hash=None,
        obligation=_obligation(found.risk),
        requester_kind=principal.kind.value,
        requester_id=principal.id,
        requester_owner_id=principal.owner_id,
        minter_id=parties.minter,
        parties=parties.others,
        workspace_id=run.workspace_id,
        run_id=run.id,
        session_id=run.session_id,
        context=_context(wish, run, reason, principal, found),
        risk=found.risk,
        timeout_s=DEFAULT_TIMEOUT_S,
        call_id=None,
        device_id=run.device_id,
        channel=run.channel,
        resume=wish.as_json(),
    )


def _obligation(risk: str) -> ApprovalObligation:
    return ApprovalObligation(
        quorum=1,
        role_sets=(),
        timeout_s=DEFAULT_TIMEOUT_S,
        max_scope=Scope.ONCE,
        step_up=risk in (Risk.HIGH, Risk.CRITICAL),
        comment=False,
        max_uses=None,
        policy_ids=(),
    )


def _context(wish: Wish, run: Run, reason: str, principal: Principal, found: Assessment) -> dict[str, object]:
    return {
        "title": f"Let a run make {wish.wanted} calls",
        "summary": f"{principal.kind.value} {principal.id} wants {wish.wanted} calls in {run.id} instead of"
        f" {wish.before}; {run.calls_used} are used.",
        "risk": found.risk,
        "risk_reasons": list(found.reasons),
        "parameters_view": wish.as_json(),
        "warnings": [],
        "budget": {"calls_used": run.calls_used, "calls_limit": wish.before},
        "requester": {
            "kind": principal.kind.value,
            "id": principal.id,
            "owner": principal.owner_id,
            "run": run.id,
            "session": run.session_id,
        },
        "said_by_agent": {"reason": shown_text(reason), "purpose": shown_text(run.purpose) or None},
        "resource": run.id,
    }


def _bound(request: ApprovalRequest) -> Wish:
    """Return what was allowed, or raise unless it is the one that the digest is bound to."""
    stored = request.resume
    wish = Wish(str(stored["run"]), int(stored["calls_limit"]), int(stored["max_calls"]))
    bound = _digest(wish, request.requester_id, request.requester_owner_id)
    if bound != request.action_digest or wish.run_id != request.run_id:
        raise ConflictError("conflict", "The request is not about what its digest says.")
    return wish


def _digest(wish: Wish, requester_id: str, owner_id: str) -> str:
    return action_digest(
        principal_id=requester_id,
        owner_id=owner_id,
        target={"tool": None, "schema_version": None, "resource": wish.run_id},
        operation=OPERATION,
        parameters=wish.as_json(),
    )
