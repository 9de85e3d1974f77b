"""Why an active grant covers nothing any more, although nobody ended it. Shown; never renewed by itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum

from approvals.fields import ToolShape
from approvals.grant_selectors import shown_state
from approvals.lookup import still_stands
from approvals.models import Grant
from approvals.selectors import facts_for_claim
from approvals.types import GrantStatus
from governance import checks
from governance.grants import shape_of
from governance.labelling import Reading, reaches_out
from governance.models import ToolCall
from governance.obligations import build_obligation
from governance.proposals import Draft, Found, Placement, Proposal
from identity.lifecycle import AgentState
from identity.liveness import principal_live
from identity.models import Agent
from identity.parties import parties_to
from identity.types import Principal
from kernel.canonical import digest
from policy import services as policy
from policy.flows import flow_of
from policy.types import Effect
from sandbox.spec import SandboxSpec

log = logging.getLogger(__name__)


class Stale(StrEnum):
    TOOL_CHANGED = "tool_changed"
    SKILL_CHANGED = "skill_changed"
    PRINCIPAL_NOT_LIVE = "principal_not_live"
    OWNER_CHANGED = "owner_changed"
    REVIEWERS_CHANGED = "reviewers_changed"
    OBLIGATIONS_CHANGED = "obligations_changed"
    POLICY_DENIES = "policy_denies"
    UNKNOWN = "unknown"


def stale_because(grant: Grant, now: datetime) -> Stale | None:
    """Return why no call like the allowed one would be covered at `now`, None for a grant that counts.

    None too for one that has ended. What cannot be judged is `unknown`: it may cover nothing.
    """
    if shown_state(grant, now) != GrantStatus.ACTIVE:
        return None
    if shape_of(grant.tool, grant.tool_definition_hash) is None:
        return Stale.SKILL_CHANGED if grant.skill_id else Stale.TOOL_CHANGED
    call = ToolCall.objects.select_related("run").filter(pk=grant.request.subject_id).first()
    if call is None or not call.spec:
        return Stale.UNKNOWN
    try:
        return _of_people(grant, call, now) or _of_rules(grant, call, now)
    except Exception:
        log.exception("whether %s counts cannot be told", grant.pk)
        return Stale.UNKNOWN


def plainly_stale(
    grants: Sequence[Grant], shapes: Mapping[tuple[str, str | None], ToolShape | None], now: datetime
) -> dict[str, Stale]:
    """Return by id which of many grants are stale for a reason that is seen without asking the rules.

    One query, for lists; a grant that is not named may be stale for another reason of `stale_because`.
    `shapes` holds the answers of `shape_of` by tool and definition.
    """
    active = [grant for grant in grants if shown_state(grant, now) == GrantStatus.ACTIVE]
    agents = Agent.objects.in_bulk({grant.principal_id for grant in active})
    found: dict[str, Stale] = {}
    for grant in active:
        agent = agents.get(grant.principal_id)
        if shapes[grant.tool, grant.tool_definition_hash] is None:
            found[grant.pk] = Stale.SKILL_CHANGED if grant.skill_id else Stale.TOOL_CHANGED
        elif agent is not None and agent.state != AgentState.ACTIVE:
            found[grant.pk] = Stale.PRINCIPAL_NOT_LIVE
        elif agent is not None and agent.owner_id != grant.request.requester_owner_id:
            found[grant.pk] = Stale.OWNER_CHANGED
    return found


def _of_people(grant: Grant, call: ToolCall, now: datetime) -> Stale | None:
    principal = _principal(call, now)
    if principal is None:
        return Stale.PRINCIPAL_NOT_LIVE
    if principal.owner_id != grant.request.requester_owner_id:
        return Stale.OWNER_CHANGED
    approval = facts_for_claim(grant.request_id, now)
    parties = frozenset({principal.id, principal.owner_id, *parties_to(principal).others})
    if approval is None or not still_stands(approval, parties):
        return Stale.REVIEWERS_CHANGED
    return None


def _of_rules(grant: Grant, call: ToolCall, now: datetime) -> Stale | None:
    """Ask the rules about the allowed call once more, as in a session that has read nothing."""
    principal = _principal(call, now)
    if principal is None:
        return Stale.PRINCIPAL_NOT_LIVE
    proposal = Proposal.of_call(call)
    draft = Draft(call.id, proposal, principal, call.run, now)
    target = checks.schema(draft).value
    if target is None:
        return Stale.TOOL_CHANGED
    spec = SandboxSpec.from_json(call.spec or {})
    placement = Placement(spec.tier.value, spec.executor.value, spec)
    found = Found(target=target, placement=placement, posture=checks.posture_of(draft, target))
    checks.skill(draft, target, found)
    flow = flow_of(target.tool, target.input, egress=reaches_out(spec))
    reading = Reading(frozenset(), flow, frozenset())
    decision = policy.decide(facts=checks.facts_of(draft, target, found, reading, None))
    if decision.effect is Effect.DENY:
        return Stale.POLICY_DENIES
    obligation, _ = build_obligation(decision, target, placement, found.posture, channel=call.run.channel)
    same = digest(obligation.as_json()) == grant.obligations_digest
    return None if same else Stale.OBLIGATIONS_CHANGED


def _principal(call: ToolCall, now: datetime) -> Principal | None:
    """Whoever proposed the allowed call, whatever became of the token it came with."""
    return principal_live(
        kind=call.principal_kind,
        principal_id=call.principal_id,
        workspace_id=call.workspace_id,
        token_id=None,
        now=now,
    )
