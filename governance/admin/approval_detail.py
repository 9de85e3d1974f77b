"""Everything an approval page shows about one request, gathered in a fixed number of queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from approvals.models import ApprovalRequest
from approvals.scopes import NotOffered, longest_ttl_ms, offered
from approvals.types import RequestStatus, Risk, Scope
from governance.admin import approval_facts as facts
from governance.admin.access import Visit
from governance.admin.answer_form import DURATIONS, DecisionForm
from governance.admin.approval_offers import offers
from governance.admin.approval_words import ending, wish
from governance.admin.arguments import arguments
from governance.admin.inbox import ABOUT_RULES, Standing, pending, standing, subject_name
from governance.admin.isolation import held_words
from governance.admin.names import names_of
from governance.admin.pattern_picker import choices, near_grants
from governance.admin.policy_reading import Changes
from governance.admin.policy_sets import changes_between
from governance.admin.verbs import Answered
from governance.freezes import freeze_over_request
from governance.models import ToolCall
from governance.selectors import CallView
from identity.roles import Permission
from identity.types import PrincipalKind
from kernel.canonical import canonical
from policy.selectors import tool_named
from policy.set_selectors import require_set

CODED_RISKS = frozenset({Risk.HIGH, Risk.CRITICAL})
SCOPE_LABELS = {
    Scope.ONCE: ("Once", "this call"),
    Scope.SESSION: ("Session", "this run's session, at most 12 hours"),
    Scope.TEMPORARY: ("Temporary", "for a time you choose"),
    Scope.ALWAYS: ("Always", "on the allowlist for 90 days, listed and revocable"),
}
REASONS = {
    NotOffered.SUBJECT: "This is a single act; there is nothing to repeat.",
    NotOffered.RISK: "Not offered at this risk.",
    NotOffered.POLICY: "The rules do not offer it for this call.",
}
DURATION_WORDS = {"1h": "1 hour", "8h": "8 hours", "24h": "24 hours"}


@dataclass(frozen=True, slots=True)
class ScopeChoice:
    """One scope as a radio; `reason` says why it cannot be chosen."""

    key: str
    word: str
    hint: str
    digit: int
    reason: str


@dataclass(frozen=True, slots=True)
class WaitingCall:
    """A call that waits on the request; `is_new` marks one that came after the shown version."""

    view: CallView
    is_new: bool


def detail_facts(
    visit: Visit, request: ApprovalRequest, form: DecisionForm, answered: Answered | None = None
) -> dict[str, Any]:
    """Return the page's context. The visitor may see the request."""
    stand = standing(visit, request)
    calls = facts.calls_of(visit, request)
    first = calls[0].call if calls else None
    is_open = request.status == RequestStatus.PENDING and request.expires_at > visit.now
    return {
        "title": f"Approval of {subject_name(request)}",
        "request_row": request,
        "subject": subject_name(request),
        "wish": wish(request.subject_type),
        "is_about_rules": request.subject_type == ABOUT_RULES,
        "is_asked_by_person": request.requester_kind == PrincipalKind.USER,
        "is_open": is_open,
        "ask": request.context,
        "changes": _changes(request),
        "stand": stand,
        "form": form,
        "neighbours": _neighbours(visit, request),
        **_people(visit, request),
        **_what(visit, request),
        **_why(visit, request, first),
        **_who(visit, request, calls),
        **_past(visit, request),
        **_form_facts(request, stand),
        "patterns": choices(visit, request, form) if is_open and stand.may_answer else [],
        "frozen": freeze_over_request(request) if is_open else None,
        "near": near_grants(visit, request, first) if is_open else [],
        **(offers(visit, request, stand, answered) if is_open else {}),
    }


def _people(visit: Visit, request: ApprovalRequest) -> dict[str, Any]:
    reviews = list(request.reviews.all())
    names = names_of(
        [request.requester_id, request.requester_owner_id, *(row.reviewer_id for row in reviews)]
    )
    return {
        "agent_name": names.get(request.requester_id, request.requester_id),
        "owner_name": names.get(request.requester_owner_id, request.requester_owner_id),
        "reviews": [(row, names.get(row.reviewer_id, row.reviewer_id)) for row in reviews],
        "allows": sum(row.verdict == "allow" for row in reviews),
        "grant": request.grants.first() if request.status == RequestStatus.ALLOWED else None,
        "missing": max(0, request.quorum - sum(row.verdict == "allow" for row in reviews)),
        "ended": ending(request, reviews, names=names, reader_id=visit.principal.id, now=visit.now),
    }


def _what(visit: Visit, request: ApprovalRequest) -> dict[str, Any]:
    shown = request.context.get("parameters_view")
    tool = tool_named(request.tool) if request.tool and not request.skill_id else None
    before, diff = facts.last_allowed(visit, request)
    return {
        "arguments": arguments(shown, tool.input_schema if tool else None),
        "canonical": canonical(shown).decode(),
        "before": before,
        "diff": diff,
    }


def _why(visit: Visit, request: ApprovalRequest, call: ToolCall | None) -> dict[str, Any]:
    execution = request.context.get("execution") or {}
    return {
        "rules": facts.rules_of(visit, request, call),
        "postures": facts.posture_of(request, visit.now),
        "gates": call.gates if call else (),
        "sees_tools": visit.holds(Permission.TOOLS_READ),
        "budgets": facts.budgets_of(request),
        "enforced": held_words(execution.get("enforced")),
        "not_enforced": held_words(execution.get("not_enforced")),
    }


def _who(visit: Visit, request: ApprovalRequest, calls: list[CallView]) -> dict[str, Any]:
    run = facts.run_of(visit, request)
    events = facts.events_of(run)
    versions = {waiting.call_id: waiting.version for waiting in request.calls.all()}
    seen = _seen(visit, request)
    return {
        "run": run,
        "events": events,
        "event_names": names_of(one.actor for one in events),
        "calls": [WaitingCall(view, versions.get(view.call.pk, 1) > seen) for view in calls],
        "token_label": facts.token_label(calls[0].call if calls else None),
    }


def _seen(visit: Visit, request: ApprovalRequest) -> int:
    """Return the version that the posted form showed; a page just opened shows the newest."""
    text = visit.request.POST.get("version", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else request.version


def _past(visit: Visit, request: ApprovalRequest) -> dict[str, Any]:
    similar = facts.precedents(visit, request)
    return {
        "similar": similar,
        "similar_names": names_of(one.review.reviewer_id for one in similar if one.review),
        "record": facts.record_of(visit, request),
    }


def _form_facts(request: ApprovalRequest, stand: Standing) -> dict[str, Any]:
    obligations: Mapping[str, Any] = request.obligations
    refused = offered(request.risk, str(obligations.get("max_scope", "")), request.subject_type)
    longest = longest_ttl_ms(request.risk)
    choices = [
        ScopeChoice(scope.value, *words, digit, REASONS[refused[scope]] if scope in refused else "")
        for digit, (scope, words) in enumerate(SCOPE_LABELS.items(), start=1)
    ]
    return {
        "scopes": choices,
        "has_reach": any(not one.reason for one in choices[1:]),
        "durations": [(key, DURATION_WORDS[key]) for key, ms in DURATIONS.items() if ms <= longest],
        "longest": "8 hours" if longest <= DURATIONS["8h"] else "30 days",
        "shows_code": stand.needs_code or request.risk in CODED_RISKS,
        "comment_is_due": request.risk == Risk.CRITICAL or bool(obligations.get("comment")),
    }


def _changes(request: ApprovalRequest) -> Changes | None:
    """Return what the rules asked for change in those the request names; neither text can change any more."""
    if request.subject_type != ABOUT_RULES:
        return None
    asked = request.context["parameters_view"]
    return changes_between(
        require_set(asked["in_force"]) if asked["in_force"] else None, require_set(asked["set"])
    )


def _neighbours(visit: Visit, request: ApprovalRequest) -> tuple[str, str]:
    """Return the ids of the requests before and after this one in the inbox's order, or empty texts."""
    ids = list(pending(visit).values_list("pk", flat=True)[:200])
    if request.pk not in ids:
        return "", ""
    at = ids.index(request.pk)
    return (ids[at - 1] if at else ""), (ids[at + 1] if at + 1 < len(ids) else "")
