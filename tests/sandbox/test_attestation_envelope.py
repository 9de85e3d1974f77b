"""Attestations: the predicate's shape, the digest of what happened, sealing and its verification."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings, strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]  # untyped package

from kernel.errors import InvalidError
from sandbox.attestation import (
    PAYLOAD_TYPE,
    PREDICATE_TYPE,
    REFUSING,
    STATEMENT_TYPE,
    ApprovalUse,
    AttestedExecutor,
    BackendFacts,
    BudgetUse,
    EgressUse,
    ExecutionFacts,
    GateResult,
    SandboxEnforcement,
    SecretUse,
    SkillIdentity,
    ToolIdentity,
    build,
    execution_sha256,
    refusing_stage,
    seal,
    verify_envelope,
)
from sandbox.types import Executor


@dataclass(frozen=True)
class Key:
    """A key held in memory, as the vault would lend it."""

    private: Ed25519PrivateKey
    key_id: str

    @property
    def public(self) -> bytes:
        return self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def sign(self, data: bytes, /) -> bytes:
        return self.private.sign(data)


KEY = Key(Ed25519PrivateKey.from_private_bytes(bytes(range(32))), "att-1")
OTHER = Key(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))), "att-2")
KEYS = {KEY.key_id: KEY.public}
DIGEST = "sha256:" + "a" * 64
AT = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)

RAN = ExecutionFacts(
    attestation_id="att_1",
    call_id="call_1",
    run_id="run_1",
    tool=ToolIdentity("local.echo", 1, DIGEST),
    principal="agt_1",
    verdict="allow",
    reason_code="policy.permit",
    outcome="succeeded",
    executor=AttestedExecutor.TIER_A,
    sandbox_enforcement=SandboxEnforcement.WASM_CAPABILITIES,
    input_digest=DIGEST,
    output_digest=DIGEST,
    exit_code=0,
    started_at=AT,
    executed_at=AT + timedelta(seconds=1),
    gates=(GateResult("authenticate", "pass", "ok"),),
    policy_set_hash=DIGEST,
    determining_policies=("allow_allowlisted_skill_execute",),
    approvals=(ApprovalUse("apr_1", "grt_1", "once", ("usr_1",), 1),),
    backend=BackendFacts("A", "50.0.1", ("fuel",), ("userns",), ()),
    limits={"fuel": 10_000_000},
    usage={"fuel": 3_061, "wall_ms": 110},
    budget=(BudgetUse("rsv_1", "calls", "1", "1"),),
    secrets_used=(SecretUse("sec_1", 2),),
    skill=SkillIdentity("local.echo", "1.0.0", DIGEST),
    egress=(EgressUse("api.example.com", 443, True, 1),),
)
DENIED = ExecutionFacts(
    attestation_id="att_2",
    call_id="call_2",
    run_id="run_1",
    tool=ToolIdentity("nope"),
    principal="agt_1",
    verdict="deny",
    reason_code="tool.unknown",
    outcome="denied",
    executor=AttestedExecutor.TOOL_INTAKE,
    sandbox_enforcement=SandboxEnforcement.NONE,
    input_digest=DIGEST,
)
PREDICATE = set(
    """attestation_id call_id run_id tool principal verdict reason_code gates policy_set_hash
    determining_policies approvals input_digest output_digest execution_sha256 executor sandbox_enforcement
    backend limits usage timed_out exit_code outcome started_at executed_at budget secrets_used skill egress
    edited_from decision_event decision_checkpoint error_code events""".split()  # noqa: SIM905  # a list of 33
)


def code_of(text: str, keys: dict[str, bytes] | None = None) -> str:
    with pytest.raises(InvalidError) as caught:
        verify_envelope(text, KEYS if keys is None else keys)
    return caught.value.code


@pytest.mark.parametrize("facts", [RAN, DENIED])
def test_every_predicate_has_every_field_and_absent_is_null(facts: ExecutionFacts) -> None:
    statement = build(facts)
    assert set(statement.predicate) == PREDICATE
    usage = statement.predicate["usage"]
    assert isinstance(usage, dict)
    assert set(usage) == {"cpu_ms", "wall_ms", "max_rss", "output_bytes", "fuel"}
    assert statement.value["_type"] == STATEMENT_TYPE
    assert statement.value["predicateType"] == PREDICATE_TYPE
    assert statement.value["subject"] == [
        {"name": facts.call_id, "digest": {"sha256": execution_sha256(facts)}}
    ]


def test_denied_call_names_the_stage_and_nothing_that_did_not_happen() -> None:
    predicate = build(DENIED).predicate
    assert (predicate["executor"], predicate["sandbox_enforcement"]) == ("tool_intake", "none")
    for name in ("output_digest", "backend", "limits", "exit_code", "started_at", "executed_at", "skill"):
        assert predicate[name] is None


def test_execution_digest_is_the_documented_one() -> None:
    documented = {
        "v": "palyra.execution.v1",
        "call_id": "call_1",
        "tool": {"name": "local.echo", "version": 1, "definition_hash": DIGEST},
        "input_digest": DIGEST,
        "outcome": "succeeded",
        "output_digest": DIGEST,
        "error_code": None,
        "timed_out": False,
        "executor": "sandbox_tier_a",
        "sandbox_enforcement": "wasm_capabilities",
        "executed_at": "2026-03-01T12:00:01.123456Z",
    }
    text = rfc8785.dumps(documented)  # type: ignore[arg-type]  # plain JSON
    assert execution_sha256(RAN) == hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize(
    "changes",
    [
        {"call_id": "call_9"},
        {"tool": ToolIdentity("local.echo", 2, DIGEST)},
        {"input_digest": None},
        {"outcome": "failed"},
        {"output_digest": None},
        {"error_code": "skill.trapped"},
        {"timed_out": True},
        {"executor": AttestedExecutor.BUILTIN},
        {"sandbox_enforcement": SandboxEnforcement.STRICT},
        {"executed_at": AT},
    ],
)
def test_execution_digest_covers_each_of_its_facts(changes: dict[str, object]) -> None:
    changed = replace(RAN, **changes)  # type: ignore[arg-type]  # one field at a time
    assert execution_sha256(changed) != execution_sha256(RAN)


def test_same_instant_in_another_zone_is_the_same_fact() -> None:
    assert RAN.executed_at is not None
    elsewhere = RAN.executed_at.astimezone(timezone(timedelta(hours=5)))
    assert execution_sha256(replace(RAN, executed_at=elsewhere)) == execution_sha256(RAN)


def test_every_runner_of_this_machine_can_be_attested() -> None:
    assert {executor.value for executor in Executor} <= {executor.value for executor in AttestedExecutor}


def test_gates_name_their_stage() -> None:
    stages = [refusing_stage(gate) for gate in range(1, 10)]
    assert [str(stage) for stage in stages] == (
        ["tool_intake"] * 3 + ["skill_gate"] + ["policy"] * 3 + ["budget", "approval"]
    )
    assert set(stages) | {AttestedExecutor.SWEEPER} == REFUSING
    for gate in (0, 10, -1):
        with pytest.raises(ValueError, match="no gate"):
            refusing_stage(gate)


@pytest.mark.parametrize(
    "changes",
    [
        {"sandbox_enforcement": SandboxEnforcement.STRICT},
        {"output_digest": DIGEST},
        {"verdict": "maybe"},
    ],
)
def test_contradicting_facts_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="a "):
        replace(DENIED, **changes)  # type: ignore[arg-type]  # one field at a time


def test_fact_without_a_canonical_form_is_refused() -> None:
    with pytest.raises(InvalidError):
        seal(build(replace(RAN, usage={"fuel": 2**60})), KEY)


def test_sealed_statement_comes_back() -> None:
    statement = build(RAN)
    assert verify_envelope(seal(statement, KEY), KEYS) == statement


def test_independent_verifier_accepts_the_envelope_and_only_with_the_right_key() -> None:
    text = seal(build(RAN), KEY)
    envelope = Envelope.from_dict(json.loads(text))
    right = SSlibKey(KEY.key_id, "ed25519", "ed25519", {"public": KEY.public.hex()})
    wrong = SSlibKey(KEY.key_id, "ed25519", "ed25519", {"public": OTHER.public.hex()})
    assert set(envelope.verify([right], 1)) == {KEY.key_id}
    assert json.loads(envelope.payload)["predicate"]["call_id"] == "call_1"
    with pytest.raises(VerificationError):
        Envelope.from_dict(json.loads(text)).verify([wrong], 1)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_flipped_bit_fails(data: st.DataObject) -> None:
    text = bytearray(seal(build(RAN), KEY).encode())
    index = data.draw(st.integers(0, len(text) - 1))
    text[index] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(InvalidError):
        verify_envelope(text.decode("utf-8", "surrogateescape"), KEYS)


@settings(max_examples=100, deadline=None)
@given(
    st.text(max_size=200) | st.recursive(st.none() | st.integers(), st.lists, max_leaves=5).map(json.dumps)
)
def test_arbitrary_text_is_malformed(text: str) -> None:
    assert code_of(text) == "attestation.malformed"


def changed(change: Callable[[dict[str, object]], object]) -> str:
    envelope: dict[str, object] = json.loads(seal(build(RAN), KEY))
    change(envelope)
    return json.dumps(envelope)


def signed(payload: bytes, kind: str = PAYLOAD_TYPE) -> str:
    name = kind.encode()
    signature = KEY.sign(b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload))
    return json.dumps(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": kind,
            "signatures": [{"keyid": KEY.key_id, "sig": base64.b64encode(signature).decode()}],
        }
    )


def test_unknown_key_wrong_key_and_wrong_type_have_their_codes() -> None:
    text = seal(build(RAN), KEY)
    assert code_of(text, {}) == "attestation.key_unknown"
    assert code_of(text, {OTHER.key_id: OTHER.public}) == "attestation.key_unknown"
    assert code_of(text, {KEY.key_id: OTHER.public}) == "attestation.signature_invalid"
    assert code_of(text, {KEY.key_id: b"short"}) == "attestation.signature_invalid"
    assert code_of(signed(b"{}", "text/plain")) == "attestation.payload_type"


def test_altered_payload_fails() -> None:
    other = json.loads(seal(build(DENIED), KEY))["payload"]
    assert code_of(changed(lambda e: e.update(payload=other))) == "attestation.signature_invalid"


def test_one_good_signature_is_enough_and_none_is_not() -> None:
    good = json.loads(seal(build(RAN), KEY))["signatures"][0]
    foreign = json.loads(seal(build(RAN), OTHER))["signatures"][0]
    forged = {"keyid": KEY.key_id, "sig": foreign["sig"]}
    assert verify_envelope(changed(lambda e: e.update(signatures=[foreign, good])), KEYS) == build(RAN)
    assert (
        code_of(changed(lambda e: e.update(signatures=[forged, forged]))) == "attestation.signature_invalid"
    )
    assert code_of(changed(lambda e: e.update(signatures=[foreign]))) == "attestation.key_unknown"


@pytest.mark.parametrize(
    "change",
    [
        lambda e: e.update(signatures=[]),
        lambda e: e.update(signatures=e["signatures"] * 9),
        lambda e: e.update(signatures={}),
        lambda e: e.update(signatures=["x"]),
        lambda e: e.update(signatures=[{"keyid": 1, "sig": ""}]),
        lambda e: e.update(payload=None),
        lambda e: e.update(payload=e["payload"] + "\n"),
        lambda e: e.update(more=1),
        lambda e: e.pop("payload"),
    ],
)
def test_envelope_of_another_form_is_malformed(change: Callable[[dict[str, object]], object]) -> None:
    assert code_of(changed(change)) == "attestation.malformed"


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"),
        lambda s: s.update(predicateType="https://slsa.dev/provenance/v1"),
        lambda s: s.update(subject=[]),
        lambda s: s["subject"][0].update(name="call_other"),
        lambda s: s["predicate"].update(outcome="failed"),
        lambda s: s["predicate"].update(execution_sha256="0" * 64),
        lambda s: s["predicate"].pop("executor"),
        lambda s: s.update(predicate=[]),
    ],
)
def test_well_signed_statement_that_contradicts_itself_is_malformed(
    change: Callable[[dict[str, object]], object],
) -> None:
    statement = json.loads(rfc8785.dumps(dict(build(RAN).value)))  # type: ignore[arg-type]  # plain JSON
    change(statement)
    assert code_of(signed(json.dumps(statement).encode())) == "attestation.malformed"


@pytest.mark.parametrize("payload", [b"", b"[]", b'{"a":1,"a":2}', b"\xff"])
def test_well_signed_payload_that_is_no_statement_is_malformed(payload: bytes) -> None:
    assert code_of(signed(payload)) == "attestation.malformed"
