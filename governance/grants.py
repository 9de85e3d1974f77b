"""Earlier answers on the path of a call: which one covers it, and what a new one may cover."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from approvals.answers import AskedCall
from approvals.candidates import Candidate, PastAsk, candidates
from approvals.fields import ToolShape
from approvals.lookup import still_stands
from approvals.matching import GrantProposal
from approvals.models import ApprovalRequest, Grant
from approvals.patterns import restored
from approvals.scopes import SCOPES
from approvals.selectors import ApprovalClaim
from approvals.sentences import sentence
from approvals.types import ApprovalObligation, RequestStatus, Risk, Scope
from governance.models import ToolCall
from governance.proposals import Draft, Placement, Target
from governance.safety.secrets import mask
from governance.safety.visible import visible
from governance.subjects import subject_of
from identity.parties import parties_to
from kernel.canonical import canonical
from policy import selectors as policy_selectors
from policy.types import ApprovalFacts
from sandbox.skills import selectors as skill_selectors

HISTORY = 50
HISTORY_DAYS = timedelta(days=30)
MOST_COMPARED = 512 * 1024
"""Bytes of earlier inputs that patterns are held against: an agent decides how large its calls are."""
_RISKS = tuple(Risk)


def proposal_of(
    draft: Draft, target: Target, placement: Placement, *, risk: str, obligations_digest: str | None
) -> GrantProposal:
    """Return a call as grants look at it; its fields are those a request about it would store."""
    parties = parties_to(draft.principal)
    editors = draft.edit.editors if draft.edit is not None else frozenset()
    own = {draft.principal.id, draft.principal.owner_id, parties.minter, *editors}
    return GrantProposal(
        call_id=draft.call_id,
        subject_type=subject_of(target).type,
        tool=target.name,
        tool_definition_hash=target.definition_digest,
        obligations_digest=obligations_digest,
        principal_id=draft.principal.id,
        owner_id=draft.principal.owner_id,
        workspace_id=draft.run.workspace_id,
        run_id=draft.run.id,
        session_id=draft.run.session_id or "",
        device_id=draft.run.device_id,
        channel=draft.run.channel,
        skill_id=target.skill.skill_id if target.skill else "",
        skill_digest=target.definition_digest if target.skill else "",
        tier=placement.tier,
        egress_mode=placement.spec.egress_mode,
        risk=risk,
        parameters=target.input,
        parties=frozenset(own | parties.others.keys()),
    )


def approval_facts(approval: ApprovalClaim | None) -> ApprovalFacts | None:
    """Return the answer as policy reads it. Who decided alone stands for the whole quorum."""
    if approval is None or approval.request.status != RequestStatus.ALLOWED:
        return None
    asked = approval.request.obligations
    wanted = frozenset(role for roles in asked["role_sets"] for role in roles)
    alone = approval.single_operator
    return ApprovalFacts(
        id=approval.request.id,
        scope=approval.grant.scope if approval.grant else Scope.ONCE,
        risk=approval.request.risk,
        count=max(approval.count, approval.request.quorum) if alone else approval.count,
        roles=approval.roles | wanted if alone else approval.roles,
        deciders=approval.deciders,
        step_up=bool(asked["step_up"]) or alone,
        policy_ids=frozenset(asked["policy_ids"]),
    )


def is_satisfied(
    obligation: ApprovalObligation,
    risk: str,
    approval: ApprovalClaim,
    *,
    parties: frozenset[str],
    again: bool,
) -> bool:
    """Tell whether the reviews still are as much as is asked for now, policy's own rules apart.

    `again` is for a call that did not wait for this answer itself: then the scope has to be one that
    may still be given, and the people ones who have no part in this call.
    """
    request, asked = approval.request, approval.request.obligations
    facts = approval_facts(approval)
    if facts is None or risk not in _RISKS or _RISKS.index(risk) > _RISKS.index(Risk(request.risk)):
        return False
    proved = facts.step_up or request.risk in (Risk.HIGH, Risk.CRITICAL)
    enough = facts.count >= obligation.quorum and all(facts.roles & roles for roles in obligation.role_sets)
    if not enough or (obligation.step_up and not proved) or (obligation.comment and not asked["comment"]):
        return False
    return not again or (_may_reach(facts.scope, obligation.max_scope) and still_stands(approval, parties))


def _may_reach(scope: str, widest: str) -> bool:
    known = scope in SCOPES and widest in SCOPES
    return known and SCOPES.index(Scope(scope)) <= SCOPES.index(Scope(widest))


def asked_call(request_id: str, now: datetime, *, with_history: bool) -> AskedCall | None:
    """Return the call behind a request, None for a request about something else.

    None too when its tool is no longer the one that was asked about: nothing can be granted for that
    but the waiting calls.
    """
    request = ApprovalRequest.objects.filter(pk=request_id).defer("context_text").first()
    call = ToolCall.objects.select_related("run").filter(pk=request.subject_id).first() if request else None
    if request is None or call is None or call.action_digest != request.action_digest or not call.spec:
        return None
    shape = shape_of(request.tool, request.tool_definition_hash)
    if shape is None:
        return None
    return AskedCall(
        parameters=call.input,
        tool=shape,
        history=past_asks(request, now) if with_history else (),
        tier=call.tier or "",
        egress_mode=str(call.spec["egress_mode"]),
        session_ends_at=None if call.run.session_id else call.run.deadline_at,
    )


def shape_of(tool: str, definition_hash: str | None) -> ToolShape | None:
    """Return what patterns read of a tool or skill, None when its definition is another one by now."""
    found = policy_selectors.tool_named(tool)
    if found is not None:
        shape = ToolShape(found.input_schema, found.capabilities, found.argv_template or (), found.name)
        return shape if found.definition_digest == definition_hash else None
    skill = skill_selectors.resolve(tool)
    if skill is None or skill.payload_digest != definition_hash:
        return None
    return ToolShape(skill.input_schema, frozenset(), name=tool)


def offered_patterns(request: ApprovalRequest, now: datetime) -> tuple[Candidate, ...]:
    """Return the patterns an approver may choose from, narrowest first; none for a question that is closed.

    One that would name a value with the shape of a secret is left out.
    """
    asked = asked_call(request.pk, now, with_history=True)
    if asked is None or request.status != RequestStatus.PENDING:
        return ()
    found = candidates(asked.parameters, asked.tool, asked.history, risk=request.risk)
    return tuple(one for one in found if not mask(canonical(one.bound.as_json()).decode()).count)


def words_of(grant: Grant) -> str:
    """Return what a grant covers in words, with nothing secret or invisible in them."""
    return words_with(grant, shape_of(grant.tool, grant.tool_definition_hash))


def words_with(grant: Grant, shape: ToolShape | None) -> str:
    """As `words_of`, for who has read the tool already: the answer of `shape_of`."""
    bound = restored(grant.pattern, grant.rest_digest)
    if grant.scope == Scope.ONCE:
        return "The calls that waited for the answer"
    if bound is None:
        return "Nothing: the pattern cannot be read"
    return shown(sentence(bound, shape or ToolShape({}, frozenset(), (), grant.tool)))


def shown(text: str) -> str:
    """Return words that may hold an agent's own, without secrets and with nothing invisible in them."""
    return visible(mask(text).text)


def past_asks(request: ApprovalRequest, now: datetime) -> tuple[PastAsk, ...]:
    """Return the newest questions of the same agent about the same tool, this one not counted.

    The last 50 of 30 days, and with them as many denied ones that have passed out of those: whoever
    asks often enough does not make a no be forgotten. What goes beyond `MOST_COMPARED` comes without its
    parameters; denied ones are read before others.
    """
    rows = ApprovalRequest.objects.filter(
        requester_id=request.requester_id,
        workspace_id=request.workspace_id,
        tool=request.tool,
        requested_at__gt=now - HISTORY_DAYS,
    ).exclude(pk=request.pk)
    newest = rows.order_by("-requested_at").values_list("pk", "subject_id", "status")
    asked = {pk: (call, status) for pk, call, status in newest[:HISTORY]}
    denied = newest.filter(status=RequestStatus.DENIED)[:HISTORY]
    asked |= {pk: (call, status) for pk, call, status in denied}
    calls = ToolCall.objects.filter(pk__in=[call for call, _ in asked.values()])
    sizes = dict(calls.values_list("pk", "input_bytes"))
    inputs = dict(calls.filter(pk__in=compared(asked.values(), sizes)).values_list("pk", "input"))
    return tuple(
        PastAsk(inputs.get(call), status == RequestStatus.DENIED)
        for call, status in asked.values()
        if call in sizes
    )


def compared(asked: Iterable[tuple[str, str]], sizes: Mapping[str, int]) -> list[str]:
    """Return the calls, of pairs with their status, whose inputs are read, denied ones before others.

    Of each the newest first, as they are given, up to `MOST_COMPARED` bytes by `sizes`.
    """
    ordered = sorted(asked, key=lambda ask: ask[1] != RequestStatus.DENIED)
    room, chosen = MOST_COMPARED, []
    for call, _ in ordered:
        if sizes.get(call, 0) <= room:
            room -= sizes.get(call, 0)
            chosen.append(call)
    return chosen
