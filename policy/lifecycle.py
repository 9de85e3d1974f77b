"""States of a policy set and their table."""

from __future__ import annotations

from enum import StrEnum


class SetState(StrEnum):
    DRAFT = "draft"
    VALIDATED = "validated"
    ACTIVE = "active"
    SUPERSEDED = "superseded"
    DISCARDED = "discarded"


ALLOWED: dict[str, frozenset[str]] = {
    SetState.DRAFT: frozenset({SetState.VALIDATED, SetState.DISCARDED}),
    SetState.VALIDATED: frozenset({SetState.ACTIVE}),
    SetState.ACTIVE: frozenset({SetState.SUPERSEDED}),
}
