"""What a well-formed answer is, and how a refusal to take one is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from approvals.eligibility import Eligibility
from approvals.scopes import OFFERED
from approvals.types import ReviewInput, Risk, Scope, Verdict
from kernel.errors import AuthenticationError, ConflictError, Detail, InvalidError, PalyraError, RefusedError

SHORTEST_COMMENT = 3
LONGEST_COMMENT = 2000
_NEEDS_NO_COMMENT = frozenset({Risk.LOW, Risk.MEDIUM, Risk.HIGH})
_SENTENCES = {
    "reviewer_is_agent": "Only a person answers.",
    "not_a_reviewer": "This person may not answer the request.",
    "self_review": "Nobody answers their own request.",
}


class GivenAnswer(Protocol):
    """The parts of a stored review that make two answers the same."""

    verdict: str
    scope: str
    comment: str
    ttl_ms: int | None


def same_answer(earlier: GivenAnswer, review: ReviewInput) -> bool:
    """Tell whether a person says again what they said."""
    scope = _scope_of(review) or ""
    said = (review.verdict, scope, review.comment.strip(), review.ttl_ms)
    return said == (earlier.verdict, earlier.scope, earlier.comment, earlier.ttl_ms)


def checked_answer(review: ReviewInput, *, risk: str, comment_asked: bool) -> ReviewInput:
    """Return the answer with its comment trimmed and its scope filled in, or raise the first fault.

    InvalidError `invalid`, `ttl_not_allowed` or `comment_required`, RefusedError `scope_not_offered`.
    """
    if review.verdict not in frozenset(Verdict):
        raise _invalid("/decision", "invalid", "The decision is allow or deny.")
    scope = _scope_of(review)
    if scope is not None and scope not in OFFERED:
        raise RefusedError("scope_not_offered", "Only the scope once is offered.")
    if review.ttl_ms is not None:
        raise _invalid("/ttl_ms", "ttl_not_allowed", "The scope once takes no duration.")
    comment = review.comment.strip()
    if len(comment) > LONGEST_COMMENT or "\0" in comment:
        raise _invalid("/comment", "invalid", f"A comment is text of at most {LONGEST_COMMENT} characters.")
    required = comment_asked or review.verdict == Verdict.DENY or risk not in _NEEDS_NO_COMMENT
    if required and len(comment) < SHORTEST_COMMENT:
        raise _invalid("/comment", "comment_required", f"At least {SHORTEST_COMMENT} characters.")
    return replace(review, comment=comment, scope=scope)


def _scope_of(review: ReviewInput) -> str | None:
    """A deny has no scope of its own; an allow without one is the narrowest."""
    if review.scope is None and review.verdict == Verdict.ALLOW:
        return Scope.ONCE
    return review.scope


def refuse(eligibility: Eligibility) -> PalyraError:
    """Return the error for a person who may not answer."""
    if eligibility.code == "step_up_required":
        return AuthenticationError("step_up_required", "A fresh one-time code is required.")
    if eligibility.code == "conflict":
        return ConflictError("conflict", "This person has answered already.")
    extra: dict[str, object] = {"relation": eligibility.relation} if eligibility.relation else {}
    return RefusedError(eligibility.code, _SENTENCES[eligibility.code], extra=extra)


def _invalid(pointer: str, code: str, detail: str) -> InvalidError:
    return InvalidError(code, detail, errors=(Detail(pointer, code, detail),))
