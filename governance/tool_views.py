"""One tool with everything a person needs to judge it: its versions, its list, its posture, its tier."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from governance import checks
from governance.catalog import ToolEntry, entry_named
from governance.placement import backing_refusal
from identity.types import Principal
from policy.models import ToolVersion
from policy.outlook import allowlisted_tools

MOST_VERSIONS = 50


@dataclass(frozen=True, slots=True)
class ToolView:
    """`unbacked` is the code and the sentence of why nothing could run it now, or None.

    `versions` are newest first and at most 50; a skill's tool has none.
    """

    entry: ToolEntry
    allowlisted: bool
    versions: tuple[ToolVersion, ...]
    unbacked: tuple[str, str] | None

    @property
    def edit_version(self) -> int:
        return self.entry.tool.edit_version if self.entry.tool else 0

    @property
    def current(self) -> ToolVersion | None:
        return next((row for row in self.versions if str(row.version) == self.entry.version), None)


def tool_view(principal: Principal, name: str, now: datetime) -> ToolView:
    """Return one tool as this principal sees it; NotFoundError `tool_not_found` when there is none."""
    entry = entry_named(principal, name, now)
    tool, skill = entry.tool, entry.skill
    target = checks.tool_target(tool, {}, None) if tool else checks.skill_target(skill, {}) if skill else None
    refusal = (
        backing_refusal(target, workspace_id=principal.workspace_id, now=now)
        if target is not None and entry.runtime_supported
        else None
    )
    versions = ToolVersion.objects.filter(tool__name=entry.name).order_by("-version") if tool else ()
    return ToolView(
        entry=entry,
        allowlisted=entry.name in allowlisted_tools(principal.workspace_id),
        versions=tuple(versions[:MOST_VERSIONS]),
        unbacked=None if refusal is None else (refusal.code, refusal.message),
    )
