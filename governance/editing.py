"""Edit and approve: a person changes what a waiting call does, and the gates decide about that anew.

The call with the new arguments is a new call of the same agent with a digest of its own. What the editor
changed is theirs: up to medium risk the edit is their answer too, above it somebody else has to give one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from approvals import services as approvals
from approvals.answers import refuse
from approvals.editing import EditInput
from approvals.eligibility import EDITS_COUNT
from approvals.models import ApprovalRequest
from approvals.selectors import eligibility_of
from approvals.types import ReviewInput, Verdict
from governance import closing
from governance.freeze_scopes import FROZEN
from governance.journal.ledger import record
from governance.models import ToolCall
from governance.pipeline import apply_answer, decide
from governance.proposals import Draft, Edit, Proposal
from governance.recheck import principal_of_call
from governance.runs.turns import hold_run
from identity.types import Principal
from kernel.errors import ConflictError, Detail, InvalidError, RefusedError
from kernel.ids import new_id

SUPERSEDED = "approval.superseded"


@dataclass(frozen=True, slots=True)
class Edited:
    """The two calls of an edit. `request` is what the new one waits on or was allowed by, if anything."""

    before: ToolCall
    after: ToolCall
    asked: ApprovalRequest
    request: ApprovalRequest | None


def replace_call(
    asked: ApprovalRequest, new_input: object, edit: EditInput, editor: Principal, now: datetime
) -> Edited:
    """End the call that waited on a question just superseded, and take the new arguments through the gates.

    The caller holds the run. Its allowance is charged once: what the old call held is given back first.
    Raises InvalidError, RefusedError `frozen` or ConflictError `run.closed` when a gate denies, so that
    the old question stays as it was; InvalidError for the same arguments once more, ConflictError for
    arguments that the agent asks about in another question.
    """
    before = _waiting_call(asked)
    closing.close_answered(before, SUPERSEDED, "A person changed what it does.", editor.actor(), now)
    closing.close_waiting(asked.id, editor.actor(), now)
    after = _decided(_draft(before, asked, new_input, editor, now), before)
    _link(before, after, editor, now)
    request = ApprovalRequest.objects.filter(id=after.approval_id or "").first()
    if request is not None and request.subject_id != after.id:
        raise ConflictError("conflict", "The agent asks for exactly this already; answer that request.")
    _record_edit(asked, before, after, request, edit, editor, now)
    if request is not None:
        request = _count_as_allow(request, edit, editor, now)
    after.refresh_from_db()
    before.refresh_from_db()
    return Edited(before, after, asked, request)


def _waiting_call(asked: ApprovalRequest) -> ToolCall:
    """The call that asked first. Others that wait on the same question end with it."""
    waiting = ToolCall.objects.filter(approval_id=asked.id, effect="require_approval").order_by("id")
    found = waiting.select_related("run").first()
    if found is None:
        raise ConflictError("state_changed", "No call waits on this request.")
    return found


def _draft(
    before: ToolCall, asked: ApprovalRequest, new_input: object, editor: Principal, now: datetime
) -> Draft:
    agent = principal_of_call(before, now)
    if agent is None:
        raise _refused("identity.principal_not_live", "Who proposed the call may not propose calls any more.")
    return Draft(
        call_id=new_id("call", now),
        proposal=replace(Proposal.of_call(before), input=new_input),
        principal=agent,
        run=hold_run(before.run_id),
        now=now,
        edit=Edit(editor, before.id, asked.id, _editors_of(asked)),
    )


def _editors_of(asked: ApprovalRequest) -> frozenset[str]:
    """Return everybody who changed the call before: an edit of an edit still holds what they wrote."""
    editors = set()
    while asked.edited_from_id:
        editors.add(asked.edited_by_id)
        asked = ApprovalRequest.objects.defer("context_text").get(id=asked.edited_from_id)
    return frozenset(editors)


def _decided(draft: Draft, before: ToolCall) -> ToolCall:
    """Return the call that takes the place of `before`; what a denied one wrote down is rolled back."""
    call = decide(draft)
    if call.effect == "deny":
        raise _denied(call)
    if call.action_digest == before.action_digest:
        raise _refused("unchanged", "The arguments are those that are asked about already.")
    return call


def _denied(call: ToolCall) -> ConflictError | InvalidError | RefusedError:
    if call.reason_code == FROZEN:
        return RefusedError("frozen", call.reason)
    if call.reason_code == "run.closed":
        return ConflictError("run.closed", call.reason)
    return _refused(call.reason_code, call.reason)


def _refused(code: str, sentence: str) -> InvalidError:
    return InvalidError("invalid", sentence, errors=(Detail("/input", code, sentence),))


def _link(before: ToolCall, after: ToolCall, editor: Principal, now: datetime) -> None:
    ToolCall.objects.filter(id=before.id).update(superseded_by_id=after.id, updated_at=now)
    record(
        event="tool_call.superseded",
        actor=editor.actor(),
        subject=before.id,
        now=now,
        data={"by": after.id, "action_digest": after.action_digest},
        run=before.run_id,
        call=before.id,
    )


def _record_edit(
    asked: ApprovalRequest,
    before: ToolCall,
    after: ToolCall,
    request: ApprovalRequest | None,
    edit: EditInput,
    editor: Principal,
    now: datetime,
) -> None:
    record(
        event="approval.edited",
        actor=editor.actor(),
        subject=asked.id,
        now=now,
        data={
            "request": request.id if request is not None else None,
            "call": before.id,
            "new_call": after.id,
            "action_digest": after.action_digest,
            "comment": edit.comment.strip(),
            "surface": edit.surface,
        },
        run=before.run_id,
        call=after.id,
    )


def _count_as_allow(
    request: ApprovalRequest, edit: EditInput, editor: Principal, now: datetime
) -> ApprovalRequest:
    """Take the edit for the editor's allow, if the risk lets it and they may answer the new question.

    What the new question asks of an editor who could give it, a fresh code, is asked for at once.
    """
    if request.risk not in EDITS_COUNT:
        return request
    allowed = eligibility_of(request=request, principal=editor, otp_verified_at=edit.otp_verified_at, now=now)
    if allowed.code == "step_up_required":
        raise refuse(allowed)
    if not allowed.ok:
        return request
    outcome = approvals.record_review(
        request_id=request.id,
        principal=editor,
        review=ReviewInput(
            verdict=Verdict.ALLOW,
            comment=edit.comment,
            otp_verified_at=edit.otp_verified_at,
            surface=edit.surface,
        ),
        now=now,
        record=record,
    )
    apply_answer(outcome, editor, now)
    return outcome.request
