"""One call as steps in time, from proposal to attestation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from approvals.models import Review
from governance.admin.words import look
from governance.journal.models import Attestation, JournalCheckpoint, JournalEvent, JournalLeaf
from governance.selectors import CallView
from sandbox.models import Execution


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the timeline. `kind` picks the details that the template puts below."""

    kind: str
    tone: str
    icon: str
    title: str
    text: str
    moment: datetime | None


def steps_of(view: CallView, reviews: Sequence[Review], names: Mapping[str, str]) -> list[Step]:
    """Return the steps that happened, in order; what did not happen has no step."""
    call = view.call
    who = names.get(call.principal_id, call.principal_id)
    steps = [Step("proposed", "info", "agent", "Proposed", f"by {who}", call.created_at), _decision(view)]
    if view.approval is not None:
        steps.append(_asked(view))
        steps.extend(_answered(row, names) for row in reviews)
    if view.execution is not None:
        steps.append(_execution(view.execution))
    if view.attestation is not None:
        signed = view.attestation
        text = f"{signed.executor}, enforcement {signed.sandbox_enforcement}"
        steps.append(Step("attested", "ok", "seal", "Attested", text, signed.executed_at))
        steps.append(_sealed(signed))
    return steps


def _sealed(signed: Attestation) -> Step:
    """The last step: its statement has a number in the log, under a signed checkpoint."""
    events = JournalEvent.objects.filter(subject=signed.pk, type="attestation.recorded").values("pk")
    leaf = JournalLeaf.objects.filter(event_id__in=events).first()
    if leaf is None:
        return Step("sealed", "hold", "clock", "Not sealed yet", "the next checkpoint covers it", None)
    checkpoint = JournalCheckpoint.objects.filter(pk=leaf.checkpoint).first()
    said = f"as number {leaf.seq} of the journal, under checkpoint {leaf.checkpoint}"
    return Step("sealed", "ok", "journal", "Sealed", said, checkpoint.sealed_at if checkpoint else None)


def _decision(view: CallView) -> Step:
    call = view.call
    denying = next((row for row in call.gates if row["verdict"] == "deny"), None)
    asking = any(row["verdict"] == "ask" for row in call.gates)
    state = "deny" if denying else "ask" if asking else "allow"
    word = {"deny": "Denied by a gate", "ask": "Allowed only with approval", "allow": "Allowed"}[state]
    shape = look(state)
    return Step("gates", shape.tone, shape.icon, word, "", call.decided_at)


def _asked(view: CallView) -> Step:
    request = view.approval
    assert request is not None
    shape = look(request.status)
    title = "Waiting for a person" if request.status == "pending" else f"Approval {shape.word.lower()}"
    return Step("approval", shape.tone, shape.icon, title, "", request.resolved_at or request.requested_at)


def _answered(row: Review, names: Mapping[str, str]) -> Step:
    shape = look(row.verdict)
    who = names.get(row.reviewer_id, row.reviewer_id)
    alone = ", alone by the sole-operator rule" if row.single_operator else ""
    said = f"{shape.word} by {who} on the {row.surface}{alone}"
    return Step("review", shape.tone, shape.icon, said, row.comment, row.created_at)


def _execution(execution: Execution) -> Step:
    shape = look(execution.state)
    moment = execution.finished_at or execution.started_at or execution.queued_at
    return Step("execution", shape.tone, shape.icon, f"Execution {shape.word.lower()}", "", moment)
