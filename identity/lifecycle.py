"""The states an agent moves through."""

from __future__ import annotations

from enum import StrEnum


class AgentState(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"
    ARCHIVED = "archived"


AGENT_ALLOWED: dict[str, frozenset[str]] = {
    AgentState.ACTIVE: frozenset({AgentState.SUSPENDED, AgentState.ARCHIVED}),
    AgentState.SUSPENDED: frozenset({AgentState.ACTIVE, AgentState.ARCHIVED}),
    AgentState.ARCHIVED: frozenset(),
}
