"""Words of the posture pages: where a tool belongs, where a state comes from, how long a row lasts."""

from __future__ import annotations

from datetime import timedelta

from policy.models import PostureEvent
from policy.posture import Place
from policy.posture_selectors import PostureView
from policy.types import ScopeKind

SCOPES = {
    ScopeKind.GLOBAL.value: "everywhere",
    ScopeKind.WORKSPACE.value: "this workspace",
    ScopeKind.AGENT.value: "the agent",
    ScopeKind.SESSION.value: "the session",
}
STATES = (
    ("always_allow", "Always allow"),
    ("ask_each_time", "Ask each time"),
    ("disabled", "Disabled"),
)
ENDS = (
    ("", "Until it is changed"),
    ("1", "For 1 hour"),
    ("12", "For 12 hours"),
    ("24", "For 24 hours"),
    ("168", "For 7 days"),
    ("720", "For 30 days"),
)
ACTIONS = {
    "override_set": "Set",
    "override_cleared": "Cleared",
    "override_expired": "Ended by itself",
    "scope_reset": "Scope reset",
    "preset_applied": "Preset applied",
    "undone": "Undone",
    "recommendation_accepted": "Recommendation accepted",
    "recommendation_dismissed": "Recommendation dismissed",
    "recommendation_deferred": "Recommendation deferred",
}
_GROUPS = {
    "fs": "Files",
    "http": "Network",
    "process": "Commands",
    "memory": "Memory",
    "artifact": "Memory",
    "browser": "Browser",
    "plugin": "Skills and programs",
    "tool_program": "Skills and programs",
    "routines": "Skills and programs",
}
_KINDS = {"custom": "Custom tools", "upstream": "Tools of upstreams"}
ORDER = (
    "Basics", "Files", "Commands", "Network", "Memory", "Skills and programs", "Custom tools",
    "Tools of upstreams", "Browser",
)  # fmt: skip


def group_of(view: PostureView) -> str:
    """Return the heading a tool stands under."""
    if view.tool.kind in _KINDS:
        return _KINDS[view.tool.kind]
    return _GROUPS.get(view.tool.name.partition(".")[0], "Basics")


def is_held(view: PostureView, place: Place) -> bool:
    """Tell whether something above this scope decides, so that a looser row here would not count."""
    found = view.posture
    if not found.editable:
        return True
    above = found.source_scope not in (place.kind, "default")
    pinned = any(not row.overridable and row.scope_kind != place.kind for row in view.rows)
    return above and (found.state == "disabled" or pinned)


def origin(view: PostureView, place: Place) -> str:
    """Return where the state of a cell comes from."""
    found = view.posture
    if found.lock_reason:
        return found.lock_reason
    if found.source_scope == "default":
        return "by default"
    if found.source_scope == place.kind:
        return "set here"
    return f"set for {SCOPES[found.source_scope]}"


def end_of(typed: str) -> timedelta | None:
    """Return how long a row lasts, None for without end; anything but an offered choice is a KeyError."""
    hours = {key: int(key) if key else None for key, _ in ENDS}[typed]
    return None if hours is None else timedelta(hours=hours)


def action_word(event: PostureEvent) -> str:
    """Return what an act of the history was."""
    word = ACTIONS.get(event.action, event.action)
    if event.action == "preset_applied":
        return f"{word}: {event.source.removeprefix('preset:')}"
    return word
