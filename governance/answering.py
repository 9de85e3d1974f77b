"""What a person's answer needs beside what approvals asks, and what it does to the rest of the run."""

from __future__ import annotations

from datetime import datetime

from approvals.eligibility import DECIDED_WITH
from approvals.models import ApprovalRequest
from approvals.services import ReviewOutcome, already_decided
from approvals.types import ReviewInput, Verdict
from governance import authority, ending
from governance.runs.turns import hold_run
from identity.roles import Permission
from identity.types import Principal
from kernel.errors import ConflictError, Detail, InvalidError
from policy.types import EntityRef


def require_whole(answer: ReviewInput) -> None:
    """Raise InvalidError for an answer that ends a run without denying."""
    if answer.end_run and answer.verdict != Verdict.DENY:
        raise _invalid("Only a deny ends the run.")


def require_policy(
    request: ApprovalRequest, answer: ReviewInput, principal: Principal, now: datetime
) -> None:
    """Ask Cedar whether this person may answer such a request, and force it if that is what they do."""
    permissions = [DECIDED_WITH[request.subject_type]]
    if answer.break_glass:
        permissions.append(Permission.APPROVALS_BREAK_GLASS)
    for permission in permissions:
        resource = EntityRef("ApprovalRequest", request.id)
        authority.require_policy(principal, permission, resource, request.workspace_id, now)


def end_run_too(outcome: ReviewOutcome, principal: Principal, now: datetime) -> None:
    """Cancel the run of a request that was just denied, with all that waits, is queued or runs in it.

    Needs `runs.cancel_any` too. ConflictError `already_decided` when the request was denied before and
    its run goes on: the answer that is stored did not say so. The caller holds the run.
    """
    request = outcome.request
    if not request.run_id:
        raise _invalid("This request belongs to no run.")
    run = hold_run(request.run_id)
    if run.state != "open":
        if outcome.kind == "repeated":
            return
        raise ConflictError("run.closed", "The run is closed.")
    if outcome.kind != "denied":
        raise already_decided(request)
    authority.require_verb(principal, Permission.RUNS_CANCEL_ANY, run.workspace_id, now)
    ending.end_run(run, "cancelled", "approval_denied", "run_closed", principal.actor(), now)


def _invalid(sentence: str) -> InvalidError:
    return InvalidError("invalid", sentence, errors=(Detail("/end_run", "invalid", sentence),))
