"""Whether a tool or skill could be permitted at all, asked before anybody has an input for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import cedarpy

from policy.cedar_types import Kind, Schema, kind_of
from policy.compilation import Rule
from policy.decisions import question
from policy.engine import Case, case_of, most_favourable
from policy.judging import judge
from policy.requests import RequestError
from policy.runtime import EpochMissingError, config_for, current
from policy.schema import SKILL_EXECUTE
from policy.types import Code, DecisionFacts

_ON_INPUT = '"attr": "input"'
_SOMEWHERE = "https://unknown.invalid/"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why no input can be permitted, and the rules that say so."""

    code: str
    reason: str
    rules: tuple[str, ...] = ()


def certain_refusal(facts: DecisionFacts) -> Refusal | None:
    """Return why every call would be denied whatever its input, or None when an input may decide.

    Asked are the rules that do not look at the input, under the best possible approval. Writes
    nothing; database errors pass through.
    """
    try:
        runtime, asked = question(_with_blank_input(facts))
    except EpochMissingError:
        return _no_set()
    if runtime.engine is None:
        return _no_set()
    try:
        case = case_of(asked, runtime.engine.compiled, runtime.engine.handles)
    except RequestError as error:
        return Refusal(error.code, error.reason)
    return _judged(case)


def allowlisted_tools(workspace_id: str) -> frozenset[str]:
    """Return the tools that a workspace allows; none before the installation is complete."""
    try:
        return config_for(current(), workspace_id).allowlisted_tools
    except EpochMissingError:
        return frozenset()


def _with_blank_input(facts: DecisionFacts) -> DecisionFacts:
    return replace(facts, input={} if facts.tool is None else _blank_input(facts.tool.input_schema))


def _blank_input(schema: Schema) -> dict[str, object]:
    """Return an input of the schema's types that stands for one nobody has seen; it need not fit."""
    properties = cast(Mapping[str, Schema], schema.get("properties") or {})
    required = cast(list[str], schema.get("required") or [])
    return {name: _blank(inner) for name, inner in properties.items() if name in required}


def _blank(schema: Schema) -> object:
    kind = kind_of(schema)
    if kind is Kind.RECORD:
        return _blank_input(schema)
    if kind is Kind.STRING:
        return _SOMEWHERE if schema.get("format") == "uri" else ""
    blanks: dict[Kind, object] = {Kind.LONG: 0, Kind.DECIMAL: 0, Kind.BOOL: False, Kind.SET: []}
    return blanks.get(kind, {})


def _judged(case: Case) -> Refusal | None:
    if case.prepared.action is None:
        return _without_permit(case)
    known = [case.policies.rules[name] for name in case.candidates]
    blind = [rule for rule in known if not _looks_at_input(rule)]
    verdict = judge(
        case.prepared.cedar(allow_sensitive=True, approval=most_favourable(case.policies)),
        case.policies.slices.get(tuple(rule.id for rule in blind)),
        case.entities.handle,
        case.policies.schema_handle,
    )
    if verdict.decision is cedarpy.Decision.NoDecision or verdict.errors:
        return Refusal(Code.EVALUATION_FAILED, "The rules cannot be evaluated for this tool.")
    if verdict.allowed:
        return None
    if verdict.reasons:
        return _denied(case, verdict.reasons)
    may_be_permitted = any(rule.effect == "permit" and _looks_at_input(rule) for rule in known)
    return None if may_be_permitted else _without_permit(case)


def _looks_at_input(rule: Rule) -> bool:
    return _ON_INPUT in json.dumps(rule.body)


def _denied(case: Case, names: tuple[str, ...]) -> Refusal:
    described = (case.policies.rules[name].annotations.get("description", "") for name in names)
    return Refusal(Code.DENIED, next(filter(None, described), f"Decided by {', '.join(names)}."), names)


def _without_permit(case: Case) -> Refusal:
    """Name the first fact that explains why no permit holds, as the engine does."""
    placement, executes = case.prepared.placement, case.prepared.executes_tool
    skill = case.prepared.action_name == SKILL_EXECUTE
    for holds, code, reason in (
        (
            executes and not placement.principal_allowed,
            Code.PRINCIPAL_NOT_ALLOWLISTED,
            "The principal may not execute tools here.",
        ),
        (
            executes and not placement.channel_allowed,
            Code.CHANNEL_NOT_ALLOWLISTED,
            "Tools may not be executed from this channel.",
        ),
        (
            executes and not placement.tool_allowlisted,
            Code.TOOL_NOT_ALLOWLISTED,
            "The tool is not on the workspace's allowlist.",
        ),
        (
            skill and not placement.skill_allowlisted,
            Code.SKILL_NOT_ALLOWLISTED,
            "The skill is not on the workspace's allowlist.",
        ),
    ):
        if holds:
            return Refusal(code, reason)
    return Refusal(Code.NO_PERMIT, "No rule permits this action.")


def _no_set() -> Refusal:
    return Refusal(Code.NO_ACTIVE_SET, "No policy set is in force, so nothing is permitted.")
