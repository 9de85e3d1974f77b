"""The path of a tool call. Read it from top to bottom: submit, review, run.

`submit` takes a proposal through the nine gates and writes down what they said. `review` takes a
person's answer. `run` takes one queued call through its last checks, its sandbox and its
attestation. Each of the three writes its whole effect, journal events included, in one transaction;
nothing runs and nothing is sent inside one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from django.db import transaction

from approvals import services as approvals
from approvals.services import ReviewOutcome
from approvals.types import ReviewInput
from governance import (
    activations,
    allowances,
    answering,
    checks,
    closing,
    erasures,
    freezes,
    grants,
    idempotency,
    prompts,
    recheck,
    stepped_clock,
    wakeup,
)
from governance.calls import queue_call, write_call, write_proposal
from governance.gates import Gate, GateDenied, GateLog, GateRow
from governance.idempotency import Ticket
from governance.journal.ledger import record
from governance.models import Run, ToolCall
from governance.operations import refusals, sealing
from governance.proposals import Draft, Found, Proposal
from governance.runner import Worker, execute
from governance.runs.turns import hold_run, hold_run_of_request
from governance.selectors import CallView, require_proposable_run, view_of
from identity.types import Principal
from kernel.errors import ConflictError, Detail, InvalidError, PalyraError
from kernel.ids import new_id
from policy.catalog import shown_name

Render = Callable[[CallView], tuple[int, object]]
Clock = Callable[[], datetime]


def submit(
    *,
    proposal: Proposal,
    principal: Principal,
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> CallView:
    """Decide about a proposal and record it: denied, waiting for a person, or queued.

    Raises NotFoundError `run_not_found` and ConflictError `run.closed`: then no call exists. Any
    other refusal is a recorded call that was denied. UnavailableError, and no call either, for one that
    would run while the journal cannot be sealed.
    """
    unsealed = sealing.refusal_to_execute(now)
    with transaction.atomic(durable=True):
        call = decide(_draft(proposal, principal, now))
        if unsealed is not None and call.execution_id is not None:
            raise unsealed
        view = view_of(call)
        _store(ticket, render, view)
    return view


def decide(draft: Draft) -> ToolCall:
    """Take a proposal through the gates, write down what they said, and queue what they all let pass.

    The caller holds the run. The call's `effect` is `deny`, `require_approval` or `allow`.
    """
    write_proposal(draft, record)
    gates, found = GateLog(draft.now), Found()
    denial = walk(draft, gates, found)
    call = write_call(draft, gates, found, denial, record)
    if denial is not None:
        closing.close_denied(call, found, denial, draft.actor(), draft.now)
    elif call.approval_id is None:
        queue_call(call, found.placement, draft.actor(), draft.now, record)
        transaction.on_commit(wakeup.ring, robust=True)
    return call


def preview(*, proposal: Proposal, principal: Principal, now: datetime) -> dict[str, object]:
    """Decide without recording, reserving or asking; everything it wrote is rolled back."""
    with transaction.atomic(durable=True):
        draft = _draft(proposal, principal, now)
        gates, found = GateLog(now), Found()
        denial = walk(draft, gates, found)
        answer = prompts.preview(gates, found, denial)
        transaction.set_rollback(True)
    return answer


def walk(draft: Draft, gates: GateLog, found: Found) -> GateRow | None:
    """Take a draft through the nine gates; return the row that denied it, or None.

    The decision is the conjunction of all gates. Nobody is asked about a call that another gate
    would stop.
    """
    try:
        gates.take(Gate.AUTHENTICATE, lambda: checks.authenticate(draft))
        gates.take(Gate.RUN, lambda: checks.run_is_open(draft))
        target = found.target = gates.take(Gate.SCHEMA, lambda: checks.schema(draft))
        gates.take(Gate.SKILL, lambda: checks.skill(draft, target, found))
        found.posture = gates.take(Gate.POSTURE, lambda: checks.posture(draft, target))
        placement = found.placement = gates.take(Gate.BACKEND, lambda: checks.backend(draft, target))
        gates.take(Gate.POLICY, lambda: checks.policy(draft, target, found, approval=None))
        found.reservation_id = gates.take(Gate.BUDGET, lambda: checks.budget(draft, record))
        found.answer = gates.take(
            Gate.APPROVAL,
            lambda: checks.approval(draft, target, found, placement, record),
        )
    except GateDenied as denied:
        return denied.row
    return None


def review(
    *,
    request_id: str,
    principal: Principal,
    answer: ReviewInput,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[ReviewOutcome], tuple[int, object]] | None = None,
) -> ReviewOutcome:
    """Record a person's answer and let what waited for it go on or end.

    Raises RefusedError when this person may not answer, ConflictError `already_decided` when the
    request is closed or has expired. An allow of rules puts them in force, and a deny with `end_run`
    ends the run, in the same transaction; what stands against that refuses the answer too. A refusal
    leaves `request.refused` in the journal.
    """
    try:
        with transaction.atomic(durable=True):
            answering.require_whole(answer)
            hold_run_of_request(request_id)
            activations.hold_turn(request_id)
            outcome = approvals.record_review(
                request_id=request_id,
                principal=principal,
                review=answer,
                asked=grants.asked_call(request_id, now, with_history=answer.pattern is not None),
                no_earlier_than=stepped_clock.no_earlier_than(now),
                now=now,
                record=record,
            )
            asked = outcome.request
            if answer.verdict == "allow" and outcome.kind in ("open", "allowed"):
                freezes.require_unfrozen(asked)
            answering.require_policy(asked, answer, principal, now)
            apply_answer(outcome, principal, now)
            if answer.end_run and outcome.kind != "expired":
                answering.end_run_too(outcome, principal, now)
            activations.apply(outcome, principal, now)
            allowances.apply(outcome, principal, now)
            erasures.apply(outcome, principal, now)
            if ticket is not None and render is not None and outcome.kind != "expired":
                status, body = render(outcome)
                idempotency.store(ticket, status=status, body=body, object_id=request_id)
            transaction.on_commit(wakeup.ring, robust=True)
    except PalyraError as refusal:
        refusals.record_refusal(principal, request_id, refusal, now)
        set_id = activations.set_asked_about(request_id)
        if set_id is not None:
            refusals.record_activation_refusal(principal, set_id, refusal, now, request_id)
        raise
    if outcome.kind == "expired":
        raise ConflictError("already_decided", "The request expired.", extra=prompts.outcome(outcome.request))
    return outcome


def apply_answer(outcome: ReviewOutcome, principal: Principal, now: datetime) -> None:
    """Give every call that waited on the request its answer."""
    if outcome.kind in ("open", "repeated"):
        return
    waiting = ToolCall.objects.filter(approval_id=outcome.request.id, effect="require_approval")
    if outcome.kind == "allowed":
        for call in waiting.filter(id__in=outcome.covered_call_ids).order_by("id"):
            closing.allow_call(call, outcome, principal.actor(), now)
    closing.close_waiting(outcome.request.id, principal.actor(), now)


def run(*, execution_id: str, worker: Worker, clock: Clock) -> None:
    """Run one queued execution, or record why it may not run. ConflictError: another worker has it.

    The claim re-checks everything that may have changed since the decision, in the transaction that
    makes the execution running. The outcome, the attestation and the settled budget are one
    transaction too; a worker that dies between the two leaves an execution that becomes ambiguous.

    Before all of this a decision of high risk is sealed: its proof exists before its effect. Raises
    UnavailableError, and the row stays queued, while the journal cannot be sealed.
    """
    sealing.prove_decision(execution_id, clock())
    with transaction.atomic(durable=True):
        now = clock()
        claim = recheck.claim(execution_id, worker, now)
        if claim is None:
            _ask_again(execution_id, worker, now)
    if claim is None:
        return
    outcome = execute(claim, worker, clock)
    if outcome is None:
        return
    with transaction.atomic(durable=True):
        closing.close_executed(claim, outcome, worker.actor(), clock())


def _ask_again(execution_id: str, worker: Worker, now: datetime) -> None:
    """Propose a call once more that was refused because more is asked for by now than people approved.

    The refused call stays refused and names the new one, which has a story of its own from the start.
    """
    before = recheck.to_ask_again(execution_id)
    principal = recheck.principal_of_call(before, now) if before is not None else None
    if before is None or principal is None:
        return
    draft = Draft(
        call_id=new_id("call", now),
        proposal=Proposal.of_call(before),
        principal=principal,
        run=hold_run(before.run_id),
        now=now,
        again_by=worker.actor(),
    )
    after = decide(draft)
    closing.replace_refused(before, after, worker.actor(), now)


def _draft(proposal: Proposal, principal: Principal, now: datetime) -> Draft:
    run_row = hold_run(require_proposable_run(principal, proposal.run_id).id)
    if run_row.state != "open" or run_row.deadline_at <= now:
        raise ConflictError("run.closed", "The run is closed.")
    _require_parent(proposal, run_row)
    named = replace(proposal, tool=shown_name(proposal.tool))
    return Draft(call_id=new_id("call", now), proposal=named, principal=principal, run=run_row, now=now)


def _require_parent(proposal: Proposal, run_row: Run) -> None:
    """A nested call names a call of its own run; anything else would put it below somebody else's."""
    parent = proposal.parent_call_id
    if parent is not None and not run_row.calls.filter(id=parent).exists():
        detail = Detail("/parent_call_id", "unknown", "must be a call of this run")
        raise InvalidError("invalid", "The parent is not a call of this run.", errors=(detail,))


def _store(ticket: Ticket | None, render: Render | None, view: CallView) -> None:
    if ticket is not None and render is not None:
        status, body = render(view)
        idempotency.store(ticket, status=status, body=body, object_id=view.call.id)
