"""The schema that the input of a tool or skill passed: it says which of the values are secrets."""

from __future__ import annotations

from collections.abc import Mapping

from governance.proposals import Target
from policy.selectors import tool_named
from sandbox.skills import selectors as skill_selectors


def schema_of_target(target: Target) -> Mapping[str, object]:
    """Return the schema of what the gates resolved, empty when it has none."""
    if target.skill is not None:
        return target.skill.input_schema
    return target.tool.input_schema if target.tool is not None else {}


def schema_of_tool(name: str, given: object) -> Mapping[str, object]:
    """Return the schema in force under a name, empty for an unknown one. Of a skill, that of `given`."""
    tool = tool_named(name)
    if tool is not None:
        return tool.input_schema
    skill = skill_selectors.resolve(name, given)
    return skill.input_schema if skill is not None else {}
