"""The attestation of a call as the pipeline would record it."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from governance.journal.attestations import record_attestation
from governance.journal.models import Attestation
from kernel.ids import new_id
from sandbox.attestation import AttestedExecutor, ExecutionFacts, SandboxEnforcement, ToolIdentity
from tests.governance.journal.writing import AGENT, CALL, NOW

DIGEST = "sha256:" + "a" * 64


def denied(*, run: str | None, call: str = CALL, now: datetime = NOW) -> ExecutionFacts:
    """Return what there is to say about a call that policy denied."""
    return ExecutionFacts(
        attestation_id=new_id("att", now),
        call_id=call,
        run_id=run,
        tool=ToolIdentity("fs.write", 1, DIGEST),
        principal=AGENT.id,
        verdict="deny",
        reason_code="policy.no_permit",
        outcome="denied",
        executor=AttestedExecutor.POLICY,
        sandbox_enforcement=SandboxEnforcement.NONE,
        input_digest=DIGEST,
        executed_at=now,
    )


def attest(*, run: str | None, call: str = CALL, now: datetime = NOW) -> Attestation:
    """Record the attestation of a denied call in a transaction of its own."""
    with transaction.atomic():
        return record_attestation(
            facts=denied(run=run, call=call, now=now), execution_id=None, actor=AGENT, now=now
        )
