"""The states of requests and grants, the count of reviews, and what an answer means for a call."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from approvals.types import ERROR_CODES, GrantStatus, RequestStatus, Verdict

REQUEST_ALLOWED: dict[str, frozenset[str]] = {
    RequestStatus.PENDING: frozenset(RequestStatus) - {RequestStatus.PENDING},
    **{status: frozenset() for status in RequestStatus if status is not RequestStatus.PENDING},
}
GRANT_ALLOWED: dict[str, frozenset[str]] = {
    GrantStatus.ACTIVE: frozenset(GrantStatus) - {GrantStatus.ACTIVE},
    **{status: frozenset() for status in GrantStatus if status is not GrantStatus.ACTIVE},
}


DECISIONS = {
    RequestStatus.ALLOWED: "allow",
    RequestStatus.DENIED: "deny",
    RequestStatus.EXPIRED: "expired",
    RequestStatus.CANCELLED: "cancelled",
}
"""The wire's word for each end that was no failure of ours."""


def decision_of(status: str, close_code: str) -> str | None:
    """Return the wire's `decision`: null | allow | deny | expired | cancelled | error."""
    if close_code in ERROR_CODES:
        return "error"
    return next((word for known, word in DECISIONS.items() if known == status), None)


class TallyState(StrEnum):
    OPEN = "open"
    ALLOWED = "allowed"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Tally:
    """Where the count stands; `missing` allows are still needed while it is open."""

    state: TallyState
    missing: int


@dataclass(frozen=True, slots=True)
class CountedReview:
    reviewer_id: str
    verdict: str


def tally(reviews: Collection[CountedReview], quorum: int, eligible_now: Collection[str]) -> Tally:
    """Count reviews: one deny ends it, `quorum` distinct people who are eligible now allow it.

    The order of reviews does not matter. Any verdict that is not exactly allow counts as deny, and a
    quorum below one as one.
    """
    if any(review.verdict != Verdict.ALLOW for review in reviews):
        return Tally(TallyState.DENIED, 0)
    allowing = {review.reviewer_id for review in reviews} & set(eligible_now)
    missing = max(1, quorum) - len(allowing)
    return Tally(TallyState.OPEN, missing) if missing > 0 else Tally(TallyState.ALLOWED, 0)


class PolicyAnswer(StrEnum):
    DENY = "deny"
    PERMIT = "permit"
    PERMIT_WITH_APPROVAL = "permit_with_approval"


@dataclass(frozen=True, slots=True)
class ApprovalOutcome:
    """How the question stands. `state` is a request status, `error`, or any text that came instead."""

    state: str
    approval_id: str | None = None
    grant_id: str | None = None


class ToolVerdict(StrEnum):
    PERMIT = "permit"
    DENY = "deny"
    AWAITING_APPROVAL = "awaiting_approval"


@dataclass(frozen=True, slots=True)
class ToolDecision:
    """The conjunction of policy and answer."""

    verdict: ToolVerdict
    reason_code: str
    approval_id: str | None = None
    grant_id: str | None = None


_REFUSALS = {
    RequestStatus.DENIED: "approval.denied",
    RequestStatus.EXPIRED: "approval.expired",
    RequestStatus.CANCELLED: "approval.cancelled",
}


def apply_tool_approval_outcome(
    policy: str, reason_code: str, outcome: ApprovalOutcome | None
) -> ToolDecision:
    """Join the policy's answer with the outcome of the question (approvals spec 3.7). Total.

    Permits only when the policy permits and, if it asks for approval, the outcome is `allowed`. A deny
    keeps its reason whatever the outcome; an answer or outcome that is not known denies.
    """
    if policy == PolicyAnswer.PERMIT:
        return ToolDecision(ToolVerdict.PERMIT, reason_code)
    if policy != PolicyAnswer.PERMIT_WITH_APPROVAL:
        return ToolDecision(ToolVerdict.DENY, reason_code)
    if outcome is None:
        return ToolDecision(ToolVerdict.DENY, "approval.channel_unavailable")
    if outcome.state == RequestStatus.PENDING:
        return ToolDecision(ToolVerdict.AWAITING_APPROVAL, "approval.pending", outcome.approval_id)
    if outcome.state == RequestStatus.ALLOWED:
        return ToolDecision(ToolVerdict.PERMIT, reason_code, outcome.approval_id, outcome.grant_id)
    refusal = _refusal_of(outcome.state)
    return ToolDecision(ToolVerdict.DENY, refusal, outcome.approval_id)


def _refusal_of(state: str) -> str:
    return next((reason for known, reason in _REFUSALS.items() if known == state), "approval.error")
