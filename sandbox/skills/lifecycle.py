"""States of a skill version and what each one means to the gate (skills part, §3.6 and §3.10)."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType


class SkillStatus(StrEnum):
    STAGED = "staged"
    ACTIVE = "active"
    DISABLED = "disabled"
    QUARANTINED = "quarantined"
    RECALLED = "recalled"


ALLOWED: MappingProxyType[str, frozenset[str]] = MappingProxyType(
    {
        SkillStatus.STAGED: frozenset({SkillStatus.ACTIVE, SkillStatus.QUARANTINED, SkillStatus.RECALLED}),
        SkillStatus.ACTIVE: frozenset({SkillStatus.DISABLED, SkillStatus.QUARANTINED, SkillStatus.RECALLED}),
        SkillStatus.DISABLED: frozenset({SkillStatus.ACTIVE, SkillStatus.QUARANTINED, SkillStatus.RECALLED}),
        SkillStatus.QUARANTINED: frozenset({SkillStatus.ACTIVE, SkillStatus.RECALLED}),
    }
)
"""`transition` table over `status`. Recalled is final."""

QUARANTINE_CODES = frozenset(
    {
        "audit_failed",
        "integrity_mismatch",
        "not_allowlisted",
        "publisher_untrusted",
        "key_revoked",
        "artifact_missing",
        "runtime_violation",
        "operator",
        "override_expired",
        "definition_drift",
    }
)


class GateCode(StrEnum):
    """Every answer of gate 4, in the order in which they are tried."""

    NOT_APPLICABLE = "skill.not_applicable"
    UNKNOWN = "skill.unknown"
    VERSION_UNKNOWN = "skill.version_unknown"
    RECALLED = "skill.recalled"
    QUARANTINED = "skill.quarantined"
    DISABLED = "skill.disabled"
    STAGED = "skill.staged"
    PUBLISHER_REVOKED = "skill.publisher_revoked"
    CHANGED = "skill.changed"
    TOOL_UNKNOWN = "skill.tool_unknown"
    INPUT_INVALID = "skill.input_invalid"
    CAPABILITY_UNBOUND = "skill.capability_unbound"
    OK = "skill.ok"
    GATE_FAILED = "skill.gate_failed"


_REFUSALS: MappingProxyType[str, GateCode] = MappingProxyType(
    {
        SkillStatus.RECALLED: GateCode.RECALLED,
        SkillStatus.QUARANTINED: GateCode.QUARANTINED,
        SkillStatus.DISABLED: GateCode.DISABLED,
        SkillStatus.STAGED: GateCode.STAGED,
    }
)


def refusal_of(status: str) -> GateCode | None:
    """Return why a version in this status may not run, or None for an active one.

    An unknown status is answered like a failed gate.
    """
    if status == SkillStatus.ACTIVE:
        return None
    return _REFUSALS.get(status, GateCode.GATE_FAILED)
