"""What an approval page offers beside the decision, and why not."""

from __future__ import annotations

from approvals.break_glass import SHORTEST_REASON, overdue
from approvals.eligibility import DECIDED_WITH, could_answer
from approvals.models import ApprovalRequest
from approvals.selectors import glass_breaking_of
from governance.admin.access import Visit
from governance.admin.inbox import Standing, reason_for
from governance.admin.verbs import Answered, Offer, VerbForm, form_of, offer
from identity.roles import Permission

FORCE = Permission.APPROVALS_BREAK_GLASS
OVERDUE = "An earlier break-glass decision of yours waits for its review."
NO_PART = "Somebody without a part in this request has to force it."


def offers(
    visit: Visit, request: ApprovalRequest, stand: Standing, answered: Answered | None
) -> dict[str, object]:
    """Return the forms of the page's verbs; `glass` is None for who may never force anything."""
    permission = DECIDED_WITH[request.subject_type]
    own = visit.principal.id in (request.requester_id, request.requester_owner_id)
    withdraw = Offer(True) if own else offer(visit, permission, workspace_id=request.workspace_id)
    edit = Offer(stand.may_answer, reason=stand.reason)
    return {
        "withdraw": form_of(visit, "withdraw", withdraw, answered),
        "glass": _glass(visit, request, answered),
        "may_edit": edit.allowed and bool(request.calls.all()),
        "shortest_reason": SHORTEST_REASON,
    }


def _glass(visit: Visit, request: ApprovalRequest, answered: Answered | None) -> VerbForm | None:
    """Return the form that forces a request, which always takes a new code; None where the feature is off."""
    refusal = visit.refusal(FORCE, request.workspace_id)
    if refusal not in (None, "step_up_required"):
        return None
    found = glass_breaking_of(request=request, principal=visit.principal, now=visit.now)
    if overdue(visit.principal.id, visit.now).exists():
        return form_of(visit, "glass", Offer(False, reason=OVERDUE), answered)
    if not could_answer(found):
        reason = reason_for(request, found.code, found.relation) or NO_PART
        return form_of(visit, "glass", Offer(False, reason=reason), answered)
    return form_of(visit, "glass", Offer(True, needs_code=True), answered)
