"""What a session has read, kept on the path of its calls.

A call adds its labels in the transaction that lets it run, before anything of it has run; again at the
claim and at its end, since a person may have declassified meanwhile. Its answer is marked in the
transaction that stores it, so that nobody can read it before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from governance.models import Run, ToolCall
from kernel.ids import is_id
from kernel.record import Actor, Record
from policy import selectors as policy_selectors
from policy.flows import MAX_OWN_LABELS, PRIVATE, UNTRUSTED, Flow, flow_of, own_labels
from policy.labels import Holder, add_labels, hold, labels_beside
from policy.mark_store import add_marks, tainted_by
from policy.types import ToolFacts
from sandbox.spec import SandboxSpec
from sandbox.types import Tier

_MARKED = {UNTRUSTED: "untrusted", PRIVATE: "private"}
"""Labels whose results are marked, and as what."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the rules are told about one call: its session's labels, its own flow, its tainted arguments."""

    labels: frozenset[str]
    flow: Flow
    tainted: frozenset[str]

    @property
    def overflows(self) -> bool:
        """Tell whether the session would take on more labels of administrators than it may have."""
        return len(own_labels(self.labels | self.flow.adds_labels)) > MAX_OWN_LABELS


def holder_of(run: Run) -> Holder:
    """Return whose labels a run's calls read and add to: its session's, else its principal's own."""
    return Holder(run.session_id or own_holder(run.principal_id, run.workspace_id), run.workspace_id)


def own_holder(principal_id: str, workspace_id: str) -> str:
    """Return the holder of a principal's runs without a session. A person has one in each workspace."""
    return principal_id if is_id("agt", principal_id) else f"{principal_id}.{workspace_id}"


def read(
    *,
    run: Run,
    call_id: str,
    tool: ToolFacts | None,
    tool_input: Mapping[str, object],
    spec: SandboxSpec | None,
    now: datetime,
) -> Reading:
    """Return what counts for this call, and keep other calls of the session from being decided meanwhile.

    `tool` is None for a skill. What only the call `call_id` itself has added does not count for it.
    """
    hold(holder_of(run), now)
    return look(run=run, call_id=call_id, tool=tool, tool_input=tool_input, spec=spec, now=now)


def look(
    *,
    run: Run,
    call_id: str,
    tool: ToolFacts | None,
    tool_input: Mapping[str, object],
    spec: SandboxSpec | None,
    now: datetime,
) -> Reading:
    """Return what counts for this call now; unlike `read` it writes nothing and keeps nobody waiting."""
    holder = holder_of(run)
    return Reading(
        labels=labels_beside(holder.id, call_id, now),
        flow=flow_of(tool, tool_input, egress=reaches_out(spec)),
        tainted=tainted_by(holder=holder, tool_input=tool_input, now=now),
    )


def add_labels_of(
    call: ToolCall, tool: ToolFacts | None, *, actor: Actor, now: datetime, record: Record
) -> Flow:
    """Give the session what this call brings in, and return its flow; `tool` is None for a skill."""
    spec = SandboxSpec.from_json(call.spec) if call.spec else None
    flow = flow_of(tool, call.input, egress=reaches_out(spec))
    add_labels(
        holder=holder_of(call.run),
        labels=flow.adds_labels,
        call_id=call.id,
        run_id=call.run_id,
        actor=actor,
        now=now,
        record=record,
    )
    return flow


def tool_of(call: ToolCall) -> ToolFacts | None:
    """Return the tool of a stored call as it is now, None for a skill or a tool that is gone.

    A call whose tool has changed is refused at its claim, so what it would have added does not matter.
    """
    return None if call.operation == "skill.execute" else policy_selectors.tool_named(call.tool_name)


def mark_task(run: Run, text: str, now: datetime, *, by_person: bool) -> None:
    """Mark the values of a run's task. The text itself is not kept.

    What a session has read in untrusted content becomes part of its task by a person's word only: an agent
    that was talked into something could otherwise put it into the task of a next run.
    """
    unless = None if by_person else "untrusted"
    add_marks(holder=holder_of(run), data=text, origin="task", now=now, unless=unless)


def mark_result(
    call: ToolCall, tool: ToolFacts | None, *, actor: Actor, now: datetime, record: Record
) -> None:
    """Mark what a call answers with, as untrusted or private as the labels say that it adds."""
    flow = add_labels_of(call, tool, actor=actor, now=now, record=record)
    answered = [part for part in (call.result, call.error) if part]
    for label, origin in _MARKED.items():
        if label in flow.adds_labels and answered:
            add_marks(holder=holder_of(call.run), data=answered, origin=origin, now=now)


def reaches_out(spec: SandboxSpec | None) -> bool:
    """Tell whether a place lets its process reach the network, or cannot keep it from that."""
    if spec is None:
        return False
    return bool(spec.egress_hosts) or spec.egress_mode != "strict" or spec.tier is Tier.B
