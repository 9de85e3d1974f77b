"""The patterns of a waiting call as radios: in words, with what each would have covered, narrowest first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from approvals.candidates import HISTORY, Candidate
from approvals.constraints import accepts
from approvals.fields import ToolShape
from approvals.grant_selectors import visible_grants
from approvals.matching import GrantProposal, Mismatch, mismatch
from approvals.models import ApprovalRequest, Grant
from approvals.patterns import BoundPattern, bind, matches, narrower_or_equal, parse_pattern, restored
from approvals.pointers import find
from approvals.selectors import visible_to
from approvals.types import GrantStatus, Scope
from governance.admin.access import Visit
from governance.admin.answer_form import DecisionForm
from governance.grants import HISTORY_DAYS, asked_call, offered_patterns, words_of
from governance.models import ToolCall
from kernel.canonical import canonical
from kernel.errors import Detail, InvalidError

MOST_LISTED = 8
MOST_GRANTS = 50
MOST_NEAR = 5
WIDER = "It covers more than the pattern chosen above; by hand a pattern is only narrowed."
REASONS = {
    Mismatch.TOOL_CHANGED: "given for an earlier definition of the tool",
    Mismatch.SKILL_CHANGED: "given for another version of the skill",
    Mismatch.OBLIGATIONS_CHANGED: "given when the rules asked for less",
    Mismatch.PRINCIPAL: "given while the agent had another owner",
    Mismatch.SESSION: "given for another session",
    Mismatch.DEVICE: "given for another device",
    Mismatch.CHANNEL: "given for another channel",
    Mismatch.TIER: "given for a stronger sandbox",
    Mismatch.EGRESS: "given for a narrower network",
    Mismatch.RISK: "given for a lower risk",
}


@dataclass(frozen=True, slots=True)
class PastCall:
    """An earlier question, named by what it was about."""

    request: ApprovalRequest
    label: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One candidate as a radio. `covered` and `left_out` are the newest of the earlier questions."""

    value: str
    sentence: str
    coverage: str
    is_chosen: bool
    covered: tuple[PastCall, ...]
    left_out: tuple[PastCall, ...]


@dataclass(frozen=True, slots=True)
class NearGrant:
    """An active grant for the same agent and tool, and why it does not cover the call."""

    grant: Grant
    words: str
    why: str


def choices(visit: Visit, request: ApprovalRequest, form: DecisionForm) -> list[Choice]:
    """Return the radios; the narrowest is chosen unless the form says otherwise."""
    found = offered_patterns(request, visit.now)
    values = [_value(one) for one in found]
    chosen = form.pattern if form.pattern in values else (values[0] if values else "")
    past = _past(visit, request) if len(found) > 1 else []
    return [_choice(one, value, value == chosen, past) for one, value in zip(found, values, strict=True)]


def require_narrower(request: ApprovalRequest, form: DecisionForm, visit: Visit) -> None:
    """Raise InvalidError when a pattern typed by hand reaches further than the one chosen with it."""
    if form.scope == "once" or not form.narrowed.strip() or not form.pattern.strip():
        return
    asked = asked_call(request.pk, visit.now, with_history=False)
    if asked is None:
        return
    bound = partial(_bound, parameters=asked.parameters, shape=asked.tool)
    if not narrower_or_equal(bound(form.narrowed), bound(form.pattern)):
        detail = Detail("/pattern", "pattern_too_broad", WIDER)
        raise InvalidError("pattern_too_broad", WIDER, errors=(detail,))


def near_grants(visit: Visit, request: ApprovalRequest, call: ToolCall | None) -> list[NearGrant]:
    """Return active grants that nearly cover a waiting call, with what differs."""
    if call is None or not call.spec or not request.tool:
        return []
    rows = visible_grants(visit.principal, visit.now).filter(
        status=GrantStatus.ACTIVE,
        subject_type=request.subject_type,
        tool=request.tool,
        principal_id=request.requester_id,
        expires_at__gt=visit.now,
    )
    lasting = rows.exclude(scope=Scope.ONCE).exclude(request=request).select_related("request")
    proposal = _proposal(request, call)
    found = [_near(grant, proposal) for grant in lasting.order_by("-pk")[:MOST_GRANTS]]
    return [one for one in found if one is not None][:MOST_NEAR]


def _value(one: Candidate) -> str:
    return canonical(one.bound.as_json()).decode()


def _choice(one: Candidate, value: str, is_chosen: bool, past: list[tuple[PastCall, object]]) -> Choice:
    inside = [call for call, given in past if matches(one.bound, given)]
    held = {call.request.pk for call in inside}
    outside = [call for call, _ in past if call.request.pk not in held]
    asks, matched = one.covers_asks, one.covers_matched
    last = f"the last {asks} asks" if asks > 1 else "the one ask before"
    told = f"covers {matched} of {last}, 0 denied ones" if asks else "nothing was asked before"
    return Choice(
        value=value,
        sentence=one.sentence,
        coverage=told,
        is_chosen=is_chosen,
        covered=() if one.bound.is_exact else tuple(inside[:MOST_LISTED]),
        left_out=() if one.bound.is_exact else tuple(outside[:MOST_LISTED]),
    )


def _past(visit: Visit, request: ApprovalRequest) -> list[tuple[PastCall, object]]:
    """Return the newest earlier questions, as the candidates were counted over, with their arguments."""
    rows = list(
        visible_to(visit.principal, visit.now)
        .filter(
            requester_id=request.requester_id,
            workspace_id=request.workspace_id,
            tool=request.tool,
            requested_at__gt=visit.now - HISTORY_DAYS,
        )
        .exclude(pk=request.pk)
        .order_by("-requested_at")[:HISTORY]
    )
    inputs = dict(ToolCall.objects.filter(pk__in=[row.subject_id for row in rows]).values_list("pk", "input"))
    return [
        (PastCall(row, str(row.context.get("resource") or row.subject_label)), inputs[row.subject_id])
        for row in rows
        if row.subject_id in inputs
    ]


def _bound(text: str, *, parameters: Mapping[str, object], shape: ToolShape) -> BoundPattern:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    return bind(parse_pattern(value), parameters, shape)


def _proposal(request: ApprovalRequest, call: ToolCall) -> GrantProposal:
    return GrantProposal(
        call_id=call.pk,
        subject_type=request.subject_type,
        tool=request.tool,
        tool_definition_hash=request.tool_definition_hash,
        obligations_digest=request.obligations_digest,
        principal_id=request.requester_id,
        owner_id=request.requester_owner_id,
        workspace_id=request.workspace_id,
        run_id=request.run_id,
        session_id=request.session_id,
        device_id=request.device_id,
        channel=request.channel,
        skill_id=request.skill_id,
        skill_digest=request.skill_digest,
        tier=call.tier or "",
        egress_mode=str((call.spec or {}).get("egress_mode", "")),
        risk=request.risk,
        parameters=call.input,
    )


def _near(grant: Grant, proposal: GrantProposal) -> NearGrant | None:
    bound = restored(grant.pattern, grant.rest_digest)
    if bound is None:
        return None
    owner = grant.request.requester_owner_id
    differs = mismatch(grant, bound, proposal, owner_id=owner, covered_call_ids=frozenset())
    if differs is None:
        return None
    why = _argument(bound, proposal) if differs is Mismatch.PARAMETERS else REASONS.get(differs, "")
    return NearGrant(grant, words_of(grant), why or "something else about the call differs")


def _argument(bound: BoundPattern, proposal: GrantProposal) -> str:
    """Name the argument that differs; of those no constraint names only a digest is known."""
    given = proposal.parameters
    outside = [one.pointer for one in bound.constraints if not accepts(one, find(given, one.parts))]
    named = f"{', '.join(outside)} lies outside of it" if outside else ""
    return named or "an argument that has to be equal is another one"
