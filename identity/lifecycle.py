"""The states agents and sign-ins through a provider move through."""

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


class OidcState(StrEnum):
    """`proved`: the provider named a known person, who has yet to confirm it here with a code."""

    PENDING = "pending"
    EXCHANGING = "exchanging"
    PROVED = "proved"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


OIDC_ALLOWED: dict[str, frozenset[str]] = {
    OidcState.PENDING: frozenset({OidcState.EXCHANGING, OidcState.FAILED}),
    OidcState.EXCHANGING: frozenset({OidcState.PROVED, OidcState.FAILED}),
    OidcState.PROVED: frozenset({OidcState.SUCCEEDED, OidcState.FAILED}),
    OidcState.SUCCEEDED: frozenset(),
    OidcState.FAILED: frozenset(),
}
