"""How these tests ask and answer: through the services, in transactions of their own."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from approvals.answers import AskedCall
from approvals.lookup import GrantProposal
from approvals.models import ApprovalRequest, Grant
from approvals.services import ReviewOutcome, consume_grant, open_request, record_review
from approvals.types import ApprovalObligation, NewRequest, ReviewInput
from identity.models import User
from identity.types import AuthStrength
from kernel.canonical import digest
from kernel.record import Actor
from tests.builders import RecordedEvents
from tests.cast import NOW, Cast, principal

ALLOW = ReviewInput(verdict="allow", scope="once", surface="console")
DENY = ReviewInput(verdict="deny", comment="wrong file", surface="console")
OBLIGATION = ApprovalObligation(
    quorum=1,
    role_sets=(),
    timeout_s=600,
    max_scope="once",
    step_up=False,
    comment=False,
    max_uses=1,
    policy_ids=("deny_sensitive_without_approval",),
)


WRITE: dict[str, object] = {"path": "notes/a.md", "content": "a"}


def question(cast: Cast, call_id: str = "call_1", *, quorum: int = 1, risk: str = "medium") -> NewRequest:
    """Return what the pipeline would ask about a write by the agent."""
    return NewRequest(
        subject_type="tool",
        subject_id=call_id,
        subject_label="tool:fs.write",
        action_digest=digest({"path": "notes/a.md"}),
        policy_set_hash=digest("policy"),
        tool_definition_hash=digest("tool"),
        obligation=replace(OBLIGATION, quorum=quorum),
        requester_kind="agent",
        requester_id=cast.agent.pk,
        requester_owner_id=cast.agent_owner.pk,
        workspace_id=cast.default.pk,
        run_id="run_1",
        session_id=None,
        context={"title": "fs.write", "parameters_view": {"path": "notes/a.md", "content": "a\0b"}},
        risk=risk,
        timeout_s=600,
        call_id=call_id,
        tool="fs.write",
    )


def agent_actor(cast: Cast) -> Actor:
    return Actor(kind="agent", id=cast.agent.pk, auth="token", surface="api")


def ask(
    cast: Cast, asked: NewRequest | None = None, *, now: datetime = NOW, record: RecordedEvents | None = None
) -> ApprovalRequest:
    """Open a request as the pipeline does."""
    with transaction.atomic():
        return open_request(
            request=asked or question(cast),
            actor=agent_actor(cast),
            now=now,
            record=record or RecordedEvents(),
        )


def answer(
    cast: Cast,
    person: User,
    request: ApprovalRequest,
    review: ReviewInput = ALLOW,
    *,
    now: datetime = NOW + timedelta(seconds=5),
    strength: AuthStrength = AuthStrength.MFA,
    record: RecordedEvents | None = None,
    asked: AskedCall | None = None,
) -> ReviewOutcome:
    """Answer a request as a console would, logged in by second factor."""
    who = principal(person, cast.default, strength=strength, now=now)
    with transaction.atomic():
        return record_review(
            request_id=request.pk,
            principal=who,
            review=review,
            now=now,
            record=record or RecordedEvents(),
            asked=asked,
        )


def proposed(cast: Cast, call_id: str = "call_1", **changes: Any) -> GrantProposal:
    """Return the call that `question` asks about as a grant looks at it."""
    asked = question(cast, call_id)
    facts: dict[str, Any] = {
        "call_id": call_id,
        "subject_type": asked.subject_type,
        "tool": asked.tool,
        "tool_definition_hash": asked.tool_definition_hash,
        "obligations_digest": digest(asked.obligation.as_json()),
        "principal_id": asked.requester_id,
        "owner_id": asked.requester_owner_id,
        "workspace_id": asked.workspace_id,
        "run_id": asked.run_id,
        "session_id": asked.session_id or "",
        "device_id": asked.device_id,
        "channel": asked.channel,
        "skill_id": asked.skill_id,
        "skill_digest": asked.skill_digest,
        "tier": "C",
        "egress_mode": "strict",
        "risk": asked.risk,
        "parameters": WRITE,
    }
    return GrantProposal(**{**facts, **changes})


def use(
    cast: Cast,
    grant: Grant,
    call_id: str = "call_1",
    *,
    now: datetime = NOW + timedelta(seconds=9),
    record: RecordedEvents | None = None,
    proposal: GrantProposal | None = None,
) -> None:
    """Consume a grant as a claim does."""
    with transaction.atomic():
        consume_grant(
            grant_id=grant.pk,
            proposal=proposal or proposed(cast, call_id),
            execution_id=f"exe_{call_id}",
            actor=agent_actor(cast),
            now=now,
            record=record or RecordedEvents(),
        )
