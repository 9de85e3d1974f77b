"""The checklist of a young installation; every mark is computed from data."""

from __future__ import annotations

from dataclasses import dataclass

from governance.admin.access import Visit
from governance.models import ToolCall
from identity.models import Agent
from identity.roles import Permission
from identity.selectors import holders
from policy.selectors import has_active_set
from sandbox.models import Execution
from sandbox.selectors import worker_seen


@dataclass(frozen=True, slots=True)
class Todo:
    done: bool
    title: str
    text: str


def checklist(visit: Visit) -> tuple[Todo, ...]:
    """Return the steps while one of the first four is open, and nothing afterwards."""
    called = ToolCall.objects.exists() and Execution.objects.exists()
    steps = (
        Todo(has_active_set(), "A policy set is active", "Without one every call is denied."),
        Todo(worker_seen(visit.now), "A worker is running", "It executes what was decided."),
        Todo(Agent.objects.exists(), "An agent is registered", "It proposes calls with a bearer token."),
        Todo(called, "A first call went through", "Propose one with the curl that the start printed."),
    )
    second = Todo(
        len(holders(Permission.APPROVALS_DECIDE, visit.now)) > 1,
        "A second person may decide",
        "Until then one person decides alone, and the record says so.",
    )
    return () if all(step.done for step in steps) else (*steps, second)
