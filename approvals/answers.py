"""What a well-formed answer is, and how a refusal to take one is told."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from approvals.candidates import PastAsk, pattern_covers_denied
from approvals.eligibility import Eligibility
from approvals.fields import ToolShape
from approvals.patterns import EXACT, BoundPattern, Pattern, Rest, bind, parse_pattern
from approvals.scopes import (
    SCOPES,
    SHORTEST_TTL_MS,
    NotOffered,
    is_at_most,
    longest_ttl_ms,
    offered,
)
from approvals.types import ReviewInput, Risk, Scope, SubjectType, Verdict
from kernel.errors import AuthenticationError, ConflictError, Detail, InvalidError, PalyraError, RefusedError

SHORTEST_COMMENT = 3
LONGEST_COMMENT = 2000
_NEEDS_NO_COMMENT = frozenset({Risk.LOW, Risk.MEDIUM, Risk.HIGH})
_SENTENCES = {
    "reviewer_is_agent": "Only a person answers.",
    "not_a_reviewer": "This person may not answer the request.",
    "self_review": "Nobody answers their own request.",
}
_NOT_OFFERED = {
    NotOffered.SUBJECT: "What is asked about happens once, so it is allowed once.",
    NotOffered.RISK: "The risk of the request is too high for this scope.",
    NotOffered.POLICY: "The policy that asks leaves no scope as wide as this.",
}


@dataclass(frozen=True, slots=True)
class AskedCall:
    """The tool call a request is about: its validated input, its tool, and what was asked before.

    `tier` and `egress_mode` are where it would run; `session_ends_at` is when its session or, without
    one, its run is over at the latest.
    """

    parameters: Mapping[str, object]
    tool: ToolShape
    history: Sequence[PastAsk] = ()
    tier: str = ""
    egress_mode: str = ""
    session_ends_at: datetime | None = None


class GivenAnswer(Protocol):
    """The parts of a stored review that make two answers the same."""

    verdict: str
    scope: str
    comment: str
    ttl_ms: int | None
    pattern: object


def same_answer(earlier: GivenAnswer, review: ReviewInput) -> bool:
    """Tell whether a person says again what they said."""
    scope = _scope_of(review) or ""
    said = (review.verdict, scope, review.comment.strip(), review.ttl_ms)
    if said != (earlier.verdict, earlier.scope, earlier.comment, earlier.ttl_ms):
        return False
    try:
        return _parsed(review.pattern) == _parsed(earlier.pattern)
    except InvalidError:
        return False


def checked_answer(
    review: ReviewInput,
    *,
    risk: str,
    comment_asked: bool,
    max_scope: str = Scope.ONCE,
    subject_type: str = SubjectType.TOOL,
    call: AskedCall | None = None,
) -> ReviewInput:
    """Return the answer with its comment trimmed, its scope filled in and its pattern in its stored form.

    Raises the first fault: RefusedError `scope_not_offered`; InvalidError `invalid`, `ttl_required`,
    `ttl_out_of_range`, `ttl_not_allowed`, `comment_required`, `pattern_too_broad` or
    `pattern_covers_denied`. A wider pattern than the call itself needs `call`. `bound_pattern` of the
    returned answer then cannot fail.
    """
    if review.verdict not in frozenset(Verdict):
        raise _invalid("/decision", "invalid", "The decision is allow or deny.")
    scope = _scope_of(review)
    _require_offered(scope, risk, max_scope, subject_type)
    _check_ttl(review.ttl_ms, scope, risk)
    required = (
        review.verdict == Verdict.DENY
        or scope == Scope.ALWAYS
        or comment_is_required(risk, asked=comment_asked)
    )
    comment = checked_comment(review.comment, required=required)
    pattern = _checked_pattern(review, scope, risk, call)
    stored = None if pattern == EXACT else pattern.as_json()
    return replace(review, comment=comment, scope=scope, pattern=stored)


def comment_is_required(risk: str, *, asked: bool) -> bool:
    """Tell whether every answer needs a comment, whatever it says; `asked` is what the policy wants."""
    return asked or risk not in _NEEDS_NO_COMMENT


def checked_comment(text: str, *, required: bool, shortest: int = SHORTEST_COMMENT) -> str:
    """Return a comment without the space around it; InvalidError `invalid` or `comment_required`.

    Control and format characters, which nobody sees, do not count towards `shortest`.
    """
    comment = text.strip()
    if len(comment) > LONGEST_COMMENT or "\0" in comment:
        raise _invalid("/comment", "invalid", f"A comment is text of at most {LONGEST_COMMENT} characters.")
    seen = sum(unicodedata.category(character)[0] != "C" for character in comment)
    if required and seen < shortest:
        raise _invalid("/comment", "comment_required", f"At least {shortest} characters.")
    return comment


def bound_pattern(answer: ReviewInput, call: AskedCall) -> BoundPattern:
    """Return the pattern of an answer, tied to the call; the call itself when none was sent."""
    return bind(_parsed(answer.pattern), call.parameters, call.tool)


def refuse(eligibility: Eligibility) -> PalyraError:
    """Return the error for a person who may not answer."""
    if eligibility.code == "step_up_required":
        return AuthenticationError("step_up_required", "A fresh one-time code is required.")
    if eligibility.code == "conflict":
        return ConflictError("conflict", "This person has answered already.")
    extra: dict[str, object] = {"relation": eligibility.relation} if eligibility.relation else {}
    return RefusedError(eligibility.code, _SENTENCES[eligibility.code], extra=extra)


def _scope_of(review: ReviewInput) -> str | None:
    """A deny has no scope of its own; an allow without one is the narrowest."""
    if review.scope is None and review.verdict == Verdict.ALLOW:
        return Scope.ONCE
    return review.scope


def _require_offered(scope: str | None, risk: str, max_scope: str, subject_type: str) -> None:
    if scope is None:
        return
    if scope not in SCOPES:
        raise RefusedError("scope_not_offered", "There is no such scope.")
    reason = offered(risk, max_scope, subject_type).get(Scope(scope))
    if reason is not None:
        raise RefusedError("scope_not_offered", _NOT_OFFERED[reason], extra={"reason": reason.value})


def _check_ttl(ttl_ms: int | None, scope: str | None, risk: str) -> None:
    if scope != Scope.TEMPORARY:
        if ttl_ms is not None:
            raise _invalid("/ttl_ms", "ttl_not_allowed", "Only the scope temporary takes a duration.")
        return
    if ttl_ms is None:
        raise _invalid("/ttl_ms", "ttl_required", "The scope temporary needs a duration.")
    longest = longest_ttl_ms(risk)
    whole = isinstance(ttl_ms, int) and not isinstance(ttl_ms, bool)
    if not whole or not SHORTEST_TTL_MS <= ttl_ms <= longest:
        detail = f"The duration is {SHORTEST_TTL_MS} to {longest} milliseconds."
        raise _invalid("/ttl_ms", "ttl_out_of_range", detail)


def _checked_pattern(review: ReviewInput, scope: str | None, risk: str, call: AskedCall | None) -> Pattern:
    pattern = _parsed(review.pattern)
    if pattern == EXACT:
        return pattern
    if review.verdict != Verdict.ALLOW or scope == Scope.ONCE or call is None:
        raise _invalid("/pattern", "pattern_too_broad", "This answer covers the call itself and no other.")
    if pattern.rest is Rest.ANY and not (scope == Scope.SESSION and is_at_most(risk, Risk.MEDIUM)):
        detail = "A whole tool is allowed for a session, up to medium risk."
        raise _invalid("/pattern/rest", "pattern_too_broad", detail)
    bound = bind(pattern, call.parameters, call.tool)
    if pattern_covers_denied(bound, call.history):
        raise _invalid("/pattern", "pattern_covers_denied", "The pattern would allow what a person denied.")
    return pattern


def _parsed(pattern: object) -> Pattern:
    return EXACT if pattern is None else parse_pattern(pattern)


def _invalid(pointer: str, code: str, detail: str) -> InvalidError:
    return InvalidError(code, detail, errors=(Detail(pointer, code, detail),))
