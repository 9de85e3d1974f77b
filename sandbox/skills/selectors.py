"""Reads of skills: which tool a name means, gate 4, and the module that a claim may run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from jsonschema import Draft202012Validator

from kernel.errors import PalyraError
from sandbox.skills.lifecycle import GateCode, SkillStatus, refusal_of
from sandbox.skills.models import Skill, SkillBlob, SkillVersion
from sandbox.skills.types import (
    SkillGateDecision,
    SkillLimits,
    SkillModule,
    SkillTool,
    Verdict,
    payload_digest,
)

log = logging.getLogger(__name__)


class SkillChangedError(PalyraError):
    """Stored bytes or manifest are no longer what the version's digest says."""

    status = 409
    default_code = "skill.changed"


def resolve(tool_name: str, raw_input: object = None) -> SkillTool | None:
    """Return the tool of the skill that `tool_name` names, or None when no skill declares it.

    The active version counts; without one the newest, so that the gate can say why it may not run.
    """
    skill = _skill_of(tool_name)
    version = _version_of(skill) if skill is not None else None
    return _tool_of(version, tool_name) if version is not None else None


def input_schema_of(tool_name: str, payload_digest: str) -> Mapping[str, object] | None:
    """Return what a tool of a skill takes in the version of this digest, whatever became of it."""
    version = SkillVersion.objects.filter(payload_digest=payload_digest).select_related("skill").first()
    tool = _tool_of(version, tool_name) if version is not None else None
    return tool.input_schema if tool is not None else None


def active_tools() -> tuple[SkillTool, ...]:
    """Return every tool of every active version, by id."""
    versions = SkillVersion.objects.select_related("skill__publisher").filter(status=SkillStatus.ACTIVE)
    found = [
        _tool_of(version, entry["id"])
        for version in versions
        for entry in cast("Mapping[str, Any]", version.manifest)["tools"]
    ]
    return tuple(sorted((tool for tool in found if tool is not None), key=lambda tool: tool.id))


def gate(*, tool_name: str, raw_input: object, workspace_id: str, now: datetime) -> SkillGateDecision:
    """Answer gate 4 for a proposal; codes in the order of GateCode, any error denies.

    Whether the workspace allows the `skl_` id is Cedar's question, not this one.
    """
    try:
        return _judge(tool_name, raw_input)
    except Exception:
        log.exception("gate 4 could not judge")
        return SkillGateDecision(Verdict.DENY, GateCode.GATE_FAILED)


def gate_again(
    *,
    skl_id: str | None,
    payload: str | None,
    tool_name: str,
    raw_input: object,
    workspace_id: str,
    now: datetime,
) -> SkillGateDecision:
    """Repeat the gate at claim. Another version or digest than was decided about is `skill.changed`."""
    fresh = gate(tool_name=tool_name, raw_input=raw_input, workspace_id=workspace_id, now=now)
    if fresh.verdict is Verdict.DENY or (fresh.skl_id, fresh.payload_digest) == (skl_id, payload):
        return fresh
    return _answer(GateCode.CHANGED, None)


def load_module(*, tool_name: str, skl_id: str, payload: str) -> SkillModule:
    """Return the module that was decided about, or raise SkillChangedError.

    The version must still be active and its stored manifest and bytes must hash to `payload`.
    """
    version = SkillVersion.objects.select_related("skill__publisher").filter(pk=skl_id).first()
    if version is None or version.status != SkillStatus.ACTIVE or version.payload_digest != payload:
        raise SkillChangedError(detail="The skill version is not the one that was decided about.")
    tool = _tool_of(version, tool_name)
    module = _intact_module(version, tool.module) if tool is not None else None
    if tool is None or module is None:
        raise SkillChangedError(detail="The stored skill does not match its digest.")
    return SkillModule(
        skl_id=version.id,
        skill_id=version.skill.skill_id,
        version=version.version,
        payload_digest=payload,
        module=module,
        entrypoint=tool.entrypoint,
        limits=tool.limits,
        output_schema=tool.output_schema,
    )


def _judge(tool_name: str, raw_input: object) -> SkillGateDecision:
    skill = _skill_of(tool_name)
    if skill is None:
        return SkillGateDecision(Verdict.PASS, GateCode.NOT_APPLICABLE)
    version = _version_of(skill)
    if version is None:
        return SkillGateDecision(Verdict.DENY, GateCode.VERSION_UNKNOWN, skill_id=skill.skill_id)
    tool = _tool_of(version, tool_name)
    return _answer(_code_for(version, tool, raw_input), tool)


def _code_for(version: SkillVersion, tool: SkillTool | None, raw_input: object) -> GateCode:
    refusal = refusal_of(version.status)
    if refusal is not None:
        return refusal
    if version.skill.publisher.state == "revoked":
        return GateCode.PUBLISHER_REVOKED
    return GateCode.TOOL_UNKNOWN if tool is None else _code_for_tool(version, tool, raw_input)


def _code_for_tool(version: SkillVersion, tool: SkillTool, raw_input: object) -> GateCode:
    if _intact_module(version, tool.module) is None:
        return GateCode.CHANGED
    if not Draft202012Validator(dict(tool.input_schema)).is_valid(raw_input):
        return GateCode.INPUT_INVALID
    # Host ABI 1 as built here offers no capability, so nothing that a tool asks for can be bound.
    return GateCode.CAPABILITY_UNBOUND if tool.uses else GateCode.OK


def _answer(code: GateCode, tool: SkillTool | None) -> SkillGateDecision:
    verdict = Verdict.PASS if code is GateCode.OK else Verdict.DENY
    if tool is None:
        return SkillGateDecision(verdict, code)
    return SkillGateDecision(
        verdict=verdict,
        code=code,
        skl_id=tool.skl_id,
        skill_id=tool.skill_id,
        version=tool.version,
        payload_digest=tool.payload_digest,
        status=tool.status,
        publisher=tool.publisher,
        trust=tool.trust,
        risk=tool.risk,
        requires_approval=tool.requires_approval,
        default_sensitive=tool.default_sensitive,
        input_schema=tool.input_schema,
    )


def _skill_of(tool_name: str) -> Skill | None:
    """A tool's id is its skill's id or lies one segment below it."""
    names = {tool_name, tool_name.rpartition(".")[0]} - {""}
    return Skill.objects.filter(skill_id__in=names).order_by("-skill_id").first()


def _version_of(skill: Skill) -> SkillVersion | None:
    rows = SkillVersion.objects.select_related("skill__publisher").filter(skill=skill)
    return rows.filter(status=SkillStatus.ACTIVE).first() or rows.order_by("-release").first()


def _tool_of(version: SkillVersion, tool_name: str) -> SkillTool | None:
    manifest = cast("Mapping[str, Any]", version.manifest)
    entry = next((entry for entry in manifest["tools"] if entry["id"] == tool_name), None)
    if entry is None:
        return None
    return SkillTool(
        id=tool_name,
        skl_id=version.id,
        skill_id=version.skill.skill_id,
        version=version.version,
        description=entry["description"],
        entrypoint=entry["entrypoint"],
        module=entry["module"],
        input_schema=entry["input_schema"],
        output_schema=entry["output_schema"],
        limits=SkillLimits(**manifest["limits"]),
        risk=entry["risk"],
        requires_approval=entry["requires_approval"],
        default_sensitive=entry["default_sensitive"],
        uses=tuple(entry["uses"]),
        payload_digest=version.payload_digest,
        status=version.status,
        publisher=version.skill.publisher.name,
        trust=version.trust,
    )


def _intact_module(version: SkillVersion, path: str) -> bytes | None:
    blob = SkillBlob.objects.filter(pk=version.artifact_digest).first()
    if blob is None:
        return None
    module = bytes(blob.bytes)
    manifest = cast("Mapping[str, object]", version.manifest)
    return module if payload_digest(manifest, path, module) == version.payload_digest else None
