"""Acts on many overrides at once, undoing, and answers to recommendations: one entry of history each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from kernel.errors import ConflictError, Detail, InvalidError, NotFoundError, PalyraError
from policy.epoch import raise_epoch
from policy.models import PostureEvent, PostureOverride, RecommendationAnswer
from policy.posture import Place
from policy.posture_rows import Act, Change, Wanted, enter, row_at, snapshot, write_row
from policy.posture_selectors import previewed
from policy.postures import Asking, check_reason, check_row, require_posture_authority, require_tool
from policy.presets import BY_ID, Preset
from policy.recommendations import Recommendation
from policy.types import PostureState

UNDOABLE = frozenset(
    {"override_set", "override_cleared", "scope_reset", "preset_applied", "undone", "recommendation_accepted"}
)
HIDDEN_FOR = {"dismiss": timedelta(days=30), "defer": timedelta(days=7)}


def preset_named(preset_id: str) -> Preset:
    """Return a preset, or raise NotFoundError."""
    preset = BY_ID.get(preset_id)
    if preset is None:
        raise NotFoundError("not_found", "There is no such preset.")
    return preset


def reset_scope(*, place: Place, asking: Asking) -> PostureEvent | None:
    """Delete every override of exactly one scope; None when there is none. Needs `posture.manage`.

    Asks for a fresh code when any tool becomes freer by it.
    """
    require_posture_authority(asking, "", place)
    check_reason(asking.reason)
    raise_epoch()
    rows = PostureOverride.objects.filter(scope_kind=place.kind, scope_id=place.id).order_by("tool")
    wanted: dict[str, Wanted | None] = dict.fromkeys(rows.values_list("tool", flat=True))
    return _write_all(place, wanted, asking, event="posture.scope_reset", source="manual")


def apply_preset(
    *, preset: Preset, place: Place, expires_at: datetime | None, asking: Asking
) -> PostureEvent | None:
    """Write what the preset changes here, all or nothing; None when it changes nothing.

    Locked tools are skipped. `expires_at` ends the rows that allow. Raises InvalidError
    `posture_too_loose` that names every tool which may not be allowed so, and AuthenticationError
    `step_up_required` when any tool becomes freer and no fresh code was proved.
    """
    require_posture_authority(asking, "", place)
    check_reason(asking.reason)
    if expires_at is not None and expires_at <= asking.now:
        raise _at("/expires_at", "must be in the future")
    raise_epoch()
    source = f"preset:{preset.id}"
    wanted: dict[str, Wanted | None] = {
        row.tool: Wanted(
            state=row.proposed,
            reason=asking.reason,
            source=source,
            expires_at=expires_at if row.proposed == PostureState.ALWAYS_ALLOW else None,
        )
        for row in previewed(preset, place, asking.host_locks, expires_at=expires_at, now=asking.now)
        if row.changed
    }
    return _write_all(place, wanted, asking, event="posture.preset_applied", source=source)


def undo_posture(*, event: PostureEvent, place: Place, asking: Asking) -> PostureEvent:
    """Put the rows back as they were before an act, once, if nobody changed them since.

    The rules of posture hold for what is put back as for anything else. ConflictError `state_changed`
    when a row is no longer as the act left it or the act was undone, `conflict` when there is nothing
    to put back.
    """
    require_posture_authority(asking, event.tool, place)
    check_reason(asking.reason)
    raise_epoch()
    if event.action not in UNDOABLE or not event.changes:
        raise ConflictError("conflict", "This act changed nothing that could be put back.")
    if PostureEvent.objects.filter(undoes=event.pk).exists():
        raise ConflictError("state_changed", "This act was undone already.")
    wanted = {change["tool"]: _as_before(change, asking.now) for change in event.changes}
    return _put_back(event, place, wanted, asking)


def accept_recommendation(*, recommendation: Recommendation, place: Place, asking: Asking) -> PostureEvent:
    """Write the override that a recommendation proposes. Needs `posture.manage`.

    The caller has just found that it still holds, behind the raised epoch. Raises what `set_posture`
    raises.
    """
    require_posture_authority(asking, recommendation.tool, place)
    check_reason(asking.reason)
    raise_epoch()
    tool = require_tool(recommendation.tool)
    source = f"recommendation:{recommendation.id}"
    wanted = Wanted(recommendation.target, asking.reason, source)
    check_row(tool, place, wanted, asking)
    change = write_row(tool.name, place, wanted, asking.actor, asking.now)
    return _answer(recommendation, "accept", place, (change,), asking, event="recommendation.accepted")


def put_off_recommendation(
    *, recommendation: Recommendation, answer: str, place: Place, asking: Asking
) -> PostureEvent:
    """Hide a recommendation: 30 days for `dismiss`, 7 for `defer`. Needs `posture.manage`."""
    require_posture_authority(asking, recommendation.tool, place)
    check_reason(asking.reason)
    if answer == "dismiss":
        return _answer(recommendation, answer, place, (), asking, event="recommendation.dismissed")
    return _answer(recommendation, answer, place, (), asking, event="recommendation.deferred")


def _answer(
    recommendation: Recommendation,
    answer: str,
    place: Place,
    changes: Iterable[Change],
    asking: Asking,
    *,
    event: str,
) -> PostureEvent:
    until = asking.now + HIDDEN_FOR.get(answer, timedelta())
    RecommendationAnswer.objects.create(
        recommendation_id=recommendation.id,
        workspace_id=place.workspace_id,
        answer=answer,
        actor=asking.actor.id,
        at=asking.now,
        until=until,
    )
    act = _act(place, asking, event=event, source=f"recommendation:{recommendation.id}")
    told = replace(
        act,
        tool=recommendation.tool,
        recommendation=recommendation.id,
        until=until if answer in HIDDEN_FOR else None,
    )
    return enter(told, changes)


def _write_all(
    place: Place, wanted: Mapping[str, Wanted | None], asking: Asking, *, event: str, source: str
) -> PostureEvent | None:
    _check_all(place, wanted, asking)
    changes = [write_row(tool, place, row, asking.actor, asking.now) for tool, row in wanted.items()]
    return enter(_act(place, asking, event=event, source=source), changes) if changes else None


def _put_back(
    event: PostureEvent, place: Place, wanted: Mapping[str, Wanted | None], asking: Asking
) -> PostureEvent:
    for change in event.changes:
        row = row_at(change["tool"], place)
        if not _is_same(None if row is None else snapshot(row), change["after"]):
            raise ConflictError("state_changed", f"{change['tool']} was changed since.")
    standing = {tool: row for tool, row in wanted.items() if row is not None or row_at(tool, place)}
    if not standing:
        raise ConflictError("conflict", "What stood there before has ended meanwhile.")
    _check_all(place, standing, asking)
    changes = [write_row(tool, place, row, asking.actor, asking.now) for tool, row in standing.items()]
    act = _act(place, asking, event="posture.undone", source=f"undo:{event.pk}")
    return enter(replace(act, tool=event.tool, undoes=event.pk), changes)


def _check_all(place: Place, wanted: Mapping[str, Wanted | None], asking: Asking) -> None:
    """Raise the first refusal; of rows that are too loose all are named at once."""
    loose: list[str] = []
    for tool, row in wanted.items():
        try:
            check_row(require_tool(tool), place, row, asking)
        except InvalidError as refusal:
            if refusal.code != "posture_too_loose":
                raise
            loose.append(f"{tool}: {refusal.detail}")
        except PalyraError:
            if not loose:
                raise
    if loose:
        errors = tuple(Detail(f"/tools/{one.partition(':')[0]}", "posture_too_loose", one) for one in loose)
        raise InvalidError("posture_too_loose", " ".join(loose)[:900], errors=errors)


def _as_before(change: Mapping[str, object], now: datetime) -> Wanted | None:
    before = change["before"]
    if not isinstance(before, dict):
        return None
    end = before["expires_at"]
    expires_at = None if end is None else datetime.fromisoformat(end)
    if expires_at is not None and expires_at <= now:
        return None
    return Wanted(before["state"], before["reason"], before["source"], before["overridable"], expires_at)


def _is_same(now: Mapping[str, object] | None, then: Mapping[str, object] | None) -> bool:
    if now is None or then is None:
        return now is then
    return (now["id"], now["version"]) == (then["id"], then["version"])


def _act(place: Place, asking: Asking, *, event: str, source: str) -> Act:
    return Act(
        event=event,
        place=place,
        source=source,
        reason=asking.reason,
        actor=asking.actor,
        now=asking.now,
        record=asking.record,
    )


def _at(pointer: str, sentence: str) -> InvalidError:
    return InvalidError("invalid", f"{pointer} {sentence}.", errors=(Detail(pointer, "value", sentence),))
