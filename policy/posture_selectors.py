"""What posture comes to in one place, for every tool at once. Reads only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet

from kernel.errors import NotFoundError
from policy.models import PostureEvent, PostureOverride, RecommendationAnswer
from policy.posture import Place, effective_posture
from policy.posture_rows import is_live, plain, rows_along
from policy.presets import Preset, PreviewRow, Standing, preview
from policy.recommendations import PutOff, StoredOverride
from policy.selectors import list_tools, locks_within
from policy.types import EffectivePosture, ScopeKind, ToolFacts

LIMITS_UNREADABLE = "The workspace has no limits for tool calls."


@dataclass(frozen=True, slots=True)
class PostureView:
    """One tool in one place: what its posture comes to, and the rows along the chain, broadest first.

    `override` is the live row of this very place, or None.
    """

    tool: ToolFacts
    posture: EffectivePosture
    rows: tuple[PostureOverride, ...]
    override: PostureOverride | None


def postures_at(place: Place, host_locks: Mapping[str, str], now: datetime) -> tuple[PostureView, ...]:
    """Return every tool of the catalog by name as it stands in this place."""
    stored, locks = rows_along(place.chain), _locks_at(place, host_locks)
    return tuple(
        _view(tool, place, stored.get(tool.name, []), locks(tool), now)
        for tool in list_tools(place.workspace_id)
    )


def previewed(
    preset: Preset,
    place: Place,
    host_locks: Mapping[str, str],
    *,
    expires_at: datetime | None,
    now: datetime,
) -> tuple[PreviewRow, ...]:
    """Return what a preset would do in this place. `expires_at` ends what it allows."""
    stored, locks = rows_along(place.chain), _locks_at(place, host_locks)
    catalog = [
        Standing(
            tool=tool,
            overrides=[plain(row) for row in stored.get(tool.name, [])],
            locks=locks(tool),
        )
        for tool in list_tools(place.workspace_id)
    ]
    return preview(preset, catalog, place, expires_at=expires_at, now=now)


def unlocked_tools(workspace_id: str, host_locks: Mapping[str, str]) -> tuple[ToolFacts, ...]:
    """Return the tools of the catalog that nothing locks in this workspace."""
    locks = _locks_at(Place(ScopeKind.WORKSPACE, workspace_id, workspace_id), host_locks)
    return tuple(tool for tool in list_tools(workspace_id) if not locks(tool))


def overrides_within(workspace_id: str, chains: Mapping[str, Place], now: datetime) -> list[StoredOverride]:
    """Return the live overrides that count in a workspace, each with the chain that leads to it.

    `chains` says by scope id where the agents and sessions of this workspace lie.
    """
    here = Q(scope_kind=ScopeKind.GLOBAL) | Q(scope_kind=ScopeKind.WORKSPACE, scope_id=workspace_id)
    inner = Q(scope_kind__in=(ScopeKind.AGENT, ScopeKind.SESSION), scope_id__in=tuple(chains))
    home = Place(ScopeKind.WORKSPACE, workspace_id, workspace_id)
    return [
        StoredOverride(
            tool=row.tool,
            row=plain(row),
            chain=(
                home.broader if row.scope_kind == ScopeKind.GLOBAL else chains.get(row.scope_id, home).chain
            ),
            since=row.created_at,
        )
        for row in PostureOverride.objects.filter(here | inner)
        if is_live(row, now)
    ]


def put_off(workspace_id: str, now: datetime) -> list[PutOff]:
    """Return what is hidden in a workspace now. What was said about a global row counts everywhere."""
    rows = RecommendationAnswer.objects.filter(workspace_id__in=(workspace_id, ""), until__gt=now)
    return [PutOff(row.recommendation_id, row.until) for row in rows]


def events_in(workspace_id: str | None) -> QuerySet[PostureEvent]:
    """Return the history that counts in a workspace: its own and the global one; None for all."""
    rows = PostureEvent.objects.all()
    return rows if workspace_id is None else rows.filter(workspace_id__in=(workspace_id, ""))


def _view(
    tool: ToolFacts, place: Place, rows: list[PostureOverride], locks: tuple[str, ...], now: datetime
) -> PostureView:
    order = {scope: number for number, scope in enumerate(place.chain)}
    live = sorted(
        (row for row in rows if is_live(row, now)), key=lambda row: order[row.scope_kind, row.scope_id]
    )
    posture = effective_posture(
        requires_approval=tool.requires_approval,
        chain=place.chain,
        overrides=[plain(row) for row in live],
        locks=locks,
        now=now,
    )
    own = next((row for row in live if (row.scope_kind, row.scope_id) == place.scope), None)
    return PostureView(tool, posture, tuple(live), own)


def _locks_at(place: Place, host_locks: Mapping[str, str]) -> Callable[[ToolFacts], tuple[str, ...]]:
    """Return what locks a tool in this place; without the workspace's limits everything is locked."""
    try:
        reasons = locks_within(place.workspace_id)
    except NotFoundError:
        return lambda tool: (LIMITS_UNREADABLE,)
    return lambda tool: reasons(tool, host_locks.get(tool.name, ""))
