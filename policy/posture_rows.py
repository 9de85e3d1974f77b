"""The stored overrides as plain values, and the one way they change: with an entry of their history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from kernel.clock import wire_time
from kernel.record import Actor, Record
from policy.models import PostureEvent, PostureOverride
from policy.posture import Place, Scope
from policy.types import PostureRow

_MANY_ROWS = frozenset({"scope_reset", "preset_applied", "undone"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a row is to say."""

    state: str
    reason: str
    source: str
    overridable: bool = True
    expires_at: datetime | None = None

    def at(self, place: Place) -> PostureRow:
        """Return it as the row it would be."""
        return PostureRow(place.kind, place.id, self.state, self.overridable, self.expires_at)


@dataclass(frozen=True, slots=True)
class Change:
    """One row before and after, whole, as plain JSON; None where there is no row."""

    tool: str
    place: Place
    before: Mapping[str, object] | None
    after: Mapping[str, object] | None

    @property
    def states(self) -> tuple[str, str]:
        return (_state(self.before), _state(self.after))

    def stored(self) -> dict[str, object]:
        return {
            "tool": self.tool,
            "scope_kind": self.place.kind,
            "scope_id": self.place.id,
            "before": self.before,
            "after": self.after,
        }


@dataclass(frozen=True, slots=True)
class Act:
    """One act of somebody: what its entry in the history says besides the rows.

    `event` is its name in the journal, `posture.…` or `recommendation.…`.
    """

    event: str
    place: Place
    source: str
    reason: str
    actor: Actor
    now: datetime
    record: Record
    tool: str = ""
    undoes: str | None = None
    recommendation: str = ""
    until: datetime | None = None

    @property
    def action(self) -> str:
        """The same act as the history calls it."""
        noun, _, verb = self.event.partition(".")
        return verb if noun == "posture" else f"{noun}_{verb}"


def plain(row: PostureOverride) -> PostureRow:
    return PostureRow(row.scope_kind, row.scope_id, row.state, row.overridable, row.expires_at)


def is_live(row: PostureOverride, now: datetime) -> bool:
    return row.expires_at is None or row.expires_at > now


def version_tag(row: PostureOverride) -> str:
    """Return what no other state of any row ever shares: a row written anew is another row."""
    return f"{row.pk}:{row.version}"


def row_at(tool: str, place: Place) -> PostureOverride | None:
    return PostureOverride.objects.filter(tool=tool, scope_kind=place.kind, scope_id=place.id).first()


def rows_of(tool: str) -> list[PostureRow]:
    """Return every override of one tool."""
    return [plain(row) for row in PostureOverride.objects.filter(tool=tool)]


def rows_along(chain: Sequence[Scope]) -> dict[str, list[PostureOverride]]:
    """Return the overrides of these scopes by tool, expired ones too."""
    kinds = {kind for kind, _ in chain}
    ids = {identifier for _, identifier in chain}
    found: dict[str, list[PostureOverride]] = {}
    for row in PostureOverride.objects.filter(scope_kind__in=kinds, scope_id__in=ids):
        if (row.scope_kind, row.scope_id) in chain:
            found.setdefault(row.tool, []).append(row)
    return found


def write_row(tool: str, place: Place, wanted: Wanted | None, actor: Actor, now: datetime) -> Change:
    """Put a row in the place of what stands there, or take that away. The epoch has been raised."""
    row = row_at(tool, place)
    before = None if row is None else snapshot(row)
    if wanted is None:
        if row is not None:
            row.delete()
        return Change(tool, place, before, None)
    row = row or PostureOverride(tool=tool, scope_kind=place.kind, scope_id=place.id, version=0)
    row.version += 1
    row.state, row.overridable, row.expires_at = wanted.state, wanted.overridable, wanted.expires_at
    row.reason, row.source, row.actor, row.created_at = wanted.reason, wanted.source, actor.id, now
    row.save()
    return Change(tool, place, before, snapshot(row))


def snapshot(row: PostureOverride) -> dict[str, object]:
    """Return a whole row as plain JSON."""
    return {
        "id": row.pk,
        "version": row.version,
        "state": row.state,
        "overridable": row.overridable,
        "reason": row.reason,
        "source": row.source,
        "actor": row.actor,
        "created_at": row.created_at.isoformat(),
        "expires_at": None if row.expires_at is None else row.expires_at.isoformat(),
    }


def enter(act: Act, changes: Iterable[Change]) -> PostureEvent:
    """Record an act in the journal and in the history, under one id."""
    found = tuple(changes)
    before, after = found[0].states if len(found) == 1 else ("", "")
    event_id = act.record(
        event=act.event,
        actor=act.actor,
        subject=act.tool or ":".join(filter(None, act.place.scope)),
        now=act.now,
        data=_journal_data(act, found),
    )
    return PostureEvent.objects.create(
        id=event_id,
        action=act.action,
        tool=act.tool,
        scope_kind=act.place.kind,
        scope_id=act.place.id,
        workspace_id=act.place.workspace_id,
        previous_state=before,
        new_state=after,
        changes=[change.stored() for change in found],
        source=act.source,
        actor=act.actor.id,
        reason=act.reason,
        undoes=act.undoes,
        at=act.now,
    )


def _journal_data(act: Act, changes: tuple[Change, ...]) -> dict[str, object]:
    data: dict[str, object] = {
        "scope_kind": act.place.kind,
        "scope_id": act.place.id,
        "reason": act.reason,
    }
    if act.action in _MANY_ROWS:
        rows = [[one.tool, *one.states] for one in changes]
        return data | {"source": act.source, "undoes": act.undoes, "changes": rows}
    before, after = changes[0].states if changes else ("", "")
    data |= {"tool": act.tool, "before": before, "after": after}
    if not act.recommendation:
        return data | {"source": act.source}
    return data | {"recommendation": act.recommendation, "until": wire_time(act.until)}


def _state(row: Mapping[str, object] | None) -> str:
    return "" if row is None else str(row["state"])
