"""Postures, presets, history and recommendations as they travel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from governance.api.etags import etag
from kernel.clock import wire_time
from policy.models import PostureEvent, PostureOverride
from policy.posture import Place
from policy.posture_selectors import PostureView
from policy.presets import Preset, PreviewRow
from policy.recommendations import Recommendation


def tag_of(row: PostureOverride) -> str:
    """Return the entity tag of an override; a row written anew is another object."""
    return etag(f"posture-{row.pk}", row.version)


def render_posture(view: PostureView, place: Place) -> dict[str, Any]:
    found = view.posture
    return {
        "id": view.tool.name,
        "object": "posture",
        "tool": view.tool.name,
        "risk": view.tool.risk,
        "scope_kind": place.kind,
        "scope_id": place.id,
        "state": found.state,
        "default_state": found.default_state,
        "source_scope": found.source_scope,
        "explicit": found.explicit,
        "editable": found.editable,
        "lock_reason": found.lock_reason or None,
        "override": None if view.override is None else render_override(view.override),
        "chain": [render_override(row) for row in view.rows],
    }


def render_override(row: PostureOverride) -> dict[str, Any]:
    return {
        "object": "posture_override",
        "tool": row.tool,
        "scope_kind": row.scope_kind,
        "scope_id": row.scope_id,
        "state": row.state,
        "overridable": row.overridable,
        "reason": row.reason,
        "source": row.source,
        "actor": row.actor,
        "created_at": wire_time(row.created_at),
        "expires_at": wire_time(row.expires_at),
        "etag": tag_of(row),
    }


def render_preset(preset: Preset) -> dict[str, Any]:
    return {
        "id": preset.id,
        "object": "posture_preset",
        "title": preset.title,
        "description": preset.description,
        "says": {name: state.value for name, state in preset.says.items()},
        "rest": None if preset.rest is None else preset.rest.value,
        "spares_readers": preset.spares_readers,
    }


def render_preview(preset: Preset, place: Place, rows: Iterable[PreviewRow]) -> dict[str, Any]:
    return {
        "object": "posture_preview",
        "preset": preset.id,
        "scope_kind": place.kind,
        "scope_id": place.id,
        "rows": [asdict(row) | {"lock_reason": row.lock_reason or None} for row in rows],
    }


def render_event(event: PostureEvent) -> dict[str, Any]:
    return {
        "id": event.pk,
        "object": "posture_event",
        "action": event.action,
        "tool": event.tool or None,
        "scope_kind": event.scope_kind,
        "scope_id": event.scope_id,
        "previous_state": event.previous_state or None,
        "new_state": event.new_state or None,
        "changes": [{name: change[name] for name in ("tool", "before", "after")} for change in event.changes],
        "source": event.source,
        "actor": event.actor,
        "reason": event.reason,
        "undoes": event.undoes,
        "at": wire_time(event.at),
    }


def render_act(event: PostureEvent | None) -> dict[str, Any]:
    """Return what an act came to; None when nothing had to change."""
    return {
        "object": "posture_act",
        "undo_id": None if event is None else event.pk,
        "event": None if event is None else render_event(event),
    }


def render_recommendation(one: Recommendation) -> dict[str, Any]:
    facts = one.facts
    return {
        "id": one.id,
        "object": "posture_recommendation",
        "kind": one.kind,
        "tool": one.tool,
        "scope_kind": str(one.scope[0]),
        "scope_id": one.scope[1],
        "current": str(one.current),
        "target": str(one.target),
        "reason": one.reason,
        "facts": {
            "requested": facts.requested,
            "approved": facts.approved,
            "denied": facts.denied,
            "expired": facts.expired,
            "pending": facts.pending,
            "sessions": facts.sessions,
            "last_at": wire_time(facts.last_at),
        },
    }
