"""The fields of the events on the path of a call, of policy, and of the system."""

from __future__ import annotations

from typing import Any

from governance.journal.event_names import EventName as E
from governance.journal.event_register import event


@event(E.TOOL_CALL_PROPOSED)
class Proposed:
    tool: str
    input: Any
    input_bytes: int


@event(E.TOOL_CALL_DECIDED)
class Decided:
    effect: str
    reason_code: str
    final: bool
    gates: list[list[str]]
    policy_set: str | None
    determining_policies: list[str]
    approval: str | None


@event(E.TOOL_CALL_CLOSED)
class CallClosed:
    """The end of a call that was never queued. `state` is the state it ended in."""

    state: str
    reason_code: str


@event(E.TOOL_CALL_RESOLVED)
class CallResolved:
    """What a person found out about a call whose end nobody saw."""

    outcome: str
    note: str


@event(E.SKILL_GATE_DECIDED)
class SkillGateDecided:
    skill_gate_decision: dict[str, Any]


@event(E.SKILL_INSTALLED, E.SKILL_ACTIVATED, E.SKILL_DISABLED)
class SkillChanged:
    skill_id: str
    version: str
    payload_digest: str
    source: str


@event(E.PUBLISHER_TRUSTED)
class PublisherTrusted:
    name: str
    state: str


@event(E.APPROVAL_REQUESTED)
class ApprovalRequested:
    subject_type: str
    subject_label: str
    action_digest: str
    risk: str
    quorum: int
    expires_at: str


@event(E.APPROVAL_ATTACHED)
class ApprovalAttached:
    version: int


@event(E.APPROVAL_REVIEWED)
class ApprovalReviewed:
    verdict: str
    scope: str
    comment: str
    seen_version: int | None
    single_operator: bool
    break_glass: bool
    step_up: bool


@event(E.APPROVAL_DECIDED)
class ApprovalDecided:
    decision: str
    close_code: str
    grant: str | None
    single_operator: bool


@event(E.APPROVAL_EXPIRED, E.APPROVAL_CANCELLED, E.APPROVAL_FAILED)
class ApprovalClosed:
    close_code: str


@event(E.APPROVALS_EXPORTED)
class ApprovalsExported:
    filters: dict[str, Any]
    count: int
    has_more: bool


@event(E.GRANT_CREATED)
class GrantCreated:
    request: str
    scope: str
    pattern_digest: str
    breadth: int
    uses_allowed: int | None
    expires_at: str


@event(E.GRANT_USED)
class GrantUsed:
    execution: str
    uses: int


@event(E.GRANT_CONSUMED)
class GrantConsumed:
    uses: int


@event(E.EXECUTION_QUEUED)
class ExecutionQueued:
    tier: str
    executor: str
    spec_digest: str


@event(E.EXECUTION_STARTED)
class ExecutionStarted:
    tier: str
    executor: str
    worker_id: str
    fence: int


@event(E.EXECUTION_FINISHED)
class ExecutionFinished:
    state: str
    error_kind: str
    error_code: str
    exit_code: int | None
    signal: int | None
    output_digest: str | None


@event(E.EXECUTION_CANCELLED)
class ExecutionCancelled:
    reason: str


@event(E.EXECUTION_REFUSED)
class ExecutionRefused:
    error_kind: str
    code: str


@event(E.EXECUTION_LOST)
class ExecutionLost:
    worker_id: str


@event(E.ATTESTATION_RECORDED)
class AttestationRecorded:
    execution_sha256: str
    envelope_sha256: str
    executor: str
    sandbox_enforcement: str
    outcome: str


@event(E.WORKSPACE_ROOT_CHANGED)
class WorkspaceRootChanged:
    name: str
    path: str
    mode_max: str
    agents: list[str]


@event(E.RUN_OPENED)
class RunOpened:
    principal: str
    max_calls: int
    origin: str


@event(E.RUN_CLOSED)
class RunClosed:
    """`reason` is what who ended it said, empty for an end by itself."""

    state: str
    close_code: str
    reason: str


@event(E.TOOL_REGISTERED, E.TOOL_CHANGED, E.TOOL_ENABLED, E.TOOL_DISABLED)
class ToolMoved:
    tool: str
    kind: str
    version: int
    definition_digest: str
    enabled: bool
    reason: str
    single_operator: bool


@event(E.TOOL_CALL_CONFIG_CHANGED)
class ToolCallConfigChanged:
    workspace: str
    version: int
    changed: dict[str, Any]
    reason: str


@event(E.SENSITIVE_RULE_CHANGED)
class SensitiveRuleChanged:
    workspace: str
    kind: str
    value: str
    present: bool


@event(E.ALLOWLIST_CHANGED)
class AllowlistChanged:
    workspace: str
    kind: str
    value: str
    present: bool


@event(E.POSTURE_OVERRIDE_SET, E.POSTURE_OVERRIDE_CLEARED, E.POSTURE_OVERRIDE_EXPIRED)
class PostureChanged:
    tool: str
    scope_kind: str
    scope_id: str
    before: str
    after: str
    source: str
    reason: str


@event(E.RESERVATION_HELD, E.RESERVATION_SETTLED, E.RESERVATION_RELEASED)
class ReservationMoved:
    metric: str
    amount: int


@event(E.REQUEST_REFUSED)
class RequestRefused:
    code: str


@event(E.SYSTEM_BOOTSTRAP_CLEARED)
class BootstrapCleared:
    tokens_revoked: int


@event(E.SYSTEM_BOOTSTRAPPED)
class SystemBootstrapped:
    owner: str
    agent: str
    workspace: str
