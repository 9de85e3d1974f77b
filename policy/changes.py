"""The changes an explanation may propose, each as a plain edit of the question or of the set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from policy.compilation import CompiledSet
from policy.engine import most_favourable
from policy.types import Asked

ATTACH_APPROVAL = "attach_approval"
ALLOWLIST_TOOL = "allowlist_tool"
ALLOWLIST_PRINCIPAL = "allowlist_principal"
ALLOWLIST_CHANNEL = "allowlist_channel"
ENABLE_TOOL = "enable_tool"
CLEAR_LABEL = "clear_label:"
REMOVE_FORBID = "remove_forbid:"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and of which rules."""

    asked: Asked
    policies: CompiledSet


def changes_of_facts(asked: Asked) -> list[str]:
    """Return the changes of facts that would alter this question at all, the mildest first.

    A principal list that is empty names nobody, so adding to it would shut everybody else out, and a
    request without a channel has none to list: neither is proposed.
    """
    config, tool = asked.config, asked.world.tool
    principals, channels = config.tool_execute_principal_allowlist, config.tool_execute_channel_allowlist
    principal, channel = _principal(asked), _channel(asked)
    found = (
        (True, ATTACH_APPROVAL),
        (tool is not None and tool.name not in config.allowlisted_tools, ALLOWLIST_TOOL),
        (bool(principals) and principal not in principals, ALLOWLIST_PRINCIPAL),
        (bool(channels and channel) and channel not in channels, ALLOWLIST_CHANNEL),
        (tool is not None and not tool.enabled, ENABLE_TOOL),
    )
    labels = [f"{CLEAR_LABEL}{label}" for label in sorted(asked.context.labels)]
    return [change for alters, change in found if alters] + labels


def applied(changes: Sequence[str], question: Question) -> Question:
    """Return the question as it would be after these changes. Raises ValueError for an unknown one."""
    for change in changes:
        question = _apply(change, question)
    return question


def _apply(change: str, question: Question) -> Question:
    asked, policies = question.asked, question.policies
    if change.startswith(REMOVE_FORBID):
        return Question(asked, policies.without(frozenset({change.removeprefix(REMOVE_FORBID)})))
    if change.startswith(CLEAR_LABEL):
        labels = asked.context.labels - {change.removeprefix(CLEAR_LABEL)}
        return Question(replace(asked, context=replace(asked.context, labels=labels)), policies)
    if change == ATTACH_APPROVAL:
        approval = most_favourable(policies)
        return Question(replace(asked, context=replace(asked.context, approval=approval)), policies)
    if change == ENABLE_TOOL and asked.world.tool is not None:
        tool = replace(asked.world.tool, enabled=True)
        return Question(replace(asked, world=replace(asked.world, tool=tool)), policies)
    return Question(_allowlisted(change, asked), policies)


def _allowlisted(change: str, asked: Asked) -> Asked:
    config, tool = asked.config, asked.world.tool
    if change == ALLOWLIST_TOOL and tool is not None:
        wider = replace(config, allowlisted_tools=config.allowlisted_tools | {tool.name})
    elif change == ALLOWLIST_PRINCIPAL:
        listed = config.tool_execute_principal_allowlist | {_principal(asked)}
        wider = replace(config, tool_execute_principal_allowlist=listed)
    elif change == ALLOWLIST_CHANNEL:
        listed = config.tool_execute_channel_allowlist | {_channel(asked)}
        wider = replace(config, tool_execute_channel_allowlist=listed)
    else:
        raise ValueError(f"no such change: {change}")
    return replace(asked, config=wider)


def _principal(asked: Asked) -> str:
    known = asked.world.principal
    return asked.request.principal.id if known is None else known.id


def _channel(asked: Asked) -> str:
    return (asked.context.channel or "").strip()
