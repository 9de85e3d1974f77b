"""Who may answer a request. Authority first, separation of duties next, freshness last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from approvals.types import Risk, SubjectType
from identity.roles import Permission

FRESH_SECONDS = 300
_STEP_UP_RISKS = frozenset({Risk.HIGH, Risk.CRITICAL})
_KNOWN_RISKS = frozenset(Risk)
EDITS_COUNT = frozenset({Risk.LOW, Risk.MEDIUM})
"""Risks at which changing the arguments is an answer by itself, so the editor needs no second person."""
EDITOR = "editor"

DECIDED_WITH: Mapping[str, Permission] = {
    **dict.fromkeys(SubjectType, Permission.APPROVALS_DECIDE),
    SubjectType.POLICY_ACTIVATION: Permission.POLICY_ACTIVATE,
    SubjectType.ERASURE: Permission.JOURNAL_ERASE,
}
"""The permission that answers each kind of question; a kind that is not here is never asked."""
INSTANCE_WIDE: frozenset[str] = frozenset({SubjectType.POLICY_ACTIVATION})
"""Kinds whose permission counts only where it reaches the whole instance."""


@dataclass(frozen=True, slots=True)
class Reviewer:
    """A principal as read at the decision. `permitted` says that the deciding permission is held here now.

    `second_factor` says that the login used a one-time code and `login_code_at` when, while that is
    fresh; `otp_verified_at` when one was accepted for this answer; `sole_holder` that no other active
    person of the instance may decide.
    """

    is_person: bool
    id: str
    permitted: bool
    roles: frozenset[str]
    second_factor: bool
    otp_verified_at: datetime | None
    sole_holder: bool
    login_code_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What eligibility reads of a request.

    `parties` maps people to the part they had in who asks. `on_behalf_of_id` and `edited_by_id` are empty
    for nobody; `excluded` are people who made what is asked about, as `excluded_as` says.
    """

    requester_id: str
    requester_owner_id: str
    role_sets: tuple[frozenset[str], ...]
    quorum: int
    risk: str
    step_up: bool
    reviewer_ids: frozenset[str]
    excluded: frozenset[str] = frozenset()
    excluded_as: str = "author"
    parties: Mapping[str, str] = field(default_factory=dict)
    on_behalf_of_id: str = ""
    edited_by_id: str = ""
    workspace_id: str = ""


@dataclass(frozen=True, slots=True)
class Eligibility:
    """`code` is the problem code of a refusal, empty when `ok`.

    `single_operator` says that the sole holder's exception was used; then one allow is enough.
    """

    ok: bool
    code: str = ""
    relation: str | None = None
    single_operator: bool = False


def may_review(person: Reviewer, question: Question, now: datetime) -> Eligibility:
    """Decide whether `person` may answer at `now`; the first refusal in this order counts.

    An active human, the permission and one role of every set, no part in the question, not answered
    before, a fresh enough code. The sole holder of the permission is excused from role sets and from
    having no part, and then needs a fresh code whatever the risk.
    """
    if not person.is_person:
        return Eligibility(False, "reviewer_is_agent")
    role_missing = not has_every_role(person.roles, question.role_sets)
    if not person.permitted or (role_missing and not person.sole_holder):
        return Eligibility(False, "not_a_reviewer")
    relation = relation_to(person.id, question)
    if relation is not None and not person.sole_holder:
        return Eligibility(False, "self_review", relation)
    if person.id in question.reviewer_ids:
        return Eligibility(False, "conflict")
    alone = person.sole_holder and (role_missing or relation is not None or question.quorum > 1)
    if not _code_is_fresh(person, question, alone, now):
        return Eligibility(False, "step_up_required")
    return Eligibility(True, single_operator=alone)


def could_answer(eligibility: Eligibility) -> bool:
    """Tell whether somebody may answer, with a one-time code if it takes one."""
    return eligibility.ok or eligibility.code == "step_up_required"


def has_every_role(roles: frozenset[str], role_sets: tuple[frozenset[str], ...]) -> bool:
    """Tell whether `roles` holds one role of every set."""
    return all(roles & wanted for wanted in role_sets)


def may_break_glass(person: Reviewer, question: Question, now: datetime) -> Eligibility:
    """Decide whether `person` may allow alone in an emergency; `permitted` is of that permission.

    Waived are the quorum, the role sets and the rule about whose agent it is. Nobody forces a question
    of their own, or one about what they wrote. A code for this very decision is needed at any risk.
    """
    if not person.is_person:
        return Eligibility(False, "reviewer_is_agent")
    if not person.permitted:
        return Eligibility(False, "not_a_reviewer")
    wrote = {party: part for party, part in question.parties.items() if part == EDITOR}
    relation = relation_to(person.id, replace(question, requester_owner_id="", parties=wrote))
    if relation is not None:
        return Eligibility(False, "self_review", relation)
    if person.id in question.reviewer_ids:
        return Eligibility(False, "conflict")
    if person.otp_verified_at != now:
        return Eligibility(False, "step_up_required")
    return Eligibility(True)


def relation_to(person_id: str, question: Question) -> str | None:
    """Return what makes the question this person's own, or None."""
    if person_id == question.requester_id:
        return "requester"
    if person_id == question.requester_owner_id:
        return "owner"
    if person_id in question.parties:
        return question.parties[person_id]
    if person_id == question.on_behalf_of_id:
        return "on_behalf_of"
    if person_id in question.excluded:
        return question.excluded_as
    return EDITOR if person_id == question.edited_by_id and question.risk not in EDITS_COUNT else None


def _code_is_fresh(person: Reviewer, question: Question, alone: bool, now: datetime) -> bool:
    fresh = _within(person.otp_verified_at, now) or _within(person.login_code_at, now)
    if not person.second_factor and not fresh:
        return False
    if question.risk == Risk.CRITICAL or question.risk not in _KNOWN_RISKS:
        return person.otp_verified_at == now
    if question.risk in _STEP_UP_RISKS or question.step_up or alone:
        return fresh
    return True


def _within(verified_at: datetime | None, now: datetime) -> bool:
    return verified_at is not None and timedelta(0) <= now - verified_at <= timedelta(seconds=FRESH_SECONDS)
