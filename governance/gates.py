"""The nine gates of a proposed call, in order. A gate that raises or cannot read its data denies."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from time import perf_counter
from typing import Generic, TypeVar

from django.db import transaction

log = logging.getLogger(__name__)

Value = TypeVar("Value")


class Gate(StrEnum):
    AUTHENTICATE = "authenticate"
    RUN = "run"
    SCHEMA = "schema"
    SKILL = "skill"
    POSTURE = "posture"
    BACKEND = "backend"
    POLICY = "policy"
    BUDGET = "budget"
    APPROVAL = "approval"


class Verdict(StrEnum):
    PASS = "pass"
    ASK = "ask"
    DENY = "deny"
    SKIPPED = "skipped"


ON_ERROR: dict[Gate, str] = {
    Gate.AUTHENTICATE: "identity.principal_not_live",
    Gate.RUN: "run.unavailable",
    Gate.SCHEMA: "schema.unavailable",
    Gate.SKILL: "skill.gate_failed",
    Gate.POSTURE: "posture.unavailable",
    Gate.BACKEND: "sandbox.backend_unavailable",
    Gate.POLICY: "policy.evaluation_failed",
    Gate.BUDGET: "budget.unavailable",
    Gate.APPROVAL: "approval.error",
}
"""The reason of a gate whose own code failed: the call is denied, never waved through."""


@dataclass(frozen=True, slots=True)
class Finding(Generic[Value]):
    """What one gate says. `value` is what later gates need and is None exactly when it denies.

    `retry_after` are seconds after which the same call may pass, where the gate knows.
    """

    verdict: Verdict
    code: str
    reason: str
    value: Value | None
    remediation: str | None = None
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class GateRow:
    """One line of the record: which gate, what it said and how long it took."""

    gate: Gate
    verdict: Verdict
    reason_code: str
    reason: str
    remediation: str | None
    duration_ms: float
    retry_after: int | None = None

    def as_json(self) -> dict[str, object]:
        return {
            "gate": self.gate.value,
            "verdict": self.verdict.value,
            "reason_code": self.reason_code,
            "reason": self.reason,
            "remediation": self.remediation,
            "duration_ms": self.duration_ms,
        }


class GateDenied(Exception):  # noqa: N818  # an answer, not a fault
    """Leaves the walk at the first gate that denies."""

    def __init__(self, row: GateRow) -> None:
        self.row = row
        super().__init__(row.reason_code)


def passed(value: Value, code: str, reason: str = "") -> Finding[Value]:
    """The gate has nothing against the call."""
    return Finding(Verdict.PASS, code, reason, value)


def asks(value: Value, code: str, reason: str) -> Finding[Value]:
    """The gate lets the call go on only with a person's answer."""
    return Finding(Verdict.ASK, code, reason, value)


def denied(
    code: str, reason: str, remediation: str | None = None, *, retry_after: int | None = None
) -> Finding[Value]:
    """The gate stops the call."""
    return Finding(Verdict.DENY, code, reason, None, remediation, retry_after)


def guarded(gate: Gate, check: Callable[[], Finding[Value]]) -> Finding[Value]:
    """Return what a gate says; one whose own code fails denies with the gate's code."""
    try:
        return check()
    except Exception:
        log.exception("gate %s failed", gate.value)
        return denied(ON_ERROR[gate], "The gate could not be evaluated, so the call is denied.")


def _in_savepoint(check: Callable[[], Finding[Value]]) -> Finding[Value]:
    with transaction.atomic():
        return check()


@dataclass(slots=True)
class GateLog:
    """Runs gates one after the other and keeps a row of each."""

    now: datetime
    rows: list[GateRow] = field(default_factory=list)

    def take(self, gate: Gate, check: Callable[[], Finding[Value]]) -> Value:
        """Run one gate in a savepoint; return its value, or raise GateDenied with its row."""
        started = perf_counter()
        finding = guarded(gate, lambda: _in_savepoint(check))
        duration = round((perf_counter() - started) * 1000, 3)
        row = GateRow(
            gate,
            finding.verdict,
            finding.code,
            finding.reason,
            finding.remediation,
            duration,
            finding.retry_after,
        )
        self.rows.append(row)
        if finding.verdict is Verdict.DENY or finding.value is None:
            raise GateDenied(row)
        return finding.value

    def complete(self) -> list[dict[str, object]]:
        """Return nine rows: those that ran, and `skipped` for those behind a denial."""
        seen = {row.gate for row in self.rows}
        skipped = [
            GateRow(gate, Verdict.SKIPPED, "gate.skipped", "", None, 0.0) for gate in Gate if gate not in seen
        ]
        return [row.as_json() for row in (*self.rows, *skipped)]
