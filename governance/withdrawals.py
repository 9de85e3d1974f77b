"""Questions that became pointless: whoever asked is gone, or the call could not run any more.

A person's answer would change nothing there, since the claim asks all of it again. Withdrawing them keeps
people from being asked in vain. What cannot be found out now leaves a question as it is.
"""

from __future__ import annotations

from datetime import datetime

from django.db.models import Q, QuerySet

from approvals import services as approvals
from approvals.models import ApprovalRequest
from approvals.types import CloseCode, RequestStatus
from governance import checks, closing
from governance.journal.ledger import record
from governance.models import ToolCall
from governance.proposals import Draft, Found, Placement, Proposal
from governance.runs.turns import hold_run, hold_run_of_request
from identity.lifecycle import AgentState
from identity.liveness import principal_for_agent_live, principal_live
from identity.models import Agent, ApiToken, User
from identity.types import PrincipalKind
from kernel.record import Actor
from policy.runtime import epoch_stamp
from policy.types import Code
from sandbox.spec import SandboxSpec

_GONE = frozenset({Code.TOOL_UNKNOWN, Code.TOOL_DISABLED, Code.RUNTIME_UNSUPPORTED})
_SWITCHED_OFF = frozenset({Code.POSTURE_DISABLED, Code.POSTURE_LOCKED})
_FORBIDDEN = frozenset(
    {
        Code.DENIED,
        Code.NO_PERMIT,
        Code.TOOL_NOT_ALLOWLISTED,
        Code.SKILL_NOT_ALLOWLISTED,
        Code.PRINCIPAL_NOT_ALLOWLISTED,
        Code.CHANNEL_NOT_ALLOWLISTED,
    }
)
"""What policy says when it denies; any other code tells that it could not be asked."""


def withdraw_all_of(agent_id: str, actor: Actor, now: datetime) -> None:
    """Withdraw what an agent asks that may not act any more. Its runs are held before anything ends.

    What it asks meanwhile in yet another run is left to the sweeper: that run is not held here.
    """
    waiting = _pending().filter(requester_kind=PrincipalKind.AGENT, requester_id=agent_id)
    held = sorted(set(waiting.exclude(run_id="").values_list("run_id", flat=True)))
    for run_id in held:
        hold_run(run_id)
    for request_id in waiting.filter(run_id__in=["", *held]).order_by("pk").values_list("pk", flat=True):
        _withdraw(request_id, CloseCode.AGENT_REVOKED, actor, now)


def worth_a_look(limit: int) -> tuple[str, ...]:
    """Return up to `limit` waiting requests that may be pointless, the oldest first.

    Those whose requester is gone, and those about which policy was not asked since something moved that
    it reads.
    """
    moved = ~Q(policy_stamp=epoch_stamp()) & Q(calls__isnull=False)
    found = _pending().filter(_requester_gone() | moved).order_by("requested_at", "pk").distinct()
    return tuple(found.values_list("pk", flat=True)[:limit])


def look_at(request_id: str, actor: Actor, now: datetime) -> None:
    """Withdraw a request for which nothing can run, or note that policy still permits it."""
    stamp = epoch_stamp()
    hold_run_of_request(request_id)
    request = _pending().filter(pk=request_id).first()
    if request is None:
        return
    calls = ToolCall.objects.select_related("run").filter(approval_id=request_id, effect="require_approval")
    reasons = [_stopped_by(call, now) for call in calls.order_by("id")] or [_gone(request, now)]
    if all(reasons):
        _withdraw(request_id, reasons[0] or "", actor, now)
    else:
        _pending().filter(pk=request_id).update(policy_stamp=stamp)


def _pending() -> QuerySet[ApprovalRequest]:
    return ApprovalRequest.objects.filter(status=RequestStatus.PENDING)


def _requester_gone() -> Q:
    idle = Agent.objects.exclude(state=AgentState.ACTIVE) | Agent.objects.filter(owner__is_active=False)
    revoked = ToolCall.objects.filter(
        effect="require_approval",
        token_id__in=ApiToken.objects.filter(revoked_at__isnull=False).values("pk"),
    )
    return (
        Q(requester_kind=PrincipalKind.AGENT, requester_id__in=idle.values("pk"))
        | Q(requester_owner_id__in=User.objects.filter(is_active=False).values("pk"))
        | Q(pk__in=revoked.values("approval_id"))
    )


def _gone(request: ApprovalRequest, now: datetime) -> str | None:
    """Return why somebody who asked about something other than a call may not go on."""
    if request.requester_kind != PrincipalKind.AGENT:
        active = User.objects.filter(pk=request.requester_owner_id, is_active=True).exists()
        return None if active else CloseCode.AGENT_REVOKED
    live = principal_for_agent_live(agent_id=request.requester_id, now=now)
    return None if live is not None else CloseCode.AGENT_REVOKED


def _stopped_by(call: ToolCall, now: datetime) -> str | None:
    """Return why this call could not run even if somebody allowed it, or None when it could."""
    principal = principal_live(
        kind=call.principal_kind,
        principal_id=call.principal_id,
        workspace_id=call.workspace_id,
        token_id=call.token_id,
        now=now,
    )
    if principal is None:
        return CloseCode.AGENT_REVOKED
    proposal = Proposal.of_call(call)
    draft, found = Draft(call.id, proposal, principal, call.run, now), Found()
    named = checks.schema(draft)
    if named.value is None:
        return CloseCode.TOOL_DISABLED if named.code in _GONE else None
    target = found.target = named.value
    skill = checks.skill(draft, target, found)
    posture = checks.posture(draft, target)
    found.posture = posture.value
    if skill.value is None or posture.code in _SWITCHED_OFF:
        return CloseCode.TOOL_DISABLED
    if found.posture is None or call.spec is None:
        return None
    found.placement = Placement(call.tier or "", call.executor or "", SandboxSpec.from_json(call.spec))
    permitted = checks.policy(draft, target, found, approval=None)
    return CloseCode.POLICY_DENIES if permitted.value is None and permitted.code in _FORBIDDEN else None


def _withdraw(request_id: str, close_code: str, actor: Actor, now: datetime) -> None:
    approvals.cancel_request(
        request_id=request_id, close_code=close_code, actor=actor, now=now, record=record
    )
    closing.close_waiting(request_id, actor, now)
