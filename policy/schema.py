"""The Cedar schema: the normative declarations of the file plus the generated actions.

Governance actions come from `identity.roles.Permission`, tool actions from the catalog, so neither
exists in a second list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from identity.roles import Permission
from kernel.canonical import digest_bytes
from policy.cedar_types import quote, record_type

NAMESPACE = "Palyra"
TOOL_EXECUTE = "tool.execute"
SKILL_EXECUTE = "skill.execute"
GOVERNANCE = "governance"
PRINCIPAL_TYPES = ("User", "Agent", "Device", "Service")
_FILE = Path(__file__).parent / "schema" / "palyra.cedarschema"
_ACTION = "  action "
_CONTEXT = re.compile(r"type Context = \{(?P<members>[^{}]*)\};")

_MESSAGE_VERBS = (
    "message.reply message.broadcast channel.send channel.message.read channel.message.search"
    " channel.message.edit channel.message.delete channel.message.react_add channel.message.react_remove"
    " channel.command.status channel.command.stop channel.command.reset channel.command.compact"
    " channel.command.approve channel.command.queue channel.command.whoami"
)
_GOVERNED = (
    "Workspace", "Server", "User", "Agent", "Device", "Service", "Group", "Tool", "Skill", "Model",
    "Session", "Run", "Secret", "SecretScope", "Budget", "PolicySet", "ApprovalRequest", "Grant", "Token",
    "Posture",
)  # fmt: skip
_GROUPS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "read_only",
        "tool.read tool.read.status tool.status tool.list tool.health tool.get",
        ("Tool", "Server"),
    ),
    ("read_only", "daemon.status protocol.version", ("Server",)),
    ("", "skill.execute", ("Skill",)),
    (
        "cron",
        "cron.create cron.update cron.delete cron.get cron.list cron.logs cron.run",
        ("CronJob", "Workspace"),
    ),
    (
        "memory",
        "memory.ingest memory.search memory.get memory.list memory.delete memory.purge",
        ("MemoryItem", "Workspace"),
    ),
    ("vault", "vault.list vault.put vault.get vault.use vault.delete", ("Secret", "SecretScope")),
    ("", "model.use", ("Model",)),
    ("messages", _MESSAGE_VERBS, ("Channel",)),
    ("attachments", "attachment.metadata.accept", ("Attachment",)),
    ("", "attachment.download attachment.vision attachment.upload", ("Attachment",)),
)


@dataclass(frozen=True, slots=True)
class Action:
    """One action of the schema: the groups it is in and the resource types it applies to."""

    name: str
    groups: tuple[str, ...]
    resource_types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CedarSchema:
    """A complete schema text with the facts the engine needs about it.

    `static_digest` covers all but the tool actions, so it does not change with the catalog;
    `inputs` maps each tool name to the JSON Schema its action was generated from.
    """

    text: str
    static_digest: str
    actions: Mapping[str, Action]
    inputs: Mapping[str, Mapping[str, object]]

    def with_actions(self, names: frozenset[str]) -> str:
        """Return the text without the actions of other names; groups and types stay."""
        dropped = tuple(f"{_ACTION}{quote(name)} " for name in self.actions.keys() - names)
        lines = self.text.splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith(dropped))


def build_schema(inputs: Mapping[str, Mapping[str, object]]) -> CedarSchema:
    """Return the schema for these tools (name → JSON Schema of the input).

    Raises UnrepresentableError when a tool's schema has no Cedar record.
    """
    static = _render(_file_text(), [_apply(action, "Context") for action in static_actions()])
    tools = [tool_action(name) for name in sorted(inputs)]
    lines = [_apply(action, _input_context(inputs[_tool_of(action)])) for action in tools]
    return CedarSchema(
        text=_render(static, lines),
        static_digest=digest_bytes(static.encode()),
        actions={action.name: action for action in (*static_actions(), *tools)},
        inputs=dict(inputs),
    )


@cache
def static_actions() -> tuple[Action, ...]:
    """Return every action that does not depend on the catalog."""
    named = [
        Action(verb, (group,) if group else (), types)
        for group, verbs, types in _GROUPS
        for verb in verbs.split()
    ]
    taken = {action.name for action in named}
    governed = [
        Action(permission.value, (GOVERNANCE,), _GOVERNED)
        for permission in Permission
        if permission.value not in taken
    ]
    return (*named, *governed)


def tool_action(name: str) -> Action:
    """Return the generated action of one tool."""
    return Action(f"{TOOL_EXECUTE}:{name}", (TOOL_EXECUTE,), ("Tool",))


def action_text(name: str, schema: Mapping[str, object]) -> str:
    """Return the declaration of one tool's action as it stands in the schema, one member a line."""
    members = [f"    {one}," for one in (*_context_members().split(", "), f"input: {record_type(schema)}")]
    return _apply(tool_action(name), "\n".join(["{", *members, "  }"]))


def _tool_of(action: Action) -> str:
    return action.name.removeprefix(f"{TOOL_EXECUTE}:")


@cache
def _file_text() -> str:
    return _FILE.read_text(encoding="utf-8")


@cache
def _context_members() -> str:
    match = _CONTEXT.search(_file_text())
    if match is None:
        raise ValueError("the schema file declares no type Context")
    return " ".join(match["members"].split())


def _input_context(schema: Mapping[str, object]) -> str:
    return "{ " + _context_members() + f", input: {record_type(schema)} }}"


def _apply(action: Action, context: str) -> str:
    groups = ", ".join(quote(group) for group in action.groups)
    parents = f" in [{groups}]" if groups else ""
    return (
        f"{_ACTION}{quote(action.name)}{parents} appliesTo {{ principal: [{', '.join(PRINCIPAL_TYPES)}],"
        f" resource: [{', '.join(action.resource_types)}], context: {context} }};\n"
    )


def _render(text: str, lines: list[str]) -> str:
    body, _, _ = text.rstrip().rpartition("}")
    return body + "".join(lines) + "}\n"
