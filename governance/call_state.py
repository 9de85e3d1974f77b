"""The state of a call is derived, never stored (DESIGN §3; meaning of each: API part §3.6)."""

from __future__ import annotations

from enum import StrEnum


class CallState(StrEnum):
    DENIED = "denied"
    AWAITING_APPROVAL = "awaiting_approval"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    AMBIGUOUS = "ambiguous"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REFUSED = "refused"
    SUPERSEDED = "superseded"


OPEN_STATES = frozenset({CallState.AWAITING_APPROVAL, CallState.QUEUED, CallState.RUNNING})

ENDED_BY_APPROVAL: dict[str, CallState] = {
    "approval.expired": CallState.EXPIRED,
    "approval.cancelled": CallState.CANCELLED,
    "approval.superseded": CallState.SUPERSEDED,
}
"""Reasons with which an unanswered request ends a call in another state than `denied`."""


def call_state(*, effect: str, reason_code: str, execution_state: str | None) -> CallState:
    """Return the state from the decision and the execution, whichever is later on the path.

    A denied call never has an execution; an allowed call always has one. Anything else is not on
    the path and reads as ambiguous, so that it is shown and never taken for success.
    """
    if effect == "deny" and execution_state is None:
        return ENDED_BY_APPROVAL.get(reason_code, CallState.DENIED)
    if effect == "require_approval" and execution_state is None:
        return CallState.AWAITING_APPROVAL
    if effect == "allow" and execution_state is not None:
        return CallState(execution_state)
    return CallState.AMBIGUOUS
