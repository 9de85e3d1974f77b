"""Whether an earlier answer covers a call. Pure: a stored grant and the facts of a call in, a word out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from approvals.patterns import BoundPattern, Rest, matches
from approvals.types import Risk, Scope

SCOPE_ORDER: tuple[str, ...] = (Scope.ONCE, Scope.SESSION, Scope.TEMPORARY, Scope.ALWAYS)
_TIERS = ("B", "B+", "C", "A")
"""The weakest first. Built-ins have a tier of their own that compares with no other."""
_EGRESS_MODES = ("strict", "preflight", "none")
_RISKS = tuple(Risk)


@dataclass(frozen=True, slots=True)
class GrantProposal:
    """What a call is, as far as a grant looks at it; empty texts are facts too: no device, no session.

    `obligations_digest` is None where the caller holds what is asked now against the reviews by itself,
    as a claim does. `parties` had a part in the call: an answer of theirs never covers it.
    """

    call_id: str
    subject_type: str
    tool: str
    tool_definition_hash: str | None
    obligations_digest: str | None
    principal_id: str
    owner_id: str
    workspace_id: str
    run_id: str
    session_id: str
    device_id: str
    channel: str
    skill_id: str
    skill_digest: str
    tier: str
    egress_mode: str
    risk: str
    parameters: Mapping[str, object]
    parties: frozenset[str] = frozenset()


class StoredGrant(Protocol):
    """The columns of a grant that are compared."""

    scope: str
    subject_type: str
    tool: str
    tool_definition_hash: str | None
    obligations_digest: str
    principal_id: str
    workspace_id: str
    run_id: str
    session_id: str
    device_id: str
    channel: str
    skill_id: str
    skill_digest: str
    tier_floor: str
    egress_mode: str
    risk_ceiling: str


class Mismatch(StrEnum):
    """The first thing in which a call is not what was allowed."""

    CALL = "call"
    SUBJECT = "subject"
    PRINCIPAL = "principal"
    TOOL_CHANGED = "tool_changed"
    SKILL_CHANGED = "skill_changed"
    OBLIGATIONS_CHANGED = "obligations_changed"
    SESSION = "session"
    DEVICE = "device"
    CHANNEL = "channel"
    TIER = "tier"
    EGRESS = "egress"
    RISK = "risk"
    PARAMETERS = "parameters"


def mismatch(
    grant: StoredGrant,
    bound: BoundPattern,
    proposal: GrantProposal,
    *,
    owner_id: str,
    covered_call_ids: frozenset[str],
) -> Mismatch | None:
    """Return in what the call is not covered, or None when it is (approvals part §3.5). Total.

    `owner_id` is who stood behind the requester when it was allowed. A scope `once` covers the calls it
    names, where `misplaced` has nothing against them, and no other; the wider ones compare everything that
    their scope holds fixed. A scope, tier, egress mode or risk that is not known covers nothing.
    """
    if grant.scope == Scope.ONCE:
        return misplaced(grant, proposal) if proposal.call_id in covered_call_ids else Mismatch.CALL
    if grant.scope not in SCOPE_ORDER:
        return Mismatch.CALL
    differs = _who_and_what(grant, proposal, owner_id) or _where(grant, proposal) or _how(grant, proposal)
    if differs is not None:
        return differs
    if bound.rest is Rest.ANY and grant.scope != Scope.SESSION:
        return Mismatch.PARAMETERS
    return None if matches(bound, proposal.parameters) else Mismatch.PARAMETERS


def misplaced(grant: StoredGrant, proposal: GrantProposal) -> Mismatch | None:
    """Return in what a call that waited for the answer would run in a lesser place than was allowed.

    A grant that names no tier, or no egress mode, was given for calls of which nobody said it.
    """
    if grant.tier_floor and not _strong_enough(grant, proposal):
        return Mismatch.TIER
    return Mismatch.EGRESS if grant.egress_mode and not _closed_enough(grant, proposal) else None


def _who_and_what(grant: StoredGrant, proposal: GrantProposal, owner_id: str) -> Mismatch | None:
    if (grant.subject_type, grant.tool) != (proposal.subject_type, proposal.tool) or not grant.tool:
        return Mismatch.SUBJECT
    asking = (proposal.principal_id, proposal.owner_id, proposal.workspace_id)
    if asking != (grant.principal_id, owner_id, grant.workspace_id) or not grant.principal_id:
        return Mismatch.PRINCIPAL
    if grant.tool_definition_hash != proposal.tool_definition_hash or not grant.tool_definition_hash:
        return Mismatch.TOOL_CHANGED
    if (grant.skill_id, grant.skill_digest) != (proposal.skill_id, proposal.skill_digest):
        return Mismatch.SKILL_CHANGED
    if proposal.obligations_digest not in (None, grant.obligations_digest):
        return Mismatch.OBLIGATIONS_CHANGED
    return None


def _where(grant: StoredGrant, proposal: GrantProposal) -> Mismatch | None:
    """A request without a session belongs to its run, and so does what was granted for "this session"."""
    if grant.scope == Scope.SESSION:
        asked, here = grant.session_id, proposal.session_id
        if not asked:
            asked, here = grant.run_id, proposal.run_id
        if not asked or asked != here:
            return Mismatch.SESSION
    if grant.scope != Scope.ALWAYS and grant.device_id != proposal.device_id:
        return Mismatch.DEVICE
    return Mismatch.CHANNEL if grant.channel != proposal.channel else None


def _how(grant: StoredGrant, proposal: GrantProposal) -> Mismatch | None:
    if not _strong_enough(grant, proposal):
        return Mismatch.TIER
    if not _closed_enough(grant, proposal):
        return Mismatch.EGRESS
    return None if _at_most(proposal.risk, grant.risk_ceiling, _RISKS) else Mismatch.RISK


def _strong_enough(grant: StoredGrant, proposal: GrantProposal) -> bool:
    same = proposal.tier != "" and grant.tier_floor == proposal.tier
    return same or _at_most(grant.tier_floor, proposal.tier, _TIERS)


def _closed_enough(grant: StoredGrant, proposal: GrantProposal) -> bool:
    return _at_most(proposal.egress_mode, grant.egress_mode, _EGRESS_MODES)


def _at_most(low: str, high: str, order: tuple[str, ...]) -> bool:
    """Tell whether `low` stands at or before `high`; what is not in the order stands nowhere."""
    return low in order and high in order and order.index(low) <= order.index(high)
