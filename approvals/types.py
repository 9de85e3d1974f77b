"""Plain values of approvals: what is asked, who answers, what an answer opens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Risk(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Scope(StrEnum):
    ONCE = "once"
    SESSION = "session"
    TEMPORARY = "temporary"
    ALWAYS = "always"


class Verdict(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


class SubjectType(StrEnum):
    """What a request is about; no other subject may pass for `tool`."""

    TOOL = "tool"
    SKILL = "skill"
    CHANNEL_SEND = "channel_send"
    SECRET_ACCESS = "secret_access"
    BROWSER_ACTION = "browser_action"
    NODE_CAPABILITY = "node_capability"
    DEVICE_PAIRING = "device_pairing"
    BUDGET_OVERRIDE = "budget_override"
    POLICY_ACTIVATION = "policy_activation"
    SAFETY_RELEASE = "safety_release"
    ERASURE = "erasure"


class RequestStatus(StrEnum):
    PENDING = "pending"
    ALLOWED = "allowed"
    DENIED = "denied"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class GrantStatus(StrEnum):
    ACTIVE = "active"
    CONSUMED = "consumed"
    EXPIRED = "expired"
    REVOKED = "revoked"


class ReviewFinding(StrEnum):
    """What somebody else says about a break-glass decision."""

    JUSTIFIED = "justified"
    UNJUSTIFIED = "unjustified"


class CloseCode(StrEnum):
    DECIDED = "decided"
    DENIED = "denied"
    TIMEOUT = "timeout"
    REQUESTER_CANCELLED = "requester_cancelled"
    RUN_CLOSED = "run_closed"
    AGENT_REVOKED = "agent_revoked"
    TOOL_DISABLED = "tool_disabled"
    SUPERSEDED_BY_EDIT = "superseded_by_edit"
    POLICY_DENIES = "policy_denies"
    FROZEN = "frozen"
    ERROR_INTERNAL = "error_internal"
    ERROR_NOTIFY = "error_notify"
    ERROR_RESUME = "error_resume"


CANCEL_CODES: frozenset[str] = frozenset(CloseCode) - {
    CloseCode.DECIDED,
    CloseCode.DENIED,
    CloseCode.TIMEOUT,
}
ERROR_CODES: frozenset[str] = frozenset(code for code in CloseCode if code.startswith("error_"))


@dataclass(frozen=True, slots=True)
class ApprovalObligation:
    """What an answer must satisfy, already merged to the strictest by the caller.

    Reviewers need one role of every set in `role_sets`; no set means any role that may decide. People
    in `excluded` had a part in what is asked about and never answer, as the requester never does.
    """

    quorum: int
    role_sets: tuple[frozenset[str], ...]
    timeout_s: int
    max_scope: str
    step_up: bool
    comment: bool
    max_uses: int | None
    policy_ids: tuple[str, ...]
    excluded: frozenset[str] = frozenset()

    def as_json(self) -> dict[str, object]:
        """Return the stored form; equal obligations have equal forms."""
        return {
            "quorum": self.quorum,
            "role_sets": sorted(sorted(roles) for roles in self.role_sets),
            "timeout_s": self.timeout_s,
            "max_scope": self.max_scope,
            "step_up": self.step_up,
            "comment": self.comment,
            "max_uses": self.max_uses,
            "policy_ids": sorted(self.policy_ids),
            "excluded": sorted(self.excluded),
        }


@dataclass(frozen=True, slots=True)
class NewRequest:
    """A question somebody wants answered. `context` is what the approver sees, already masked.

    `call_id` names the tool call that waits for the answer; a question about something else has none.
    `minter_id` is the person who minted the requester's token, `parties` are other people who had a part
    in it (id to relation), `sas` the short string a device shows, `resume` holds the ids that the asking
    part goes on with.
    """

    subject_type: str
    subject_id: str
    subject_label: str
    action_digest: str
    policy_set_hash: str
    tool_definition_hash: str | None
    obligation: ApprovalObligation
    requester_kind: str
    requester_id: str
    requester_owner_id: str
    workspace_id: str
    run_id: str | None
    session_id: str | None
    context: Mapping[str, object]
    risk: str
    timeout_s: int
    call_id: str | None
    minter_id: str = ""
    parties: Mapping[str, str] = field(default_factory=dict)
    on_behalf_of_id: str = ""
    device_id: str = ""
    channel: str = ""
    tool: str = ""
    skill_id: str = ""
    skill_digest: str = ""
    sas: str = ""
    edited_from_id: str = ""
    edited_by_id: str = ""
    resume: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReviewInput:
    """One person's answer as an adapter understood it; nothing in it is trusted.

    `otp_verified_at` is when identity last accepted a code of this person on this surface. An adapter
    that verified a code for this very decision passes the `now` of the decision. `seen_version` is the
    version the person was shown (`If-Match`). `break_glass` forces an allow; `end_run` is a deny of
    everything else in the run too, which is the caller's to do.
    """

    verdict: str
    scope: str | None = None
    comment: str = ""
    ttl_ms: int | None = None
    pattern: Mapping[str, object] | None = None
    sas: str = ""
    seen_version: int | None = None
    otp_verified_at: datetime | None = None
    surface: str = "api"
    break_glass: bool = False
    end_run: bool = False
