"""The register of events: one name per fact, and the typed fields each one carries.

A name or a field that is not here is a programming error and undoes the effect it should record.
Fields hold ids, codes, counts and, where a reader needs them, the words of a person or an agent; all
of it is redacted, bounded and encrypted before it is stored.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

SECRET: Mapping[str, bool] = types.MappingProxyType({"secret": True})
"""Metadata of a field whose value never reaches the journal."""


class EventName(StrEnum):
    TOOL_CALL_PROPOSED = "tool_call.proposed"
    TOOL_CALL_DECIDED = "tool_call.decided"
    SKILL_GATE_DECIDED = "skill.gate_decided"
    SKILL_INSTALLED = "skill.installed"
    SKILL_ACTIVATED = "skill.activated"
    SKILL_DISABLED = "skill.disabled"
    PUBLISHER_TRUSTED = "publisher.trusted"
    APPROVAL_REQUESTED = "approval.requested"
    APPROVAL_ATTACHED = "approval.attached"
    APPROVAL_REVIEWED = "approval.reviewed"
    APPROVAL_DECIDED = "approval.decided"
    APPROVAL_EXPIRED = "approval.expired"
    APPROVAL_CANCELLED = "approval.cancelled"
    APPROVAL_FAILED = "approval.failed"
    GRANT_CREATED = "grant.created"
    GRANT_USED = "grant.used"
    GRANT_CONSUMED = "grant.consumed"
    EXECUTION_QUEUED = "execution.queued"
    EXECUTION_STARTED = "execution.started"
    EXECUTION_FINISHED = "execution.finished"
    EXECUTION_CANCELLED = "execution.cancelled"
    EXECUTION_REFUSED = "execution.refused"
    EXECUTION_LOST = "execution.lost"
    ATTESTATION_RECORDED = "attestation.recorded"
    WORKSPACE_ROOT_CHANGED = "workspace_root.changed"
    RUN_OPENED = "run.opened"
    RUN_CLOSED = "run.closed"
    POLICY_DRAFTED = "policy.drafted"
    POLICY_VALIDATED = "policy.validated"
    POLICY_ACTIVATED = "policy.activated"
    TOOL_REGISTERED = "tool.registered"
    TOOL_CHANGED = "tool.changed"
    ALLOWLIST_CHANGED = "allowlist.changed"
    POSTURE_OVERRIDE_SET = "posture.override_set"
    POSTURE_OVERRIDE_CLEARED = "posture.override_cleared"
    POSTURE_OVERRIDE_EXPIRED = "posture.override_expired"
    RESERVATION_HELD = "reservation.held"
    RESERVATION_SETTLED = "reservation.settled"
    RESERVATION_RELEASED = "reservation.released"
    USER_CREATED = "user.created"
    MEMBERSHIP_GRANTED = "membership.granted"
    WORKSPACE_CHANGED = "workspace.changed"
    FACTOR_ENROLLED = "factor.enrolled"
    LOGIN_SUCCEEDED = "login.succeeded"
    LOGIN_FAILED = "login.failed"
    STEP_UP_SUCCEEDED = "step_up.succeeded"
    STEP_UP_FAILED = "step_up.failed"
    TOKEN_MINTED = "token.minted"
    TOKEN_REVOKED = "token.revoked"
    AGENT_REGISTERED = "agent.registered"
    AGENT_SUSPENDED = "agent.suspended"
    AGENT_RESUMED = "agent.resumed"
    REQUEST_REFUSED = "request.refused"
    SYSTEM_BOOTSTRAPPED = "system.bootstrapped"
    JOURNAL_KEY_ROTATED = "journal.key_rotated"


_REGISTER: dict[EventName, type] = {}


def _event(*names: EventName) -> typing.Callable[[type], type]:
    """Make a class the frozen shape of these events."""

    def register(shape: type) -> type:
        frozen: type = dataclass(frozen=True, slots=True)(shape)
        _REGISTER.update(dict.fromkeys(names, frozen))
        return frozen

    return register


_E = EventName


@_event(_E.TOOL_CALL_PROPOSED)
class Proposed:
    tool: str
    input: Any
    input_bytes: int


@_event(_E.TOOL_CALL_DECIDED)
class Decided:
    effect: str
    reason_code: str
    final: bool
    gates: list[list[str]]
    policy_set: str | None
    determining_policies: list[str]
    approval: str | None


@_event(_E.SKILL_GATE_DECIDED)
class SkillGateDecided:
    skill_gate_decision: dict[str, Any]


@_event(_E.SKILL_INSTALLED, _E.SKILL_ACTIVATED, _E.SKILL_DISABLED)
class SkillChanged:
    skill_id: str
    version: str
    payload_digest: str
    source: str


@_event(_E.PUBLISHER_TRUSTED)
class PublisherTrusted:
    name: str
    state: str


@_event(_E.APPROVAL_REQUESTED)
class ApprovalRequested:
    subject_type: str
    subject_label: str
    action_digest: str
    risk: str
    quorum: int
    expires_at: str


@_event(_E.APPROVAL_ATTACHED)
class ApprovalAttached:
    version: int


@_event(_E.APPROVAL_REVIEWED)
class ApprovalReviewed:
    verdict: str
    scope: str
    comment: str
    seen_version: int | None
    single_operator: bool


@_event(_E.APPROVAL_DECIDED)
class ApprovalDecided:
    decision: str
    close_code: str
    grant: str | None
    single_operator: bool


@_event(_E.APPROVAL_EXPIRED, _E.APPROVAL_CANCELLED, _E.APPROVAL_FAILED)
class ApprovalClosed:
    close_code: str


@_event(_E.GRANT_CREATED)
class GrantCreated:
    request: str
    scope: str
    uses_allowed: int | None
    expires_at: str


@_event(_E.GRANT_USED)
class GrantUsed:
    execution: str
    uses: int


@_event(_E.GRANT_CONSUMED)
class GrantConsumed:
    uses: int


@_event(_E.EXECUTION_QUEUED)
class ExecutionQueued:
    tier: str
    executor: str
    spec_digest: str


@_event(_E.EXECUTION_STARTED)
class ExecutionStarted:
    tier: str
    executor: str
    worker_id: str
    fence: int


@_event(_E.EXECUTION_FINISHED)
class ExecutionFinished:
    state: str
    error_kind: str
    error_code: str
    exit_code: int | None
    signal: int | None
    output_digest: str | None


@_event(_E.EXECUTION_CANCELLED)
class ExecutionCancelled:
    reason: str


@_event(_E.EXECUTION_REFUSED)
class ExecutionRefused:
    error_kind: str
    code: str


@_event(_E.EXECUTION_LOST)
class ExecutionLost:
    worker_id: str


@_event(_E.ATTESTATION_RECORDED)
class AttestationRecorded:
    execution_sha256: str
    envelope_sha256: str
    executor: str
    sandbox_enforcement: str
    outcome: str


@_event(_E.WORKSPACE_ROOT_CHANGED)
class WorkspaceRootChanged:
    name: str
    path: str
    mode_max: str
    agents: list[str]


@_event(_E.RUN_OPENED)
class RunOpened:
    principal: str
    max_calls: int
    origin: str


@_event(_E.RUN_CLOSED)
class RunClosed:
    state: str
    close_code: str


@_event(_E.POLICY_DRAFTED, _E.POLICY_VALIDATED, _E.POLICY_ACTIVATED)
class PolicySetMoved:
    version: int
    hash: str
    domain: str


@_event(_E.TOOL_REGISTERED, _E.TOOL_CHANGED)
class ToolDefined:
    tool: str
    kind: str
    version: int
    definition_digest: str


@_event(_E.ALLOWLIST_CHANGED)
class AllowlistChanged:
    workspace: str
    kind: str
    value: str
    present: bool


@_event(_E.POSTURE_OVERRIDE_SET, _E.POSTURE_OVERRIDE_CLEARED, _E.POSTURE_OVERRIDE_EXPIRED)
class PostureChanged:
    tool: str
    scope_kind: str
    scope_id: str
    before: str
    after: str
    source: str
    reason: str


@_event(_E.RESERVATION_HELD, _E.RESERVATION_SETTLED, _E.RESERVATION_RELEASED)
class ReservationMoved:
    metric: str
    amount: int


@_event(_E.USER_CREATED)
class UserCreated:
    username: str
    can_log_in: bool


@_event(_E.MEMBERSHIP_GRANTED)
class MembershipGranted:
    user: str
    workspace: str
    role: str


@_event(_E.WORKSPACE_CHANGED)
class WorkspaceChanged:
    change: str
    slug: str


@_event(_E.FACTOR_ENROLLED)
class FactorEnrolled:
    kind: str


@_event(_E.LOGIN_SUCCEEDED, _E.LOGIN_FAILED, _E.STEP_UP_SUCCEEDED, _E.STEP_UP_FAILED)
class CredentialChecked:
    """Who and where is in the envelope; what was typed is nowhere."""


@_event(_E.TOKEN_MINTED)
class TokenMinted:
    kind: str
    principal: str
    scopes: list[str]
    expires_at: str


@_event(_E.TOKEN_REVOKED)
class TokenRevoked:
    reason: str


@_event(_E.AGENT_REGISTERED)
class AgentRegistered:
    name: str
    owner: str
    workspace: str


@_event(_E.AGENT_SUSPENDED, _E.AGENT_RESUMED)
class AgentMoved:
    reason: str


@_event(_E.REQUEST_REFUSED)
class RequestRefused:
    code: str


@_event(_E.SYSTEM_BOOTSTRAPPED)
class SystemBootstrapped:
    owner: str
    agent: str
    workspace: str


@_event(_E.JOURNAL_KEY_ROTATED)
class KeyRotated:
    purpose: str
    key_id: str


def checked(event: str, data: Mapping[str, object]) -> tuple[EventName, dict[str, object], frozenset[str]]:
    """Return the name, the fields and which of them are secret.

    Raises ValueError for a name that is not registered or fields that are not exactly its fields,
    TypeError for a value of the wrong type.
    """
    name = EventName(event)
    hints, secret = _shape(name)
    if set(data) != set(hints):
        raise ValueError(f"{event}: fields differ: {sorted(set(data) ^ set(hints))}")
    for key, hint in hints.items():
        if not _fits(data[key], hint):
            raise TypeError(f"{event}: {key} is not {hint}")
    return name, dict(data), secret


def registered() -> Mapping[EventName, type]:
    """Return the register: every name has exactly one shape."""
    return types.MappingProxyType(_REGISTER)


@cache
def _shape(name: EventName) -> tuple[dict[str, Any], frozenset[str]]:
    shape = _REGISTER[name]
    hints = typing.get_type_hints(shape)
    secret = frozenset(item.name for item in dataclasses.fields(shape) if item.metadata.get("secret"))
    return hints, secret


def _fits(value: object, hint: Any) -> bool:
    if hint is Any:
        return True
    if isinstance(hint, types.UnionType):
        return any(_fits(value, option) for option in typing.get_args(hint))
    if hint is type(None):
        return value is None
    origin = typing.get_origin(hint)
    if origin is list:
        (inner,) = typing.get_args(hint)
        return isinstance(value, (list, tuple)) and all(_fits(item, inner) for item in value)
    if origin is dict:
        return isinstance(value, dict)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)
