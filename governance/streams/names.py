"""RunStream: the eight names under which a run tells its story, and which event of the journal is which.

Whatever else the journal holds of a run comes as `journal`, so that a reader misses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class StreamName(StrEnum):
    TOOL_PROPOSAL = "tool_proposal"
    TOOL_DECISION = "tool_decision"
    APPROVAL_REQUEST = "approval_request"
    APPROVAL_RESOLVED = "approval_resolved"
    TOOL_EXECUTING = "tool_executing"
    TOOL_RESULT = "tool_result"
    TOOL_ATTESTATION = "tool_attestation"
    RUN_STATUS = "run_status"
    JOURNAL = "journal"


_RESOLVED = ("decided", "expired", "cancelled", "failed")
_RESULTS = ("finished", "refused", "cancelled", "lost")
_NAMES: Mapping[str, StreamName] = {
    "tool_call.proposed": StreamName.TOOL_PROPOSAL,
    "tool_call.decided": StreamName.TOOL_DECISION,
    "tool_call.closed": StreamName.TOOL_RESULT,
    "approval.requested": StreamName.APPROVAL_REQUEST,
    "approval.attached": StreamName.APPROVAL_REQUEST,
    **{f"approval.{verb}": StreamName.APPROVAL_RESOLVED for verb in _RESOLVED},
    "execution.started": StreamName.TOOL_EXECUTING,
    **{f"execution.{verb}": StreamName.TOOL_RESULT for verb in _RESULTS},
    "attestation.recorded": StreamName.TOOL_ATTESTATION,
}
_STATUS_FAMILIES = frozenset({"run", "freeze"})

APPROVAL_TYPES = tuple(name for name in _NAMES if name.startswith("approval."))
"""Events of the journal that tell how a question stands."""


def stream_name(event_type: str) -> StreamName:
    """Return the name under which an event of the journal appears in its run's stream."""
    if event_type.partition(".")[0] in _STATUS_FAMILIES:
        return StreamName.RUN_STATUS
    return _NAMES.get(event_type, StreamName.JOURNAL)
