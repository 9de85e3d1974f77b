"""Sentences about a request: what is wanted, and how it ended. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from governance.admin.words import relative

WISHES = {
    "policy_activation": "wants to put in force",
    "skill": "wants to run the skill",
    "channel_send": "wants to send through",
    "secret_access": "wants to use a secret with",
    "browser_action": "wants to act in a browser with",
    "node_capability": "wants to act on a device with",
    "device_pairing": "wants to pair",
    "budget_override": "wants more",
    "safety_release": "wants to release",
    "erasure": "wants to erase",
}
CAUSES = {
    "requester_cancelled": "withdrawn",
    "run_closed": "dropped, because its run ended",
    "agent_revoked": "dropped, because the agent may act no more",
    "tool_disabled": "dropped, because the tool was switched off",
    "superseded_by_edit": "replaced by one with edited arguments",
    "policy_denies": "dropped, because the rules deny it now",
    "frozen": "dropped by a freeze",
}


class Answer(Protocol):
    """What is read of a stored review."""

    reviewer_id: str
    verdict: str


class Ended(Protocol):
    """What is read of a stored request."""

    status: str
    close_code: str
    expires_at: datetime
    resolved_at: datetime | None


def wish(subject_type: str) -> str:
    """Return what the requester wants to do with the subject."""
    return WISHES.get(subject_type, "wants to run")


def ending(
    request: Ended, answers: Sequence[Answer], *, names: Mapping[str, str], reader_id: str, now: datetime
) -> str:
    """Return how a request ended, like `Ana denied this 4 s ago.`, or an empty text while it waits.

    `answers` are in the order in which they were given; the last one of the outcome's kind ended it.
    """
    if request.status == "pending":
        return "" if request.expires_at > now else f"This expired {relative(request.expires_at, now)}."
    at = relative(request.resolved_at or now, now)
    if request.status == "expired":
        return f"This expired {relative(request.expires_at, now)}; nobody answered in time."
    if request.status == "cancelled":
        return f"This was {CAUSES.get(request.close_code, 'dropped')} {at}."
    verdict = "allow" if request.status == "allowed" else "deny"
    last = next((one for one in reversed(answers) if one.verdict == verdict), None)
    who = "Somebody" if last is None else _name(last.reviewer_id, names, reader_id)
    return f"{who} {'allowed' if verdict == 'allow' else 'denied'} this {at}."


def _name(person_id: str, names: Mapping[str, str], reader_id: str) -> str:
    return "You" if person_id == reader_id else names.get(person_id, "Somebody")
