"""The decision form of an approval: what was typed, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from approvals.models import ApprovalRequest
from approvals.services import ReviewOutcome
from approvals.types import RequestStatus, ReviewInput, Verdict
from governance import pipeline
from governance.admin.access import Visit
from governance.admin.inbox import ABOUT_RULES, reason_for
from governance.admin.once import INCOMPLETE, Told, has_intent, new_intent, once
from governance.admin.stepping_up import step_up_if_given
from governance.idempotency import Ticket
from kernel.errors import PalyraError, PreconditionFailedError

CHANGED = "The request changed while this page was open. Look at it again and decide once more."
WORDS = {
    "allowed": "Allowed. The call goes on to its last checks and runs.",
    "denied": "Denied. The call does not run.",
    "open": "Your answer is recorded. The request waits for another person.",
    "repeated": "You said this before; nothing changed.",
}
WORDS_ABOUT_RULES = {
    **WORDS,
    "allowed": "Allowed. The rules are in force.",
    "denied": "Denied. The rules in force stay.",
}


@dataclass(frozen=True, slots=True)
class DecisionForm:
    """The form as shown: nothing is chosen for the person, and each rendering has its own intent."""

    verdict: str = ""
    comment: str = ""
    errors: dict[str, str] = field(default_factory=dict)
    intent: str = field(default_factory=new_intent)


@dataclass(frozen=True, slots=True)
class Decided:
    """`sentence` tells the person what happened; `status` is the HTTP status when it failed."""

    sentence: str
    status: int = 200
    form: DecisionForm | None = None


def decide(visit: Visit, request: ApprovalRequest) -> Decided:
    """Take the posted form to the pipeline once; a repeated post gets the first answer."""
    post = visit.request.POST
    form = DecisionForm(post.get("verdict", ""), post.get("comment", ""), _errors(visit))
    if form.errors:
        return Decided("The decision was not recorded.", 422, form)
    answer = once(
        visit,
        route=f"approvals/{request.pk}",
        fields={name: post.get(name, "") for name in ("verdict", "comment", "version", "digest")},
        work=lambda ticket: _once(visit, request, form, ticket),
        say=lambda refusal: _sentence(request, refusal),
    )
    error = _with_error(request, form, answer.refusal) if answer.refusal else None
    return Decided(answer.sentence, answer.status, error)


def _once(visit: Visit, request: ApprovalRequest, form: DecisionForm, ticket: Ticket) -> Told:
    _require_unchanged(visit, request)
    outcome = pipeline.review(
        request_id=request.pk,
        principal=visit.principal,
        answer=_answer(visit, request, form),
        now=visit.now,
        ticket=ticket,
        render=lambda made: (200, {"sentence": told(made)}),
    )
    return Told(told(outcome))


def _require_unchanged(visit: Visit, request: ApprovalRequest) -> None:
    """A person decides what they saw; who comes after the end is told how it ended, by the pipeline."""
    post = visit.request.POST
    seen = (post.get("digest"), post.get("version"))
    if request.status == RequestStatus.PENDING and seen != (request.action_digest, str(request.version)):
        raise PreconditionFailedError("precondition_failed", CHANGED)


def told(outcome: ReviewOutcome) -> str:
    """Return what a person is told about an outcome."""
    alone = " You decided alone by the sole-operator rule." if outcome.single_operator else ""
    words = WORDS_ABOUT_RULES if outcome.request.subject_type == ABOUT_RULES else WORDS
    return words[outcome.kind] + alone


def _answer(visit: Visit, request: ApprovalRequest, form: DecisionForm) -> ReviewInput:
    return ReviewInput(
        verdict=form.verdict,
        comment=form.comment,
        seen_version=request.version,
        otp_verified_at=step_up_if_given(visit),
        surface="console",
    )


def _errors(visit: Visit) -> dict[str, str]:
    post, errors = visit.request.POST, {}
    if post.get("verdict") not in frozenset(Verdict):
        errors["verdict"] = "Choose whether to allow or to deny."
    if not has_intent(visit):
        errors["verdict"] = INCOMPLETE
    if post.get("verdict") == Verdict.DENY and len(post.get("comment", "").strip()) < 3:
        errors["comment"] = "Say why: a denial needs a comment of at least 3 characters."
    return errors


def _with_error(request: ApprovalRequest, form: DecisionForm, refusal: PalyraError) -> DecisionForm:
    where = {"step_up_required": "code", "comment_required": "comment"}.get(refusal.code, "verdict")
    if refusal.status == PreconditionFailedError.status:
        return DecisionForm(comment=form.comment)
    return DecisionForm(form.verdict, form.comment, {where: _sentence(request, refusal)})


def _sentence(request: ApprovalRequest, refusal: PalyraError) -> str:
    known = {
        **{code: reason_for(request, code) for code in ("self_review", "not_a_reviewer")},
        "precondition_failed": CHANGED,
        "idempotency_in_progress": "The same decision is being recorded; reload the page.",
    }
    return known.get(refusal.code) or refusal.detail or refusal.code
