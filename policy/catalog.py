"""The one list of built-in tools. Rows of the catalog, schema actions and answers come from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from kernel.canonical import digest
from policy.types import Risk, ToolCapability, ToolFacts

ALIAS_PREFIX = "palyra."
KIB = 1024
DEFAULT_TIMEOUT_MS = 10_000
_NEEDS_APPROVAL = frozenset(
    {
        ToolCapability.PROCESS_EXEC,
        ToolCapability.NETWORK,
        ToolCapability.SECRETS_READ,
        ToolCapability.FILESYSTEM_WRITE,
    }
)
_NO_NUL = "^[^\\u0000]*$"


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
    capabilities: frozenset[str] = frozenset()
    sensitive: bool = False
    adds_labels: frozenset[str] = frozenset()
    sinks: frozenset[str] = frozenset()
    resource_template: str = ""
    supported: bool = True

    def facts(self) -> ToolFacts:
        """Return the tool as the catalog shows it in version 1."""
        schema = object_schema(self.properties, self.required)
        return with_digest(
            ToolFacts(
                name=self.name,
                kind="builtin",
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
                timeout_ms=DEFAULT_TIMEOUT_MS,
                requires_approval=requires_approval(self.sensitive, self.capabilities),
                runtime_supported=self.supported,
                resource_template=self.resource_template,
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


def short_name(name: str) -> str:
    """Return the catalog's name: trimmed, lower-case, without the alias prefix of built-ins."""
    plain = name.strip().lower()
    inner = plain.removeprefix(ALIAS_PREFIX)
    return inner if inner in BUILTIN_NAMES else plain


def definition_digest(tool: ToolFacts) -> str:
    """Return the digest a queued call is bound to: everything that decides what would run."""
    return digest(
        {
            "name": tool.name,
            "input_schema": tool.input_schema,
            "argv_template": list(tool.argv_template) if tool.argv_template is not None else None,
            "resource_template": tool.resource_template,
            "capabilities": sorted(tool.capabilities),
            "tier": tool.tier,
            "executor": tool.executor,
            "risk": tool.risk,
            "sensitive": tool.sensitive,
            "adds_labels": sorted(tool.adds_labels),
            "sinks": sorted(tool.sinks),
            "max_input_bytes": tool.max_input_bytes,
            "timeout_ms": tool.timeout_ms,
        }
    )


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


def _text(limit: int, description: str, **more: object) -> dict[str, object]:
    return {"type": "string", "maxLength": limit, "description": description, **more}


def _path(description: str) -> dict[str, object]:
    return _text(1024, description, minLength=1, pattern=_NO_NUL)


def _integer(low: int, high: int, description: str) -> dict[str, object]:
    return {"type": "integer", "minimum": low, "maximum": high, "description": description}


def _texts(count: int, limit: int, description: str) -> dict[str, object]:
    items = {"type": "string", "maxLength": limit, "pattern": _NO_NUL}
    return {"type": "array", "maxItems": count, "items": items, "description": description}


def _map(description: str, **more: object) -> dict[str, object]:
    values = {"type": "string", "pattern": _NO_NUL}
    return {"type": "object", "additionalProperties": values, "description": description, **more}


BUILTINS: tuple[BuiltinTool, ...] = (
    BuiltinTool(
        name="echo",
        description="Returns the text it was given.",
        properties={"text": _text(4096, "What to return.")},
        required=("text",),
        risk=Risk.LOW,
        cap_kib=16,
        executor="builtin",
    ),
    BuiltinTool(
        name="sleep",
        description="Waits for the given time and returns.",
        properties={"duration_ms": _integer(0, 5000, "How long to wait, in milliseconds.")},
        required=("duration_ms",),
        risk=Risk.LOW,
        cap_kib=8,
        executor="builtin",
    ),
    BuiltinTool(
        name="fs.read",
        description="Reads a file beneath the workspace root.",
        properties={
            "path": _path("Path relative to the workspace root."),
            "max_bytes": _integer(1, 1024 * KIB, "Read at most this many bytes."),
        },
        required=("path",),
        risk=Risk.MEDIUM,
        cap_kib=16,
        executor="builtin_fs",
        capabilities=frozenset({ToolCapability.FILESYSTEM_READ}),
        adds_labels=frozenset({"private_data"}),
        resource_template="file:{path}",
    ),
    BuiltinTool(
        name="fs.list",
        description="Lists a directory beneath the workspace root.",
        properties={
            "path": _path("Path relative to the workspace root."),
            "depth": _integer(1, 4, "How many levels to descend."),
            "limit": _integer(1, 1000, "List at most this many entries."),
        },
        required=("path",),
        risk=Risk.MEDIUM,
        cap_kib=16,
        executor="builtin_fs",
        capabilities=frozenset({ToolCapability.FILESYSTEM_READ}),
        adds_labels=frozenset({"private_data"}),
        resource_template="file:{path}",
    ),
    BuiltinTool(
        name="fs.write",
        description="Writes a file beneath the workspace root.",
        properties={
            "path": _path("Path relative to the workspace root."),
            "content": {"type": "string", "description": "The new content of the file."},
            "create_only": {"type": "boolean", "description": "Refuse to replace an existing file."},
        },
        required=("path", "content"),
        risk=Risk.HIGH,
        cap_kib=256,
        executor="builtin_fs",
        capabilities=frozenset({ToolCapability.FILESYSTEM_WRITE}),
        sensitive=True,
        resource_template="file:{path}",
    ),
    BuiltinTool(
        name="process.run",
        description="Runs a command in the sandbox, without a shell.",
        properties={
            "command": _text(128, "Name of the executable.", minLength=1, pattern=_NO_NUL),
            "args": _texts(64, 4096, "Arguments, each one element of argv."),
            "cwd": _path("Working directory relative to the workspace root."),
            "stdin": _text(65_536, "Text for standard input."),
            "env": _map("Environment variables to set."),
            "requested_egress_hosts": _texts(64, 253, "Hosts the command wants to reach."),
            "timeout_ms": _integer(100, 600_000, "Wall-clock limit in milliseconds."),
        },
        required=("command",),
        risk=Risk.HIGH,
        cap_kib=128,
        executor="sandbox_tier_c",
        tier="C",
        capabilities=frozenset({ToolCapability.PROCESS_EXEC}),
        sensitive=True,
        resource_template="command:{command}",
    ),
    BuiltinTool(
        name="http.fetch",
        description="Fetches a URL through the egress rules.",
        properties={
            "url": _text(2048, "Absolute http or https URL.", format="uri", pattern="^https?://"),
            "method": {"type": "string", "enum": ["GET", "HEAD", "POST"], "description": "HTTP method."},
            "body": _text(48 * KIB, "Request body."),
            "headers": _map("Request headers.", maxProperties=32),
            "max_redirects": _integer(0, 5, "Follow at most this many redirects."),
            "max_response_bytes": _integer(1, 1024 * KIB, "Read at most this many bytes."),
            "allowed_content_types": _texts(32, 128, "Refuse any other content type."),
        },
        required=("url",),
        risk=Risk.HIGH,
        cap_kib=64,
        executor="builtin_http",
        capabilities=frozenset({ToolCapability.NETWORK}),
        sensitive=True,
        adds_labels=frozenset({"untrusted_content"}),
        sinks=frozenset({"external_communication"}),
        resource_template="url:{url}",
        supported=False,
    ),
    BuiltinTool(
        name="plugin.run",
        description="Runs an entry point of an installed skill version.",
        properties={
            "skill_id": _text(128, "The skill.", minLength=1, pattern=_NO_NUL),
            "skill_version": _text(64, "Its version.", minLength=1, pattern=_NO_NUL),
            "entrypoint": _text(128, "The entry point.", pattern=_NO_NUL),
            "input": {"type": "object", "description": "Input of the entry point."},
        },
        required=("skill_id", "skill_version"),
        risk=Risk.CRITICAL,
        cap_kib=448,
        executor="sandbox_tier_a",
        tier="A",
        capabilities=frozenset(
            {ToolCapability.NETWORK, ToolCapability.SECRETS_READ, ToolCapability.FILESYSTEM_WRITE}
        ),
        sensitive=True,
        adds_labels=frozenset({"untrusted_content"}),
        supported=False,
    ),
)
BUILTIN_NAMES = frozenset(tool.name for tool in BUILTINS)
FIRST_ALLOWLIST = tuple(tool.name for tool in BUILTINS if tool.supported)
