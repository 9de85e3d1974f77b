"""Plain values of tools: what one is, what a person registers, and what its schema said of an input."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kernel.errors import Detail


class SensitiveKind(StrEnum):
    TOOL = "tool"
    ACTION = "action"
    CAPABILITY = "capability"


class Parallelism(StrEnum):
    """Whether calls of one tool may overlap, or be repeated."""

    READ_ONLY = "read_only"
    IDEMPOTENT = "idempotent"
    EXCLUSIVE = "exclusive"


class Projection(StrEnum):
    """How a result reaches the caller."""

    INLINE = "inline_unless_large"
    SUMMARY = "summarize_and_artifact"
    REDACTED_PREVIEW = "redacted_preview_and_artifact"


class Delivery(StrEnum):
    """How a secret is handed to a tool (vault part, §3.7), best first."""

    HEADER = "header"
    FILE = "file"
    FD = "fd"
    ENV = "env"


@dataclass(frozen=True, slots=True)
class SecretSlot:
    """A name under which a tool gets a secret, and the ways it may be handed over, best first."""

    slot: str
    deliveries: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        return {"slot": self.slot, "deliveries": list(self.deliveries)}


@dataclass(frozen=True, slots=True)
class UnitRule:
    """How many units of a side effect one call has (governance part, §3.1).

    Exactly one of `amount` (JSON Pointer into the input, or a constant as decimal text), `count`
    (pointer to an array, whose length counts) and `reported` (the tool says it, at most `max`) is set.
    """

    unit: str
    scale: int = 0
    amount: str | None = None
    count: str | None = None
    reported: bool = False
    max: str | None = None

    def as_json(self) -> dict[str, object]:
        given = {
            "unit": self.unit,
            "scale": self.scale,
            "amount": self.amount,
            "count": self.count,
            "reported": self.reported or None,
            "max": self.max,
        }
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class ToolFacts:
    """One tool of the catalog in its current version. Sizes are bytes, times milliseconds."""

    name: str
    kind: str
    version: int
    definition_digest: str
    description: str
    tier: str
    executor: str
    capabilities: frozenset[str]
    sensitive: bool
    risk: str
    adds_labels: frozenset[str]
    sinks: frozenset[str]
    argv_template: tuple[str, ...] | None
    input_schema: dict[str, object]
    max_input_bytes: int
    timeout_ms: int
    requires_approval: bool
    enabled: bool = True
    runtime_supported: bool = True
    resource_template: str = ""
    units: tuple[UnitRule, ...] = ()
    secrets: tuple[SecretSlot, ...] = ()
    egress_hosts: tuple[str, ...] = ()
    parallelism: str = "exclusive"
    projection: str = "inline_unless_large"
    output_schema: dict[str, object] | None = None
    edit_version: int = 1


@dataclass(frozen=True, slots=True)
class ToolCheck:
    """Answer of the schema gate. `input` is set iff `ok`; `tool` whenever the name is known.

    `resource` names what the call touches, for example `file:notes/a.md`, or is None.
    """

    ok: bool
    reason_code: str
    reason: str
    remediation: str
    errors: tuple[Detail, ...]
    tool: ToolFacts | None
    input: dict[str, object] | None
    resource: str | None


@dataclass(frozen=True, slots=True)
class InputCheck:
    """Answer of input validation alone. `input` is the accepted object, unchanged, iff `ok`."""

    ok: bool
    reason_code: str
    errors: tuple[Detail, ...]
    input: dict[str, object] | None


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """What a person registers as a custom tool."""

    name: str
    description: str
    input_schema: dict[str, object]
    argv_template: tuple[str, ...]
    capabilities: frozenset[str]
    risk: str
    tier: str = "C"
    sensitive: bool = False
    adds_labels: frozenset[str] = frozenset()
    sinks: frozenset[str] = frozenset()
    max_input_bytes: int = 64 * 1024
    timeout_ms: int = 10_000
    resource_template: str = ""
    units: tuple[UnitRule, ...] = ()
    secrets: tuple[SecretSlot, ...] = ()
    egress_hosts: tuple[str, ...] = ()
    parallelism: str = "exclusive"
    projection: str = "inline_unless_large"
    output_schema: dict[str, object] | None = None
