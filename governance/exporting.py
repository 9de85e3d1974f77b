"""Approvals as an auditor takes them away: one record for each request, with everything that hangs on it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from approvals.lifecycle import decision_of
from approvals.models import ApprovalRequest, Grant, Review
from governance.journal.models import JournalEvent, JournalLeaf
from governance.safety.secrets import mask
from kernel.canonical import canonical, digest_bytes
from kernel.clock import exact_time

RELATED = ("reviews", "calls", "grants__used", "denials")


def records(rows: Sequence[ApprovalRequest]) -> list[dict[str, Any]]:
    """Return the records of these requests, which come with `RELATED` prefetched.

    Comments are masked as the journal masks them; parameters were masked when the request was stored.
    """
    events = _events_of(rows)
    return [_record(row, events) for row in rows]


def _record(row: ApprovalRequest, events: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    grants = list(row.grants.all())
    subjects = [row.pk, *(grant.pk for grant in grants)]
    return {
        "object": "approval_record",
        "id": row.pk,
        "state": row.status,
        "decision": decision_of(row.status, row.close_code),
        "close_code": row.close_code or None,
        "version": row.version,
        "subject": {"type": row.subject_type, "id": row.subject_id, "label": row.subject_label},
        "bound_to": {
            "action_digest": row.action_digest,
            "policy_set_hash": row.policy_set_hash,
            "tool_definition_hash": row.tool_definition_hash,
            "obligations_digest": row.obligations_digest,
        },
        "obligations": row.obligations,
        "risk": row.risk,
        "quorum": row.quorum,
        "break_glass": row.break_glass,
        "requester": {
            "kind": row.requester_kind,
            "id": row.requester_id,
            "owner": row.requester_owner_id,
            "on_behalf_of": row.on_behalf_of_id or None,
        },
        "workspace_id": row.workspace_id,
        "run_id": row.run_id or None,
        "session_id": row.session_id or None,
        "edited_from": row.edited_from_id or None,
        "requested_at": exact_time(row.requested_at),
        "expires_at": exact_time(row.expires_at),
        "resolved_at": exact_time(row.resolved_at) if row.resolved_at else None,
        "shown": row.context,
        "shown_digest": digest_bytes(canonical(row.context)),
        "calls": [call.call_id for call in row.calls.all()],
        "reviews": [_review(review) for review in row.reviews.all()],
        "grants": [_grant(grant) for grant in grants],
        "events": sorted((one for subject in subjects for one in events[subject]), key=lambda one: one["id"]),
    }


def _review(review: Review) -> dict[str, Any]:
    return {
        "reviewer": review.reviewer_id,
        "verdict": review.verdict,
        "scope": review.scope or None,
        "ttl_ms": review.ttl_ms,
        "pattern": review.pattern,
        "comment": mask(review.comment).text,
        "surface": review.surface,
        "auth_method": review.auth_method,
        "step_up_at": exact_time(review.step_up_at) if review.step_up_at else None,
        "seen_version": review.seen_version,
        "roles": review.roles,
        "single_operator": review.single_operator,
        "break_glass": review.break_glass,
        "at": exact_time(review.created_at),
    }


def _grant(grant: Grant) -> dict[str, Any]:
    return {
        "id": grant.pk,
        "state": grant.status,
        "scope": grant.scope,
        "pattern": grant.pattern,
        "pattern_digest": grant.pattern_digest,
        "uses": grant.uses,
        "uses_allowed": grant.uses_allowed,
        "not_before": exact_time(grant.not_before),
        "expires_at": exact_time(grant.expires_at),
        "revoked_by": grant.revoked_by or None,
        "revoked_at": exact_time(grant.revoked_at) if grant.revoked_at else None,
        "revoke_reason": mask(grant.revoke_reason).text or None,
        "used": [
            {"call": use.call_id, "execution": use.execution_id, "at": exact_time(use.used_at)}
            for use in grant.used.all()
        ],
    }


def _events_of(rows: Sequence[ApprovalRequest]) -> dict[str, list[dict[str, Any]]]:
    """Return the journal's events about each request and grant; an unsealed event has no leaf yet."""
    subjects = [row.pk for row in rows] + [grant.pk for row in rows for grant in row.grants.all()]
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    events = list(JournalEvent.objects.filter(subject__in=subjects).order_by("id"))
    leaves = JournalLeaf.objects.filter(event_id__in=[event.pk for event in events])
    places = dict(leaves.values_list("event_id", "seq"))
    for event in events:
        found[event.subject].append(
            {
                "id": event.pk,
                "type": event.type,
                "envelope_digest": digest_bytes(bytes(event.envelope)),
                "leaf_index": places.get(event.pk),
            }
        )
    return found
