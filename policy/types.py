"""Plain values of the policy part: what is asked, what is known, and what was decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from policy.tool_types import (
    Delivery as Delivery,
    InputCheck as InputCheck,
    Parallelism as Parallelism,
    Projection as Projection,
    SecretSlot as SecretSlot,
    SensitiveKind as SensitiveKind,
    ToolCheck as ToolCheck,
    ToolDefinition as ToolDefinition,
    ToolFacts as ToolFacts,
    UnitRule as UnitRule,
)


class Effect(StrEnum):
    ALLOW = "allow"
    DENY = "deny"
    REQUIRE_APPROVAL = "require_approval"


class Risk(StrEnum):
    """ApprovalRiskLevel, from the least to the greatest."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return list(Risk).index(self)


class ToolCapability(StrEnum):
    PROCESS_EXEC = "process_exec"
    NETWORK = "network"
    SECRETS_READ = "secrets_read"
    FILESYSTEM_WRITE = "filesystem_write"
    ARTIFACTS_READ = "artifacts_read"
    FILESYSTEM_READ = "filesystem_read"
    MEMORY_READ = "memory_read"
    MEMORY_WRITE = "memory_write"


class PostureState(StrEnum):
    ALWAYS_ALLOW = "always_allow"
    ASK_EACH_TIME = "ask_each_time"
    DISABLED = "disabled"


class ScopeKind(StrEnum):
    """Scopes of a posture override, from the broadest to the most specific."""

    GLOBAL = "global"
    WORKSPACE = "workspace"
    AGENT = "agent"
    SESSION = "session"


class AllowlistKind(StrEnum):
    TOOL = "tool"
    SKILL = "skill"
    PRINCIPAL = "tool_execute_principal"
    CHANNEL = "tool_execute_channel"


class Code(StrEnum):
    """The reason codes this part stores on calls."""

    ALLOWED = "policy.allowed"
    APPROVAL_REQUIRED = "policy.approval_required"
    DENIED = "policy.denied"
    NO_PERMIT = "policy.no_permit"
    EVALUATION_FAILED = "policy.evaluation_failed"
    INVALID_REQUEST = "policy.invalid_request"
    INVALID_CONTEXT = "policy.invalid_context"
    INPUT_UNREPRESENTABLE = "policy.input_unrepresentable"
    RESOURCE_MISMATCH = "policy.resource_mismatch"
    TOOL_NOT_ALLOWLISTED = "policy.tool_not_allowlisted"
    SKILL_NOT_ALLOWLISTED = "policy.skill_not_allowlisted"
    PRINCIPAL_NOT_ALLOWLISTED = "policy.principal_not_allowlisted"
    CHANNEL_NOT_ALLOWLISTED = "policy.channel_not_allowlisted"
    OBLIGATION_UNKNOWN = "policy.obligation_unknown"
    NO_ACTIVE_SET = "policy.no_active_set"
    POSTURE_ALWAYS_ALLOW = "posture.always_allow"
    POSTURE_ASK_EACH_TIME = "posture.ask_each_time"
    POSTURE_DISABLED = "posture.disabled"
    POSTURE_LOCKED = "posture.locked"
    POSTURE_UNAVAILABLE = "posture.unavailable"
    SCHEMA_OK = "schema.ok"
    TOOL_UNKNOWN = "schema.tool_unknown"
    TOOL_DISABLED = "schema.tool_disabled"
    RUNTIME_UNSUPPORTED = "schema.runtime_unsupported"
    INPUT_NOT_OBJECT = "schema.input_not_object"
    INPUT_INVALID = "schema.input_invalid"
    INPUT_TOO_LARGE = "schema.input_too_large"


@dataclass(frozen=True, slots=True)
class EntityRef:
    """A Cedar entity by short type name (`Agent`, without the namespace) and id."""

    type: str
    id: str


@dataclass(frozen=True, slots=True)
class SkillFacts:
    """A skill version as gate 4 resolved it; `skl_id` is the Cedar id and the allowlist value."""

    skl_id: str
    skill_id: str
    version: str
    digest: str
    publisher: str
    status: str
    risk: str
    requires_approval: bool


@dataclass(frozen=True, slots=True)
class ApprovalFacts:
    """The attached approval: how many allowed it, in which roles, and up to which risk.

    `step_up`: each of them proved a fresh one-time code. `policy_ids` are the rules they were told ask
    for it, None where nobody is known to have been told of any.
    """

    id: str
    scope: str
    risk: str
    count: int
    roles: frozenset[str]
    deciders: frozenset[str]
    step_up: bool = False
    policy_ids: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class PostureRow:
    """One override in force or expired, as stored."""

    scope_kind: str
    scope_id: str
    state: str
    overridable: bool = True
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class EffectivePosture:
    """What the chain of overrides comes to. `explicit` iff a stored row decided.

    `chain` holds the rows that counted, broadest first. A lock always means disabled.
    """

    state: str
    default_state: str
    source_scope: str
    chain: tuple[PostureRow, ...]
    lock_reason: str
    editable: bool
    explicit: bool

    @property
    def reason_code(self) -> str:
        """The `posture.*` code of the posture gate."""
        if self.lock_reason == Code.POSTURE_UNAVAILABLE:
            return Code.POSTURE_UNAVAILABLE
        return Code.POSTURE_LOCKED if self.lock_reason else f"posture.{self.state}"


@dataclass(frozen=True, slots=True)
class DecisionFacts:
    """Everything the pipeline knows about one request. No field of it comes from the agent unchecked.

    `action` is `tool.execute`, `skill.execute` or a named action of the schema; `input` has passed
    the schema gate; `labels` are those of the session. `adds_labels` and `sinks` are those of this very
    call; None stands for all that the tool's definition names.
    """

    principal_kind: str
    principal_id: str
    workspace_id: str
    action: str
    resource: EntityRef
    tool: ToolFacts | None
    skill: SkillFacts | None
    input: dict[str, object]
    posture: EffectivePosture | None
    run_id: str | None
    session_id: str | None
    device_id: str | None
    channel: str | None
    calls_in_run: int
    auth_method: str
    source_ip: str | None
    external_execution: bool
    approval: ApprovalFacts | None
    now: datetime
    labels: frozenset[str] = frozenset()
    adds_labels: frozenset[str] | None = None
    sinks: frozenset[str] | None = None
    tainted_arguments: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PolicyRequest:
    principal: EntityRef
    action: str
    resource: EntityRef


@dataclass(frozen=True, slots=True)
class PolicyRequestContext:
    """The request's circumstances. `posture` is a posture state or `none`."""

    now: datetime
    device_id: str | None = None
    channel: str | None = None
    session_id: str | None = None
    run_id: str | None = None
    tool_name: str | None = None
    skill_id: str | None = None
    capabilities: frozenset[str] = frozenset()
    posture: str = "none"
    labels: frozenset[str] = frozenset()
    adds_labels: frozenset[str] = frozenset()
    sinks: frozenset[str] = frozenset()
    approval: ApprovalFacts | None = None
    tool_input: Mapping[str, object] = field(default_factory=dict)
    tainted_arguments: frozenset[str] = frozenset()
    calls_in_run: int = 0
    auth_method: str = "none"
    source_ip: str | None = None
    external_execution: bool = False


@dataclass(frozen=True, slots=True)
class PolicyEvaluationConfig:
    """Allowlists and what counts as sensitive. Empty tool and skill lists allow nothing.

    An empty principal or channel list restricts nothing. `allow_sensitive_tools` is computed from
    the posture by the caller; no request field can set it.
    """

    allowlisted_tools: frozenset[str] = frozenset()
    allowlisted_skills: frozenset[str] = frozenset()
    allow_sensitive_tools: bool = False
    sensitive_tool_names: frozenset[str] = frozenset()
    sensitive_actions: frozenset[str] = frozenset({"cron.delete", "memory.delete", "memory.purge"})
    sensitive_capability_names: frozenset[str] = frozenset(
        {"process_exec", "network", "secrets_read", "filesystem_write"}
    )
    tool_execute_principal_allowlist: frozenset[str] = frozenset()
    tool_execute_channel_allowlist: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class UserFacts:
    """A person as Cedar sees them in one workspace. Roles are those held there."""

    id: str
    active: bool
    mfa: bool = False
    member: bool = False
    permissions: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """An agent. It is active only while its owner is; `member` of the workspace it belongs to."""

    id: str
    active: bool
    member: bool
    owner: UserFacts


@dataclass(frozen=True, slots=True)
class ToolEntity:
    """The attributes of a tool that policies read; hashable, so that entity handles can be cached."""

    name: str
    capabilities: frozenset[str]
    tier: str
    risk: str
    sensitive: bool
    enabled: bool
    runtime_supported: bool


@dataclass(frozen=True, slots=True)
class World:
    """The plain snapshot of principal and resource. None for a principal means: unknown."""

    workspace_id: str
    principal: UserFacts | AgentFacts | None
    tool: ToolEntity | None = None
    skill: SkillFacts | None = None


@dataclass(frozen=True, slots=True)
class Obligation:
    """What must be met before an allow counts. `kind` approval, redact_output or log_input.

    Only `approval` stands between the call and its run; `step_up` says that a reviewer needs a
    fresh one-time code. Each role of `approver_roles` must be among the reviewers.
    """

    kind: str
    risk: str
    quorum: int
    approver_roles: tuple[str, ...]
    step_up: bool
    policy_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeterminingPolicy:
    id: str
    effect: str
    description: str
    annotations: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class PolicySetRef:
    """Which set decided. `version` 0 and empty texts: none was in force."""

    id: str = ""
    version: int = 0
    hash: str = ""


NO_SET = PolicySetRef()


@dataclass(frozen=True, slots=True)
class PolicyExplanation:
    evaluated_with_cedar: bool
    reason: str
    determining_policies: tuple[DeterminingPolicy, ...] = ()
    matched_policy_ids: tuple[str, ...] = ()
    diagnostics_errors: tuple[str, ...] = ()
    is_sensitive_action: bool = False
    is_allowlisted_tool: bool = False
    is_allowlisted_skill: bool = False
    is_tool_execute_principal_allowed: bool = False
    is_tool_execute_channel_allowed: bool = False
    requested_tool: str | None = None
    requested_skill: str | None = None
    request_capabilities: tuple[str, ...] = ()
    constructed_entities: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    policy_set: PolicySetRef = PolicySetRef()
    catalog_digest: str = ""
    slice_size: int = 0
    duration_us: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """Everything one evaluation was given besides the rules: enough to ask again."""

    request: PolicyRequest
    context: PolicyRequestContext
    config: PolicyEvaluationConfig
    world: World


@dataclass(frozen=True, slots=True)
class PolicyDecision:
    """The answer. An allow may carry obligations for the caller, never an unmet approval.

    `asked` is None when nothing could be put to the rules: the facts were unreadable.
    """

    effect: Effect
    reason_code: str
    reason: str
    obligations: tuple[Obligation, ...]
    explanation: PolicyExplanation
    asked: Asked | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with a policy text. Line and column count from 1, in code points; 0: the whole file."""

    severity: str
    code: str
    file: str
    policy_id: str
    message: str
    line: int = 0
    column: int = 0
