"""What of an event each reader of a stream is shown.

People see what the journal holds, but the input of a call only with `journal.reveal`. Who acts in the run
sees a fixed list of fields, and other people as the part they had. What is on no list is not shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ERASED = "_erased"
_HIDDEN_INPUT = "tool_call.proposed"
_ACTS = ("approval.", "run.", "tool_call.resolved")
"""Events that say in `by` who did it."""
_TOLD: Mapping[str, frozenset[str]] = {
    "run.opened": frozenset({"principal", "max_calls", "origin"}),
    "run.closed": frozenset({"state", "close_code", "reason"}),
    "run.frozen": frozenset({"scope", "refused", "stopping"}),
    "run.unfrozen": frozenset({"scope"}),
    "tool_call.proposed": frozenset({"tool", "input", "input_bytes"}),
    "tool_call.decided": frozenset(
        {"effect", "reason_code", "final", "gates", "policy_set", "determining_policies", "approval"}
    ),
    "tool_call.closed": frozenset({"state", "reason_code"}),
    "tool_call.resolved": frozenset({"outcome", "note"}),
    "approval.requested": frozenset(
        {"subject_type", "subject_label", "action_digest", "risk", "quorum", "expires_at"}
    ),
    "approval.attached": frozenset({"version"}),
    "approval.reviewed": frozenset({"verdict"}),
    "approval.decided": frozenset({"decision", "close_code"}),
    "approval.expired": frozenset({"close_code"}),
    "approval.cancelled": frozenset({"close_code"}),
    "approval.failed": frozenset({"close_code"}),
    "execution.queued": frozenset({"tier", "executor"}),
    "execution.started": frozenset({"tier", "executor"}),
    "execution.finished": frozenset(
        {"state", "error_kind", "error_code", "exit_code", "signal", "output_digest"}
    ),
    "execution.cancelled": frozenset({"reason"}),
    "execution.refused": frozenset({"error_kind", "code"}),
    "attestation.recorded": frozenset(
        {"execution_sha256", "envelope_sha256", "executor", "sandbox_enforcement", "outcome"}
    ),
    "reservation.held": frozenset({"metric", "amount"}),
    "reservation.settled": frozenset({"metric", "amount"}),
    "reservation.released": frozenset({"metric", "amount"}),
}


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads: a person, or the agent, device or service that acts. `reveals`: may see inputs."""

    id: str
    is_person: bool
    reveals: bool


@dataclass(frozen=True, slots=True)
class Party:
    """Whose run it is; both are empty for an event of no run."""

    principal_id: str
    owner_id: str


def shown(
    event_type: str, data: Mapping[str, object], *, actor: str, party: Party, reader: Reader
) -> dict[str, object]:
    """Return the fields of an event that `reader` may see; an erased one stays the note that it was."""
    if data.get(ERASED) is True:
        return dict(data)
    found = _for_person(event_type, data, party, reader) if reader.is_person else _told(event_type, data)
    if event_type.startswith(_ACTS):
        found["by"] = actor if reader.is_person else _part_of(actor, party, reader)
    return found


def _for_person(
    event_type: str, data: Mapping[str, object], party: Party, reader: Reader
) -> dict[str, object]:
    if event_type == _HIDDEN_INPUT and not (reader.reveals or reader.id == party.principal_id):
        return {**data, "input": None}
    return dict(data)


def _told(event_type: str, data: Mapping[str, object]) -> dict[str, object]:
    known = _TOLD.get(event_type, frozenset())
    return {name: value for name, value in data.items() if name in known}


def _part_of(actor: str, party: Party, reader: Reader) -> str:
    """Say who acted without naming a person."""
    if actor == reader.id:
        return actor
    if actor == party.owner_id:
        return "owner"
    return "approver" if actor.startswith("usr_") else "system"
