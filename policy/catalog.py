"""The one list of built-in tools. Rows of the catalog, schema actions and answers come from it."""

from __future__ import annotations

from policy.builtin_tool import (
    KIB,
    NO_NUL,
    BuiltinTool,
    catalog_digest as catalog_digest,
    choice,
    definition_digest as definition_digest,
    flag,
    fraction,
    integer,
    object_schema as object_schema,
    path,
    requires_approval as requires_approval,
    text,
    text_map,
    texts,
    with_digest as with_digest,
)
from policy.types import Delivery, Parallelism, Projection, Risk, SecretSlot, ToolCapability

ALIAS_PREFIX = "palyra."
_MEMORY_SCOPES = ("session", "channel", "principal")
_SLOTS = tuple(f"credential_{number}" for number in (1, 2, 3, 4))
_UNTRUSTED = frozenset({"untrusted_content"})
_OUTWARD = frozenset({"external_communication"})
_NETWORK = frozenset({ToolCapability.NETWORK})


def short_name(name: str) -> str:
    """Return the catalog's name: trimmed, lower-case, an alias of a built-in replaced by its name."""
    plain = name.strip().lower()
    inner = plain.removeprefix(ALIAS_PREFIX)
    inner = ALIASES.get(inner, inner)
    return inner if inner in BUILTIN_NAMES else plain


def shown_name(name: str) -> str:
    """Return the name of a built-in, by whichever of its names it was called; any other name as it is."""
    known = short_name(name)
    return known if known in BUILTIN_NAMES else name


def _http(*more: tuple[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    return {
        "url": text(2048, "Absolute http or https URL.", format="uri", pattern="^https?://"),
        "method": choice(("GET", "HEAD", "POST"), "HTTP method."),
        "body": text(48 * KIB, "Request body."),
        "headers": text_map("Request headers.", maxProperties=32),
        "max_redirects": integer(0, 5, "Follow at most this many redirects."),
        "max_response_bytes": integer(1, 1024 * KIB, "Read at most this many bytes."),
        "allowed_content_types": texts(32, 128, "Refuse any other content type."),
        **dict(more),
    }


def _file_tool(name: str, description: str, properties: dict[str, dict[str, object]]) -> BuiltinTool:
    return BuiltinTool(
        name=name,
        description=description,
        properties={"path": path("Path relative to the workspace root.")} | properties,
        required=("path",),
        risk=Risk.MEDIUM,
        cap_kib=16,
        executor="builtin_fs",
        capabilities=frozenset({ToolCapability.FILESYSTEM_READ}),
        adds_labels=frozenset({"private_data"}),
        resource_template="file:{path}",
        parallelism=Parallelism.READ_ONLY,
    )


def _memory_tool(
    verb: str,
    description: str,
    properties: dict[str, dict[str, object]],
    required: str,
    *,
    risk: Risk = Risk.LOW,
    writes: bool = False,
) -> BuiltinTool:
    capability = ToolCapability.MEMORY_WRITE if writes else ToolCapability.MEMORY_READ
    return BuiltinTool(
        name=f"memory.{verb}",
        description=description,
        properties=properties,
        required=(required,),
        risk=risk,
        cap_kib=64,
        executor="builtin",
        capabilities=frozenset({capability}),
        supported=False,
        parallelism=Parallelism.EXCLUSIVE if writes else Parallelism.READ_ONLY,
    )


def _browser_tool(
    verb: str, description: str, properties: dict[str, dict[str, object]], *required: str
) -> BuiltinTool:
    """A browser verb: declared for policies and postures, with nothing here that executes it."""
    session = {} if verb == "session_create" else {"session_id": text(64, "The browser session.")}
    return BuiltinTool(
        name=f"browser.{verb}",
        description=description,
        properties=session | properties,
        required=(*session, *required),
        risk=Risk.HIGH,
        cap_kib=128,
        executor="none",
        kind="declared",
        capabilities=_NETWORK,
        sensitive=True,
        adds_labels=_UNTRUSTED,
        sinks=_OUTWARD,
        supported=False,
    )


def _routines_tool(verb: str, description: str, *, controls: bool) -> BuiltinTool:
    return BuiltinTool(
        name=f"routines.{verb}",
        description=description,
        properties={"operation": text(64, "What to do.", minLength=1, pattern=NO_NUL)},
        required=("operation",),
        risk=Risk.HIGH if controls else Risk.LOW,
        cap_kib=128 if controls else 64,
        executor="none",
        kind="declared",
        sensitive=controls,
        supported=False,
    )


_URL = {"url": text(2048, "Absolute http or https URL.", format="uri", pattern="^https?://")}
_SELECTOR = {"selector": text(2048, "Which element.", minLength=1, pattern=NO_NUL)}
_TAB = {"tab_id": text(64, "Which tab.", minLength=1)}

BUILTINS: tuple[BuiltinTool, ...] = (
    BuiltinTool(
        name="echo",
        description="Returns the text it was given.",
        properties={"text": text(4096, "What to return.")},
        required=("text",),
        risk=Risk.LOW,
        cap_kib=16,
        executor="builtin",
        parallelism=Parallelism.READ_ONLY,
    ),
    BuiltinTool(
        name="sleep",
        description="Waits for the given time and returns.",
        properties={"duration_ms": integer(0, 5000, "How long to wait, in milliseconds.")},
        required=("duration_ms",),
        risk=Risk.LOW,
        cap_kib=8,
        executor="builtin",
        parallelism=Parallelism.READ_ONLY,
    ),
    _memory_tool(
        "search",
        "Finds stored memories that fit a query.",
        {
            "query": text(8192, "What to look for.", minLength=1),
            "scope": choice(_MEMORY_SCOPES, "Whose memories."),
            "top_k": integer(1, 20, "Return at most this many."),
            "min_score": fraction("Leave out weaker hits."),
            "tags": texts(16, 128, "Only memories with these tags."),
            "sources": texts(16, 128, "Only memories from these sources."),
        },
        "query",
    ),
    _memory_tool(
        "recall",
        "Prepares the memories that fit a query for a prompt.",
        {
            "query": text(8192, "What to look for.", minLength=1),
            "memory_top_k": integer(0, 16, "Use at most this many memories."),
            "min_score": fraction("Leave out weaker hits."),
            "prompt_budget_tokens": integer(512, 4096, "Length of the answer in tokens."),
        },
        "query",
    ),
    _memory_tool(
        "retain",
        "Stores a memory with the labels of its session.",
        {
            "content_text": text(8192, "What to remember.", minLength=1),
            "scope": choice(_MEMORY_SCOPES, "Whose memory."),
            "tags": texts(16, 128, "Tags to find it by."),
            "confidence": fraction("How sure it is."),
            "ttl_ms": integer(0, 2**53 - 1, "Forget it after this many milliseconds."),
        },
        "content_text",
        risk=Risk.MEDIUM,
        writes=True,
    ),
    _memory_tool(
        "reflect",
        "Proposes a lesson to remember.",
        {
            "content_text": text(8192, "The lesson.", minLength=1),
            "category": choice(("durable_fact", "preference", "procedure"), "What kind of lesson."),
            "confidence": fraction("How sure it is."),
        },
        "content_text",
        writes=True,
    ),
    BuiltinTool(
        name="artifact.read",
        description="Reads a part of a stored artifact.",
        properties={
            "artifact_id": text(64, "The artifact.", minLength=1, pattern=NO_NUL),
            "expected_digest_sha256": text(71, "Refuse it unless it has this digest."),
            "offset_bytes": integer(0, 2**53 - 1, "Where to begin."),
            "max_bytes": integer(1, 1024 * KIB, "Read at most this many bytes."),
            "text_preview": flag("Return text instead of base64."),
        },
        required=("artifact_id",),
        risk=Risk.MEDIUM,
        cap_kib=16,
        executor="builtin",
        capabilities=frozenset({ToolCapability.ARTIFACTS_READ}),
        resource_template="artifact:{artifact_id}",
        supported=False,
        parallelism=Parallelism.READ_ONLY,
    ),
    _file_tool(
        "fs.read",
        "Reads a file beneath the workspace root.",
        {"max_bytes": integer(1, 1024 * KIB, "Read at most this many bytes.")},
    ),
    _file_tool(
        "fs.list",
        "Lists a directory beneath the workspace root.",
        {
            "depth": integer(1, 4, "How many levels to descend."),
            "limit": integer(1, 1000, "List at most this many entries."),
        },
    ),
    BuiltinTool(
        name="fs.write",
        description="Writes a file beneath the workspace root.",
        properties={
            "path": path("Path relative to the workspace root."),
            "content": {"type": "string", "description": "The new content of the file."},
            "create_only": flag("Refuse to replace an existing file."),
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
        name="fs.apply_patch",
        description="Applies a patch to files beneath the workspace root.",
        properties={
            "patch": {"type": "string", "minLength": 1, "description": "The patch, in unified form."},
            "dry_run": flag("Tell what would change and change nothing."),
        },
        required=("patch",),
        risk=Risk.CRITICAL,
        cap_kib=256,
        executor="builtin_fs",
        capabilities=frozenset({ToolCapability.FILESYSTEM_WRITE}),
        sensitive=True,
        supported=False,
    ),
    BuiltinTool(
        name="process.run",
        description="Runs a command in the sandbox, without a shell.",
        properties={
            "command": text(128, "Name of the executable.", minLength=1, pattern=NO_NUL),
            "args": texts(64, 4096, "Arguments, each one element of argv."),
            "cwd": path("Working directory relative to the workspace root."),
            "stdin": text(65_536, "Text for standard input."),
            "env": text_map("Environment variables to set."),
            "requested_egress_hosts": texts(64, 253, "Hosts the command wants to reach."),
            "timeout_ms": integer(100, 600_000, "Wall-clock limit in milliseconds."),
        },
        required=("command",),
        risk=Risk.HIGH,
        cap_kib=128,
        executor="sandbox_tier_c",
        tier="C",
        capabilities=frozenset({ToolCapability.PROCESS_EXEC}),
        sensitive=True,
        adds_labels=frozenset({"untrusted_content"}),
        sinks=frozenset({"external_communication"}),
        resource_template="command:{command}",
    ),
    BuiltinTool(
        name="http.fetch",
        description="Fetches a URL through the egress rules.",
        properties=_http(),
        required=("url",),
        risk=Risk.HIGH,
        cap_kib=64,
        executor="builtin_http",
        capabilities=_NETWORK,
        sensitive=True,
        adds_labels=_UNTRUSTED,
        sinks=_OUTWARD,
        resource_template="url:{url}",
        supported=False,
        projection=Projection.SUMMARY,
    ),
    BuiltinTool(
        name="http.request",
        description="Sends a request with credentials that an operator bound to its slots.",
        properties=_http(
            (
                "credential_slots",
                texts(4, 32, "Slots to use.", items={"type": "string", "enum": list(_SLOTS)}),
            )
        ),
        required=("url",),
        risk=Risk.HIGH,
        cap_kib=64,
        executor="builtin_http",
        capabilities=frozenset({ToolCapability.NETWORK, ToolCapability.SECRETS_READ}),
        sensitive=True,
        adds_labels=frozenset({"untrusted_content", "private_data"}),
        sinks=_OUTWARD,
        resource_template="url:{url}",
        supported=False,
        secrets=tuple(SecretSlot(slot, (Delivery.HEADER,)) for slot in _SLOTS),
        projection=Projection.SUMMARY,
    ),
    BuiltinTool(
        name="plugin.run",
        description="Runs an entry point of an installed skill version.",
        properties={
            "skill_id": text(128, "The skill.", minLength=1, pattern=NO_NUL),
            "skill_version": text(64, "Its version.", minLength=1, pattern=NO_NUL),
            "entrypoint": text(128, "The entry point.", pattern=NO_NUL),
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
        adds_labels=_UNTRUSTED,
        supported=False,
    ),
    BuiltinTool(
        name="tool_program.run",
        description="Runs a short program of tool calls; each step passes all gates by itself.",
        properties={
            "program_id": text(128, "Name of the program.", minLength=1, pattern=NO_NUL),
            "granted_tools": texts(64, 64, "The only tools its steps may name.", minItems=1),
            "steps": {
                "type": "array",
                "maxItems": 32,
                "description": "Calls, one after the other.",
                "items": object_schema(
                    {
                        "tool": text(64, "The tool of this step.", minLength=1, pattern=NO_NUL),
                        "input": {"type": "object", "description": "Its input."},
                    },
                    ("tool", "input"),
                ),
            },
        },
        required=("program_id", "granted_tools", "steps"),
        risk=Risk.HIGH,
        cap_kib=256,
        executor="builtin",
        sensitive=True,
        supported=False,
    ),
    _browser_tool("session_create", "Opens a browser session.", _URL),
    _browser_tool("session_close", "Closes a browser session.", {}),
    _browser_tool("navigate", "Opens a page.", _URL, "url"),
    _browser_tool("click", "Clicks an element.", _SELECTOR, "selector"),
    _browser_tool(
        "type",
        "Types into an element.",
        _SELECTOR | {"text": text(8192, "What to type.")},
        "selector",
        "text",
    ),
    _browser_tool("press", "Presses a key.", {"key": text(32, "Which key.", minLength=1)}, "key"),
    _browser_tool(
        "select",
        "Chooses options of an element.",
        _SELECTOR | {"values": texts(32, 1024, "What to choose.")},
        "selector",
        "values",
    ),
    _browser_tool("highlight", "Marks an element.", _SELECTOR, "selector"),
    _browser_tool(
        "scroll",
        "Scrolls a page.",
        {
            "delta_x": integer(-100_000, 100_000, "Pixels to the right."),
            "delta_y": integer(-100_000, 100_000, "Pixels down."),
        },
    ),
    _browser_tool(
        "wait_for",
        "Waits for an element.",
        _SELECTOR | {"timeout_ms": integer(0, 60_000, "At most this long.")},
        "selector",
    ),
    _browser_tool("title", "Reads the title of a page.", {}),
    _browser_tool("screenshot", "Takes a picture of a page.", {}),
    _browser_tool("pdf", "Prints a page.", {}),
    _browser_tool("observe", "Describes a page.", {}),
    _browser_tool("network_log", "Reads what a page loaded.", {}),
    _browser_tool("console_log", "Reads what a page logged.", {}),
    _browser_tool("reset_state", "Forgets cookies and storage.", {}),
    _browser_tool("tabs_list", "Lists the tabs.", {}),
    _browser_tool("tabs_open", "Opens a tab.", _URL),
    _browser_tool("tabs_switch", "Goes to a tab.", _TAB, "tab_id"),
    _browser_tool("tabs_close", "Closes a tab.", _TAB, "tab_id"),
    _browser_tool("permissions_get", "Reads what pages may do.", {}),
    _browser_tool(
        "permissions_set",
        "Changes what pages may do.",
        {"permissions": texts(16, 64, "What is granted.")},
        "permissions",
    ),
    _routines_tool("query", "Reads scheduled routines.", controls=False),
    _routines_tool("control", "Changes scheduled routines.", controls=True),
)
BUILTIN_NAMES = frozenset(tool.name for tool in BUILTINS)
FIRST_ALLOWLIST = tuple(tool.name for tool in BUILTINS if tool.supported)
ALIASES = {
    f"browser.{noun}.{verb}": f"browser.{noun}_{verb}"
    for noun, verbs in (
        ("session", ("create", "close")),
        ("tabs", ("list", "open", "switch", "close")),
        ("permissions", ("get", "set")),
    )
    for verb in verbs
}
"""Original names of built-ins, accepted on every surface and replaced before anything is hashed."""
