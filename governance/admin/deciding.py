"""The decision form of an approval: what was typed taken to the pipeline, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from approvals.models import ApprovalRequest
from approvals.services import ReviewOutcome
from approvals.types import RequestStatus, ReviewInput, SubjectType, Verdict
from governance import pipeline
from governance.admin.access import Visit
from governance.admin.answer_form import (
    FIELDS,
    PLACES,
    DecisionForm,
    faults,
    pattern_of,
    ttl_ms,
    typed,
)
from governance.admin.inbox import ABOUT_RULES, reason_for
from governance.admin.once import INCOMPLETE, Told, has_intent, new_intent, once
from governance.admin.pattern_picker import require_narrower
from governance.admin.stepping_up import step_up_if_given
from governance.idempotency import Ticket
from kernel.errors import ConflictError, PalyraError, PreconditionFailedError

CHANGED = "The request changed while this page was open. What is new is marked; decide once more."
NOT_RECORDED = "The decision was not recorded."
WORDS = {
    "allowed": "Allowed. The call goes on to its last checks and runs.",
    "denied": "Denied. The call does not run.",
    "open": "Your answer is recorded. The request waits for another person.",
    "repeated": "You said this before; nothing changed.",
}
WORDS_ABOUT: dict[str, dict[str, str]] = {
    ABOUT_RULES: {
        "allowed": "Allowed. The rules are in force.",
        "denied": "Denied. The rules in force stay.",
    },
    SubjectType.BUDGET_OVERRIDE: {
        "allowed": "Allowed. The run may make more calls.",
        "denied": "Denied. What the run may do stays as it is.",
    },
    SubjectType.ERASURE: {
        "allowed": "Allowed. It is erased.",
        "denied": "Denied. Nothing is erased.",
    },
}
"""What is said instead about questions that are not about a call."""


@dataclass(frozen=True, slots=True)
class Decided:
    """`sentence` tells the person what happened; `status` is the HTTP status when it failed.

    `form` is there when the page has to come back with what was typed. `is_late` says that somebody or
    something else ended the request first.
    """

    sentence: str
    status: int = 200
    form: DecisionForm | None = None
    is_late: bool = False


def decide(visit: Visit, request: ApprovalRequest) -> Decided:
    """Take the posted form to the pipeline once; a repeated post gets the first answer."""
    post = visit.request.POST
    form, verdict = typed(post), post.get("verdict", "")
    errors = faults(form, verdict=verdict, scope=post.get("scope", ""))
    if not has_intent(visit):
        errors["verdict"] = INCOMPLETE
    if errors:
        return Decided(NOT_RECORDED, 422, replace(form, errors=errors))
    told = once(
        visit,
        route=f"approvals/{request.pk}",
        fields={name: post.get(name, "") for name in FIELDS},
        work=lambda ticket: _once(visit, request, _input(visit, request, form, verdict), ticket),
        say=lambda refusal: sentence_for(request, refusal),
    )
    if told.refusal is None:
        return Decided(told.sentence, told.status)
    return _refused(request, form, told.refusal)


def _input(visit: Visit, request: ApprovalRequest, form: DecisionForm, verdict: str) -> ReviewInput:
    """Return the answer without its code; a deny reaches no further than the request."""
    allows = verdict == Verdict.ALLOW
    return ReviewInput(
        verdict=verdict,
        scope=form.scope if allows else None,
        ttl_ms=ttl_ms(form) if allows else None,
        pattern=pattern_of(form) if allows else None,
        comment=form.comment,
        seen_version=request.version,
        surface="console",
        end_run=form.end_run and not allows,
    )


def _once(visit: Visit, request: ApprovalRequest, answer: ReviewInput, ticket: Ticket) -> Told:
    _require_unchanged(visit.request.POST, request)
    if answer.verdict == Verdict.ALLOW:
        require_narrower(request, typed(visit.request.POST), visit)
    outcome = pipeline.review(
        request_id=request.pk,
        principal=visit.principal,
        answer=replace(answer, otp_verified_at=step_up_if_given(visit)),
        now=visit.now,
        ticket=ticket,
        render=lambda made: (200, {"sentence": told(made)}),
    )
    return Told(told(outcome))


def _require_unchanged(post: Mapping[str, str], request: ApprovalRequest) -> None:
    """A person decides what they saw; who comes after the end is told how it ended, by the pipeline."""
    seen = (post.get("digest"), post.get("version"))
    if request.status == RequestStatus.PENDING and seen != (request.action_digest, str(request.version)):
        raise PreconditionFailedError("precondition_failed", CHANGED)


def told(outcome: ReviewOutcome) -> str:
    """Return what a person is told about an outcome."""
    alone = " You decided alone by the sole-operator rule." if outcome.single_operator else ""
    words = WORDS | WORDS_ABOUT.get(outcome.request.subject_type, {})
    return words[outcome.kind] + alone


def _refused(request: ApprovalRequest, form: DecisionForm, refusal: PalyraError) -> Decided:
    sentence = sentence_for(request, refusal)
    fresh = replace(form, intent=new_intent())
    if refusal.status == PreconditionFailedError.status:
        return Decided(sentence, refusal.status, fresh)
    is_late = refusal.status == ConflictError.status and refusal.code == "already_decided"
    return Decided(sentence, refusal.status, replace(fresh, errors=errors_of(refusal, sentence)), is_late)


def errors_of(refusal: PalyraError, sentence: str) -> dict[str, str]:
    """Return what is wrong with a decision form, by field."""
    known = PLACES.get(refusal.code)
    if known:
        return {known: sentence}
    pointers = [one.pointer.strip("/").partition("/")[0] for one in refusal.errors]
    places = {
        "ttl_ms": "ttl",
        "decision": "verdict",
        "scope": "scope",
        "pattern": "pattern",
        "comment": "comment",
    }
    return {places.get(pointers[0], "verdict") if pointers else "verdict": sentence}


def sentence_for(request: ApprovalRequest, refusal: PalyraError) -> str:
    """Return what a person is told about a refusal."""
    part = refusal.extra.get("relation")
    known = {
        **{code: reason_for(request, code, part) for code in ("self_review", "not_a_reviewer")},
        "precondition_failed": CHANGED,
        "idempotency_in_progress": "The same decision is being recorded; reload the page.",
        "frozen": "A freeze is on: nothing may be allowed until it is lifted. Denying still works.",
    }
    details = " ".join(one.detail for one in refusal.errors if one.detail)
    return known.get(refusal.code) or details or refusal.detail or refusal.code
