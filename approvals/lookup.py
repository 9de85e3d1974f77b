"""Finding the earlier answer that covers a call. Reads only: nothing is used up before the claim."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F, Q, QuerySet

from approvals.matching import SCOPE_ORDER, GrantProposal as GrantProposal, Mismatch, mismatch
from approvals.models import ApprovalCall, Grant
from approvals.patterns import restored
from approvals.selectors import ApprovalClaim, facts_for_claim
from approvals.types import GrantStatus, Scope
from kernel.canonical import digest

MOST_CANDIDATES = 200

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GrantMatch:
    """The grant that covers a call, and the answer behind it as a claim reads it."""

    grant: Grant
    approval: ApprovalClaim


def _nobody(number: int) -> None:
    """Leave the log as the only alarm."""


def resolve_cached_tool_approval_for_proposal(
    *, proposal: GrantProposal, now: datetime, alarm: Callable[[int], None] = _nobody
) -> GrantMatch | None:
    """Return the narrowest active grant that covers the call at `now`, or None (approvals part §3.6).

    Ordered by scope, breadth and id. More than `MOST_CANDIDATES` are not searched: then there is none,
    and `alarm` is called with that number. An answer counts only while those who gave it may still
    give it, and never for a call in which one of them has a part.
    """
    found = list(_candidates(proposal, now)[: MOST_CANDIDATES + 1])
    if len(found) > MOST_CANDIDATES:
        log.error("more than %d grants for %s of %s", MOST_CANDIDATES, proposal.tool, proposal.principal_id)
        alarm(MOST_CANDIDATES)
        return None
    for grant in sorted(found, key=_narrowness):
        if why_not_covered(grant, proposal) is None:
            approval = facts_for_claim(grant.request_id, now)
            if approval is not None and still_stands(approval, proposal.parties):
                return GrantMatch(grant, approval)
    return None


def why_not_covered(grant: Grant, proposal: GrantProposal) -> Mismatch | None:
    """Return in what the call differs from what was granted, or None. Time and uses are not asked."""
    bound = restored(grant.pattern, grant.rest_digest)
    if bound is None or digest(grant.pattern) != grant.pattern_digest:
        return Mismatch.PARAMETERS
    covered = ApprovalCall.objects.filter(grant=grant, call_id=proposal.call_id).values_list(
        "call_id", flat=True
    )
    return mismatch(
        grant,
        bound,
        proposal,
        owner_id=grant.request.requester_owner_id,
        covered_call_ids=frozenset(covered) if grant.scope == Scope.ONCE else frozenset(),
    )


def still_stands(approval: ApprovalClaim, parties: frozenset[str]) -> bool:
    """Tell whether as many people as were asked for may still give this answer to such a call.

    Who acted alone by the sole-operator rule stands for the whole quorum, and may have had a part, as
    long as nobody else may decide; the rule ends by itself, and with it what it opened.
    """
    if approval.single_operator and approval.alone_now:
        return approval.count >= 1
    return len(approval.deciders - parties) >= max(1, approval.request.quorum)


def _candidates(proposal: GrantProposal, now: datetime) -> QuerySet[Grant]:
    """Return the rows worth comparing; what they are compared in is `mismatch`'s alone."""
    waiting = ApprovalCall.objects.filter(call_id=proposal.call_id, grant__isnull=False).values("grant_id")
    here = Q(session_id=proposal.session_id)
    if not proposal.session_id:
        here &= Q(run_id=proposal.run_id)
    rows = Grant.objects.filter(
        Q(scope__in=(Scope.TEMPORARY, Scope.ALWAYS))
        | Q(scope=Scope.SESSION) & here
        | Q(scope=Scope.ONCE, pk__in=waiting),
        Q(uses_allowed__isnull=True) | Q(uses__lt=F("uses_allowed")),
        status=GrantStatus.ACTIVE,
        subject_type=proposal.subject_type,
        tool=proposal.tool,
        principal_id=proposal.principal_id,
        workspace_id=proposal.workspace_id,
        tool_definition_hash=proposal.tool_definition_hash,
        obligations_digest=proposal.obligations_digest,
        not_before__lte=now,
        expires_at__gt=now,
    )
    return rows.select_related("request").defer("request__context_text").order_by("id")


def _narrowness(grant: Grant) -> tuple[int, int, str]:
    return SCOPE_ORDER.index(grant.scope), grant.breadth, grant.pk
