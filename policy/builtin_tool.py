"""What a built-in is declared as, and the digests that calls and decisions are bound to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from kernel.canonical import digest
from policy.types import Parallelism, Projection, Risk, SecretSlot, ToolCapability, ToolFacts

KIB = 1024
LONGEST_RUN_MS = 600_000
"""A built-in has no time limit of its own: the workspace's `execution_timeout_ms` bounds it."""

NO_NUL = "^[^\\u0000]*$"
_NEEDS_APPROVAL = frozenset(
    {
        ToolCapability.PROCESS_EXEC,
        ToolCapability.NETWORK,
        ToolCapability.SECRETS_READ,
        ToolCapability.FILESYSTEM_WRITE,
    }
)


@dataclass(frozen=True, slots=True)
class BuiltinTool:
    """A built-in as declared. `cap_kib` limits the canonical input; `supported` is False while
    nothing can execute it."""

    name: str
    description: str
    properties: dict[str, dict[str, object]]
    required: tuple[str, ...]
    risk: Risk
    cap_kib: int
    executor: str
    tier: str = "none"
    kind: str = "builtin"
    capabilities: frozenset[str] = frozenset()
    sensitive: bool = False
    adds_labels: frozenset[str] = frozenset()
    sinks: frozenset[str] = frozenset()
    resource_template: str = ""
    supported: bool = True
    secrets: tuple[SecretSlot, ...] = ()
    parallelism: Parallelism = Parallelism.EXCLUSIVE
    projection: Projection = Projection.INLINE

    def facts(self) -> ToolFacts:
        """Return the tool as the catalog shows it in version 1."""
        schema = object_schema(self.properties, self.required)
        return with_digest(
            ToolFacts(
                name=self.name,
                kind=self.kind,
                version=1,
                definition_digest="",
                description=self.description,
                tier=self.tier,
                executor=self.executor,
                capabilities=self.capabilities,
                sensitive=self.sensitive,
                risk=self.risk.value,
                adds_labels=self.adds_labels,
                sinks=self.sinks,
                argv_template=None,
                input_schema=schema,
                max_input_bytes=self.cap_kib * KIB,
                timeout_ms=LONGEST_RUN_MS,
                requires_approval=requires_approval(self.sensitive, self.capabilities),
                runtime_supported=self.supported,
                resource_template=self.resource_template,
                secrets=self.secrets,
                parallelism=self.parallelism.value,
                projection=self.projection.value,
            )
        )


def object_schema(properties: dict[str, dict[str, object]], required: tuple[str, ...]) -> dict[str, object]:
    """Return a closed object schema."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def requires_approval(sensitive: bool, capabilities: frozenset[str]) -> bool:
    """Tell whether a tool asks each time unless a posture says otherwise."""
    return sensitive or bool(capabilities & _NEEDS_APPROVAL)


def definition_digest(tool: ToolFacts) -> str:
    """Return the digest a queued call is bound to: everything of the tool but its description."""
    return digest(definition_json(tool))


def definition_json(tool: ToolFacts) -> dict[str, object]:
    """Return what the definition digest is over."""
    return {
        "name": tool.name,
        "input_schema": tool.input_schema,
        "output_schema": tool.output_schema,
        "argv_template": list(tool.argv_template) if tool.argv_template is not None else None,
        "resource_template": tool.resource_template,
        "capabilities": sorted(tool.capabilities),
        "tier": tool.tier,
        "executor": tool.executor,
        "risk": tool.risk,
        "sensitive": tool.sensitive,
        "adds_labels": sorted(tool.adds_labels),
        "sinks": sorted(tool.sinks),
        "units": [rule.as_json() for rule in tool.units],
        "secrets": [slot.as_json() for slot in tool.secrets],
        "egress_hosts": sorted(tool.egress_hosts),
        "parallelism": tool.parallelism,
        "projection": tool.projection,
        "max_input_bytes": tool.max_input_bytes,
        "timeout_ms": tool.timeout_ms,
    }


def with_digest(tool: ToolFacts) -> ToolFacts:
    """Return the tool with its definition digest filled in."""
    return replace(tool, definition_digest=definition_digest(tool))


def catalog_digest(tools: Iterable[ToolFacts]) -> str:
    """Return a digest that depends on the definitions alone."""
    return digest(
        [
            {"name": tool.name, "version": tool.version, "definition_digest": tool.definition_digest}
            for tool in sorted(tools, key=lambda tool: tool.name)
        ]
    )


def text(limit: int, description: str, **more: object) -> dict[str, object]:
    return {"type": "string", "maxLength": limit, "description": description, **more}


def path(description: str) -> dict[str, object]:
    return text(1024, description, minLength=1, pattern=NO_NUL)


def integer(low: int, high: int, description: str) -> dict[str, object]:
    return {"type": "integer", "minimum": low, "maximum": high, "description": description}


def fraction(description: str) -> dict[str, object]:
    return {"type": "number", "minimum": 0, "maximum": 1, "description": description}


def flag(description: str) -> dict[str, object]:
    return {"type": "boolean", "description": description}


def choice(values: tuple[str, ...], description: str) -> dict[str, object]:
    return {"type": "string", "enum": list(values), "description": description}


def texts(count: int, limit: int, description: str, **more: object) -> dict[str, object]:
    items = {"type": "string", "maxLength": limit, "pattern": NO_NUL}
    return {"type": "array", "maxItems": count, "items": items, "description": description, **more}


def text_map(description: str, **more: object) -> dict[str, object]:
    values = {"type": "string", "pattern": NO_NUL}
    return {"type": "object", "additionalProperties": values, "description": description, **more}
