"""Asking a second person whether somebody's records are erased, and erasing them when they allow it.

Everything here runs inside the transaction of the operation, or of the review, that calls it: the answer
and the erasure stand or fall together, so that neither can be lost by a crash between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from approvals import selectors as approval_selectors, services as approvals
from approvals.models import ApprovalRequest
from approvals.services import MAX_TIMEOUT_S, ReviewOutcome
from approvals.types import ApprovalObligation, NewRequest, Scope, SubjectType
from governance.journal import erase
from governance.journal.erase import Reach
from governance.journal.ledger import record
from governance.proposals import action_digest
from governance.risk import Assessment, RiskFacts, assess
from governance.safety.secrets import mask
from governance.safety.visible import visible
from identity.roles import Permission
from identity.selectors import permissions_of_user
from identity.types import Principal
from kernel.errors import ConflictError, Detail, InvalidError, RefusedError

OPERATION = "journal.erase"
SHORTEST_REASON, LONGEST_REASON = 3, 500
_WORDS = {erase.RUN: "a run", erase.AGENT: "an agent with all its runs", erase.USER: "a person"}


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be erased and why, as the action digest binds it."""

    subject: str
    reason: str

    def as_json(self) -> dict[str, object]:
        return {"subject": self.subject, "reason": self.reason}


def wish_for(subject: str, reason: str) -> Wish:
    """Return the wish; InvalidError for a reason that says nothing. Secrets in it are masked."""
    said = visible(mask(reason.strip()).text)
    if not SHORTEST_REASON <= len(said) <= LONGEST_REASON:
        sentence = f"Say why, in {SHORTEST_REASON} to {LONGEST_REASON} characters."
        raise InvalidError("invalid", sentence, errors=(Detail("/reason", "length", sentence),))
    return Wish(subject, said)


def ask(wish: Wish, reach: Reach, principal: Principal, now: datetime) -> ApprovalRequest:
    """Ask somebody else who holds `journal.erase`; RefusedError `four_eyes_required` when there is nobody.

    Asking the same again changes nothing.
    """
    request = _question(wish, reach, principal)
    if not approval_selectors.has_eligible_reviewer(request, now):
        raise RefusedError("four_eyes_required", "Nobody else holds journal.erase there.")
    return approvals.open_request(request=request, actor=principal.actor(), now=now, record=record)


def apply(outcome: ReviewOutcome, principal: Principal, now: datetime) -> None:
    """Erase what was allowed, checked again in full; a refusal undoes the review and the request waits on.

    Raises as `erase.hold`; RefusedError `role_required` when who asked may not ask any more, and
    `four_eyes_required` for an answer that somebody forced alone: nothing about an erasure is urgent.
    """
    request = outcome.request
    if outcome.kind != "allowed" or request.subject_type != SubjectType.ERASURE:
        return
    if request.break_glass:
        raise RefusedError("four_eyes_required", "An erasure is never forced.")
    wish = _bound(request)
    held = permissions_of_user(user_id=request.requester_id, workspace_id=request.workspace_id, now=now)
    if Permission.JOURNAL_ERASE not in held:
        raise RefusedError("role_required", "Who asked for this may not erase any more.")
    reach = erase.hold(erase.reach_of(wish.subject), now)
    if reach.workspace_id != request.workspace_id:
        raise ConflictError("conflict", "By now it reaches further than what was asked about; ask again.")
    erase.erase(
        reach,
        reason=wish.reason,
        request_id=request.pk,
        single_operator=outcome.single_operator,
        actor=principal.actor(),
        now=now,
        record=record,
    )


def _question(wish: Wish, reach: Reach, principal: Principal) -> NewRequest:
    found = assess(RiskFacts(SubjectType.ERASURE))
    return NewRequest(
        subject_type=SubjectType.ERASURE,
        subject_id=wish.subject,
        subject_label=f"erasure:{wish.subject}",
        action_digest=_digest(wish, principal.id),
        policy_set_hash="",
        tool_definition_hash=None,
        obligation=_OBLIGATION,
        requester_kind=principal.kind.value,
        requester_id=principal.id,
        requester_owner_id=principal.owner_id,
        workspace_id=reach.workspace_id,
        run_id=None,
        session_id=None,
        context=_context(wish, reach, principal, found),
        risk=found.risk,
        timeout_s=MAX_TIMEOUT_S,
        call_id=None,
        resume=wish.as_json(),
    )


_OBLIGATION = ApprovalObligation(
    quorum=1,
    role_sets=(),
    timeout_s=MAX_TIMEOUT_S,
    max_scope=Scope.ONCE,
    step_up=True,
    comment=True,
    max_uses=None,
    policy_ids=(),
)


def _context(wish: Wish, reach: Reach, principal: Principal, found: Assessment) -> dict[str, object]:
    what = f"{_WORDS[reach.kind]} ({wish.subject})"
    return {
        "title": f"Erase {what}",
        "summary": f"user {principal.id} wants to erase {what}: the data of {len(reach.runs)} runs becomes"
        " unreadable. Events, digests and attestations stay and prove as before.",
        "risk": found.risk,
        "risk_reasons": list(found.reasons),
        "parameters_view": wish.as_json(),
        "warnings": ["Backups made before keep what is erased until they age out."],
        "requester": {"kind": principal.kind.value, "id": principal.id, "owner": principal.owner_id},
        "resource": wish.subject,
    }


def _bound(request: ApprovalRequest) -> Wish:
    """Return what was allowed, or raise unless it is the one that the digest is bound to."""
    stored = request.resume
    wish = Wish(str(stored["subject"]), str(stored["reason"]))
    if _digest(wish, request.requester_id) != request.action_digest or wish.subject != request.subject_id:
        raise ConflictError("conflict", "The request is not about what its digest says.")
    return wish


def _digest(wish: Wish, requester_id: str) -> str:
    return action_digest(
        principal_id=requester_id,
        owner_id=requester_id,
        target={"tool": None, "schema_version": None, "resource": wish.subject},
        operation=OPERATION,
        parameters=wish.as_json(),
    )
