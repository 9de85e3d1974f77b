"""What happened to one call, as a signed statement: in-toto Statement v1 in a DSSE envelope.

Formats: in-toto attestation Statement v1 and DSSE v1 (PAE, Ed25519). Every call gets one statement, also
one that was denied, expired, cancelled, refused or lost; a fact that does not exist is null, never left out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from kernel.canonical import canonical, parse
from kernel.clock import exact_time
from kernel.errors import InvalidError, MalformedError

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://palyra.dev/attestation/tool-execution/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
EXECUTION_FORMAT = "palyra.execution.v1"
MAX_SIGNATURES = 8


class AttestedExecutor(StrEnum):
    """Who ran the call; for a call that did not run, the stage that refused it."""

    TIER_A = "sandbox_tier_a"
    TIER_B = "sandbox_tier_b"
    TIER_B_LANDLOCK = "sandbox_tier_b_landlock"
    TIER_C_LINUX = "sandbox_tier_c_linux_bubblewrap"
    TIER_C_MACOS = "sandbox_tier_c_macos_sandbox_exec"
    TIER_C_WINDOWS = "sandbox_tier_c_windows_job_object"
    BUILTIN = "builtin"
    BUILTIN_HTTP = "builtin_http"
    BUILTIN_FS = "builtin_fs"
    EXTERNAL = "external"
    TOOL_INTAKE = "tool_intake"
    SKILL_GATE = "skill_gate"
    POLICY = "policy"
    BUDGET = "budget"
    APPROVAL = "approval"
    SWEEPER = "sweeper"


REFUSING = frozenset(
    {
        AttestedExecutor.TOOL_INTAKE,
        AttestedExecutor.SKILL_GATE,
        AttestedExecutor.POLICY,
        AttestedExecutor.BUDGET,
        AttestedExecutor.APPROVAL,
        AttestedExecutor.SWEEPER,
    }
)


class SandboxEnforcement(StrEnum):
    """What was really enforced, not what was asked for."""

    NONE = "none"
    PREFLIGHT = "preflight"
    STRICT = "strict"
    WASM_CAPABILITIES = "wasm_capabilities"
    REMOTE = "remote"


_STAGES = (
    *([AttestedExecutor.TOOL_INTAKE] * 3),
    AttestedExecutor.SKILL_GATE,
    *([AttestedExecutor.POLICY] * 3),
    AttestedExecutor.BUDGET,
    AttestedExecutor.APPROVAL,
)


def refusing_stage(gate: int) -> AttestedExecutor:
    """Return the stage that an attestation names for a refusal at gate 1 to 9."""
    if not 1 <= gate <= len(_STAGES):
        raise ValueError(f"there is no gate {gate}")
    return _STAGES[gate - 1]


@dataclass(frozen=True, slots=True)
class ToolIdentity:
    """`version` and `definition_hash` are null for a tool that nobody knows."""

    name: str
    version: int | str | None = None
    definition_hash: str | None = None

    def to_json(self) -> dict[str, object]:
        return {"name": self.name, "version": self.version, "definition_hash": self.definition_hash}


@dataclass(frozen=True, slots=True)
class GateResult:
    gate: str
    verdict: str
    code: str


@dataclass(frozen=True, slots=True)
class ApprovalUse:
    """Reviewers are ids only."""

    id: str
    grant: str | None
    scope: str | None
    reviewers: tuple[str, ...]
    quorum: int


@dataclass(frozen=True, slots=True)
class BackendFacts:
    tier: str
    version: str | None
    capabilities: tuple[str, ...]
    enforced: tuple[str, ...]
    not_enforced: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BudgetUse:
    """Amounts are decimal strings."""

    reservation: str
    unit: str
    reserved: str
    settled: str | None


@dataclass(frozen=True, slots=True)
class SecretUse:
    handle: str
    version: int


@dataclass(frozen=True, slots=True)
class SkillIdentity:
    id: str
    version: str
    digest: str


@dataclass(frozen=True, slots=True)
class EgressUse:
    host: str
    port: int
    allowed: bool
    count: int


@dataclass(frozen=True, slots=True)
class JournalledStory:
    """The events that tell of the call up to its end, by id, so that none can be left out afterwards.

    `leaves_sha256` is the hex SHA-256 over their 32-byte leaf hashes in the order of `ids`.
    """

    ids: tuple[str, ...]
    leaves_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionFacts:
    """Everything an attestation says. Both digests are salted with the call's salt by the caller.

    `usage` has the keys cpu_ms, wall_ms, max_rss, output_bytes, fuel as far as they were measured.
    `decision_checkpoint` is size and base64 root of the checkpoint that sealed the decision, with a blank
    between, or null when the call ended before.
    """

    attestation_id: str
    call_id: str
    run_id: str | None
    tool: ToolIdentity
    principal: str
    verdict: str
    reason_code: str
    outcome: str
    executor: AttestedExecutor
    sandbox_enforcement: SandboxEnforcement
    input_digest: str | None
    output_digest: str | None = None
    error_code: str | None = None
    timed_out: bool = False
    exit_code: int | None = None
    started_at: datetime | None = None
    executed_at: datetime | None = None
    gates: tuple[GateResult, ...] = ()
    policy_set_hash: str | None = None
    determining_policies: tuple[str, ...] = ()
    approvals: tuple[ApprovalUse, ...] = ()
    backend: BackendFacts | None = None
    limits: Mapping[str, object] | None = None
    usage: Mapping[str, int] = field(default_factory=dict)
    budget: tuple[BudgetUse, ...] = ()
    secrets_used: tuple[SecretUse, ...] = ()
    skill: SkillIdentity | None = None
    egress: tuple[EgressUse, ...] = ()
    edited_from: str | None = None
    decision_event: str | None = None
    decision_checkpoint: str | None = None
    events: JournalledStory | None = None

    def __post_init__(self) -> None:
        if self.verdict not in {"allow", "deny"}:
            raise ValueError("a verdict is allow or deny")
        if self.executor in REFUSING and (
            self.sandbox_enforcement is not SandboxEnforcement.NONE or self.output_digest is not None
        ):
            raise ValueError("a call that did not run enforced nothing and has no output")


class Signer(Protocol):
    """An Ed25519 key that stays where it is. `sign` returns 64 bytes over exactly the given ones."""

    @property
    def key_id(self) -> str: ...

    def sign(self, data: bytes, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Statement:
    """An in-toto statement as plain JSON."""

    value: Mapping[str, object]

    @property
    def predicate(self) -> Mapping[str, object]:
        predicate = self.value["predicate"]
        assert isinstance(predicate, dict)
        return predicate

    @property
    def execution_sha256(self) -> str:
        return str(self.predicate["execution_sha256"])


def execution_sha256(facts: ExecutionFacts) -> str:
    """Return the hex SHA-256 that names what happened, recomputable from the stored record."""
    return _execution_hash({name: _plain(getattr(facts, name)) for name in _HASHED})


def build(facts: ExecutionFacts) -> Statement:
    """Return the statement; InvalidError when a fact has no canonical JSON form."""
    predicate = {name: _plain(getattr(facts, name)) for name in _FIELDS}
    predicate["usage"] = {name: facts.usage.get(name) for name in _USAGE}
    predicate["execution_sha256"] = execution_sha256(facts)
    subject = {"name": facts.call_id, "digest": {"sha256": predicate["execution_sha256"]}}
    return Statement(
        {
            "_type": STATEMENT_TYPE,
            "subject": [subject],
            "predicateType": PREDICATE_TYPE,
            "predicate": predicate,
        }
    )


def seal(statement: Statement, signer: Signer) -> str:
    """Return the DSSE envelope as canonical JSON text."""
    payload = canonical(dict(statement.value))
    signature = signer.sign(pre_authentication(PAYLOAD_TYPE, payload))
    return canonical(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": signer.key_id, "sig": base64.b64encode(signature).decode()}],
        }
    ).decode()


def verify_envelope(text: str, keys: Mapping[str, bytes]) -> Statement:
    """Return the statement when a known key signed it. `keys` maps key ids to raw Ed25519 public keys.

    Raises InvalidError: `attestation.malformed` (form, or a statement that contradicts itself),
    `attestation.payload_type`, `attestation.key_unknown` (no signature by a known key),
    `attestation.signature_invalid` (none of those by known keys holds).
    """
    payload, kind, signatures = _opened(text)
    if kind != PAYLOAD_TYPE:
        raise InvalidError("attestation.payload_type", "The envelope holds something else.")
    known = [(keys[key_id], signature) for key_id, signature in signatures if key_id in keys]
    if not known:
        raise InvalidError("attestation.key_unknown", "No signature is by a known key.")
    if not any(_holds(key, signature, pre_authentication(kind, payload)) for key, signature in known):
        raise InvalidError("attestation.signature_invalid", "The signature does not hold.")
    return _statement(payload)


_HASHED = (
    "call_id",
    "tool",
    "input_digest",
    "outcome",
    "output_digest",
    "error_code",
    "timed_out",
    "executor",
    "sandbox_enforcement",
    "executed_at",
)
_USAGE = ("cpu_ms", "wall_ms", "max_rss", "output_bytes", "fuel")
_FIELDS = (
    "attestation_id",
    "call_id",
    "run_id",
    "tool",
    "principal",
    "verdict",
    "reason_code",
    "gates",
    "policy_set_hash",
    "determining_policies",
    "approvals",
    "input_digest",
    "output_digest",
    "executor",
    "sandbox_enforcement",
    "backend",
    "limits",
    "timed_out",
    "exit_code",
    "error_code",
    "outcome",
    "started_at",
    "executed_at",
    "budget",
    "secrets_used",
    "skill",
    "egress",
    "edited_from",
    "decision_event",
    "decision_checkpoint",
    "events",
)


def _execution_hash(facts: Mapping[str, object]) -> str:
    return hashlib.sha256(canonical({"v": EXECUTION_FORMAT, **facts})).hexdigest()


def _plain(value: object) -> object:
    """Return a fact as JSON: times exact in UTC, tuples as lists, the dataclasses above as objects."""
    if isinstance(value, datetime):
        return exact_time(value)
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return value


def pre_authentication(kind: str, payload: bytes) -> bytes:
    """Return what DSSE v1 signs for a payload of this type."""
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def _holds(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _opened(text: str) -> tuple[bytes, str, list[tuple[str, bytes]]]:
    try:
        envelope = parse(text.encode())
        if not isinstance(envelope, dict) or set(envelope) != {"payload", "payloadType", "signatures"}:
            raise _malformed()
        signatures = envelope["signatures"]
        if not isinstance(signatures, list) or not 1 <= len(signatures) <= MAX_SIGNATURES:
            raise _malformed()
        return (
            _decoded(envelope["payload"]),
            str(envelope["payloadType"]),
            [_signature(s) for s in signatures],
        )
    except (MalformedError, UnicodeEncodeError) as error:
        raise _malformed() from error


def _signature(entry: object) -> tuple[str, bytes]:
    if not isinstance(entry, dict) or set(entry) != {"keyid", "sig"} or not isinstance(entry["keyid"], str):
        raise _malformed()
    return entry["keyid"], _decoded(entry["sig"])


def _decoded(text: object) -> bytes:
    """Standard base64 and only its one canonical spelling, so that no bit of an envelope is idle."""
    if not isinstance(text, str):
        raise _malformed()
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _malformed() from error
    if base64.b64encode(data).decode() != text:
        raise _malformed()
    return data


def _statement(payload: bytes) -> Statement:
    try:
        value = parse(payload)
        if not isinstance(value, dict) or set(value) != {"_type", "subject", "predicateType", "predicate"}:
            raise _malformed()
        if (value["_type"], value["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPE):
            raise _malformed()
        predicate = value["predicate"]
        expected = _execution_hash({name: predicate[name] for name in _HASHED})
        subject = {"name": predicate["call_id"], "digest": {"sha256": expected}}
        if predicate["execution_sha256"] != expected or value["subject"] != [subject]:
            raise _malformed()
    except (MalformedError, KeyError, TypeError) as error:
        raise _malformed() from error
    return Statement(value)


def _malformed() -> InvalidError:
    return InvalidError("attestation.malformed", "The envelope is not a well-formed attestation.")
