"""Grants, remembered denials and offered patterns as they travel. No raw parameters but those of patterns."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from approvals.candidates import Candidate
from approvals.grant_selectors import shown_state
from approvals.models import DenialMemory, Grant
from governance.grants import shown, words_of
from governance.staleness import stale_because
from identity.types import Principal, PrincipalKind
from kernel.clock import wire_time

MOST_USES_SHOWN = 50


def render_grant(grant: Grant, principal: Principal, now: datetime) -> dict[str, Any]:
    """Return a grant as lists show it; an agent learns that a person gave or took it, not who."""
    told = principal.kind is PrincipalKind.USER
    stale = stale_because(grant, now)
    givers = [review.reviewer_id for review in grant.request.reviews.all() if review.verdict == "allow"]
    return {
        "id": grant.pk,
        "object": "grant",
        "state": shown_state(grant, now),
        "stale": stale is not None,
        "stale_reason": stale.value if stale else None,
        "scope": grant.scope,
        "approval_id": grant.request_id,
        "subject_type": grant.subject_type,
        "subject_label": grant.subject_label,
        "tool": grant.tool or None,
        "tool_definition_hash": grant.tool_definition_hash,
        "agent": grant.principal_id,
        "workspace_id": grant.workspace_id,
        "run_id": grant.run_id or None,
        "session_id": grant.session_id or None,
        "device_id": grant.device_id or None,
        "channel": grant.channel or None,
        "skill_id": grant.skill_id or None,
        "skill_digest": grant.skill_digest or None,
        "tier_floor": grant.tier_floor or None,
        "egress_mode": grant.egress_mode or None,
        "risk_ceiling": grant.risk_ceiling,
        "pattern": grant.pattern,
        "pattern_words": words_of(grant),
        "breadth": grant.breadth,
        "uses": grant.uses,
        "uses_allowed": grant.uses_allowed,
        "not_before": wire_time(grant.not_before),
        "expires_at": wire_time(grant.expires_at),
        "created_at": wire_time(grant.created_at),
        "granted_by": givers if told else ["approver"] * len(givers),
        "revoked_by": (grant.revoked_by or None) if told else ("approver" if grant.revoked_by else None),
        "revoked_at": wire_time(grant.revoked_at),
        "revoke_reason": (grant.revoke_reason or None) if told else None,
    }


def render_grant_detail(grant: Grant, principal: Principal, now: datetime) -> dict[str, Any]:
    """Return a grant with its newest uses."""
    used = grant.used.order_by("-pk")[:MOST_USES_SHOWN]
    return render_grant(grant, principal, now) | {
        "used_by": [
            {"call_id": use.call_id, "execution_id": use.execution_id, "used_at": wire_time(use.used_at)}
            for use in used
        ]
    }


def render_denial(denial: DenialMemory) -> dict[str, Any]:
    request = denial.request
    return {
        "id": denial.pk,
        "object": "denial",
        "agent": denial.principal_id,
        "action_digest": denial.action_digest,
        "approval_id": denial.request_id,
        "subject_label": request.subject_label,
        "tool": request.tool or None,
        "workspace_id": request.workspace_id,
        "created_at": wire_time(denial.created_at),
        "expires_at": wire_time(denial.expires_at),
    }


def render_patterns(offered: Sequence[Candidate]) -> list[dict[str, Any]]:
    """Return the patterns numbered from 1. None covers a denied ask: such a pattern is not offered."""
    return [
        {
            "id": str(number),
            "object": "pattern",
            "pattern": one.bound.as_json(),
            "words": shown(one.sentence),
            "covers": {"asks": one.covers_asks, "matched": one.covers_matched, "matched_denied": 0},
        }
        for number, one in enumerate(offered, start=1)
    ]
