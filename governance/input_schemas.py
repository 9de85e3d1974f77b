"""The schema that the input of a tool or skill passed: it says which of the values are secrets."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from django.db import transaction

from governance.models import ToolCall
from governance.parameter_views import without_typed_secrets
from governance.proposals import Target
from policy.selectors import input_schema_of, tool_named
from sandbox.skills import selectors as skill_selectors

log = logging.getLogger(__name__)

ALL_SECRET: Mapping[str, object] = {"writeOnly": True}


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


def input_of(call: ToolCall) -> object:
    """Return the input of a stored call without what was typed as secret when it was decided about.

    For every reader but its sender, who masks it by the schema in force now as well: neither a new
    version of a tool nor an old one tells what the other keeps.
    """
    decided_by = call.definition_digest or ""
    then = input_schema_of(decided_by) or skill_selectors.input_schema_of(call.tool_name, decided_by)
    return without_typed_secrets(call.input, then or {})


def schema_or_secret(name: str, given: object) -> Mapping[str, object]:
    """As `schema_of_tool`; where it cannot be read, one that types everything as secret.

    For what is written down before the gates: their own look at the catalog denies the call then.
    """
    try:
        with transaction.atomic():
            return schema_of_tool(name, given)
    except Exception:
        log.exception("the schema of a proposed tool could not be read")
        return ALL_SECRET
