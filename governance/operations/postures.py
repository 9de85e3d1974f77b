"""Verbs on postures. Each is one transaction with an entry of the history that can be undone."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from governance import authority, idempotency, postures
from governance.authority import needs
from governance.idempotency import Ticket
from governance.journal.ledger import record
from identity.roles import Permission
from identity.types import Principal
from kernel.errors import ConflictError, InvalidError, NotFoundError
from policy import services as policy
from policy.epoch import raise_epoch
from policy.models import PostureEvent, PostureOverride
from policy.posture import Place
from policy.posture_acts import preset_named
from policy.recommendations import Recommendation

Render = Callable[[PostureEvent | None], object]
ANSWERS = ("accept", "dismiss", "defer")
_RECOMMENDATION = re.compile(
    r"rec:(loosen|tighten):(global|workspace|agent|session):[^:]{0,128}:[^:]+:[a-z_]+"
)


@dataclass(frozen=True, slots=True)
class PostureWishes:
    """What a person wants a tool's override to say."""

    state: str
    reason: str = ""
    overridable: bool = True
    expires_at: datetime | None = None


@needs(Permission.POSTURE_MANAGE)
def set_override(
    *,
    principal: Principal,
    place: Place,
    tool: str,
    wishes: PostureWishes,
    seen: str | None,
    now: datetime,
) -> PostureOverride:
    """Set the posture of a tool in one place, against the row that was seen there."""
    override = policy.OverrideInput(
        tool=tool,
        scope_kind=place.kind,
        scope_id=place.id,
        state=wishes.state,
        reason=wishes.reason,
        overridable=wishes.overridable,
        expires_at=wishes.expires_at,
        otp_verified_at=postures.code_at(principal, now),
        seen=seen,
        place=place,
    )
    with transaction.atomic(durable=True):
        authority.require_permission(principal, Permission.POSTURE_MANAGE, place.workspace_id, now)
        return policy.set_posture(
            override=override,
            actor=principal.actor(),
            now=now,
            record=record,
            host_locks=postures.host_locks(now),
        )


@needs(Permission.POSTURE_MANAGE)
def clear_override(
    *, principal: Principal, place: Place, tool: str, seen: str | None, reason: str = "", now: datetime
) -> PostureEvent:
    """Take the override of a tool in one place away, as it was seen."""
    with transaction.atomic(durable=True):
        asking = _asking(principal, place, reason, now)
        return policy.clear_posture(tool=tool, place=place, asking=asking, seen=seen)


@needs(Permission.POSTURE_MANAGE)
def reset(
    *,
    principal: Principal,
    place: Place,
    reason: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> PostureEvent | None:
    """Take every override of one scope away; None when there was none."""
    with transaction.atomic(durable=True):
        event = policy.reset_scope(place=place, asking=_asking(principal, place, reason, now))
        _store(ticket, render, event)
    return event


@needs(Permission.POSTURE_MANAGE)
def apply_preset(
    *,
    principal: Principal,
    place: Place,
    preset_id: str,
    reason: str,
    expires_at: datetime | None,
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> PostureEvent | None:
    """Write what a preset changes in one scope, all or nothing; None when it changes nothing."""
    preset = preset_named(preset_id)
    with transaction.atomic(durable=True):
        asking = _asking(principal, place, reason, now)
        event = policy.apply_preset(preset=preset, place=place, expires_at=expires_at, asking=asking)
        _store(ticket, render, event)
    return event


@needs(Permission.POSTURE_MANAGE)
def undo(
    *,
    principal: Principal,
    event_id: str,
    reason: str = "",
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> PostureEvent:
    """Put back what an act of the history changed, once, if nobody changed it since."""
    undone = postures.require_event(principal, event_id)
    place = postures.place_of_event(principal, undone)
    with transaction.atomic(durable=True):
        asking = _asking(principal, place, reason, now)
        event = policy.undo_posture(event=undone, place=place, asking=asking)
        _store(ticket, render, event)
    return event


@needs(Permission.POSTURE_MANAGE)
def answer(
    *,
    principal: Principal,
    recommendation_id: str,
    answer: str,
    reason: str = "",
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> PostureEvent:
    """Accept, dismiss or defer a recommendation of the principal's workspace.

    It is computed again behind the lock; ConflictError `recommendation_stale` when it no longer holds.
    """
    if answer not in ANSWERS:
        raise InvalidError("invalid", "An answer is accept, dismiss or defer.")
    with transaction.atomic(durable=True):
        authority.require_permission(principal, Permission.POSTURE_MANAGE, principal.workspace_id, now)
        if answer == "accept":
            raise_epoch()
        found = _require_standing(principal, recommendation_id, now)
        place = postures.place_for(principal, *found.scope)
        asking = _asking(principal, place, reason or found.reason, now)
        if answer == "accept":
            event = policy.accept_recommendation(recommendation=found, place=place, asking=asking)
        else:
            event = policy.put_off_recommendation(
                recommendation=found, answer=answer, place=place, asking=asking
            )
        _store(ticket, render, event)
    return event


def _require_standing(principal: Principal, recommendation_id: str, now: datetime) -> Recommendation:
    if _RECOMMENDATION.fullmatch(recommendation_id) is None:
        raise NotFoundError("not_found", "There is no such recommendation.")
    for one in postures.recommendations(principal.workspace_id, now, answers=()):
        if one.id == recommendation_id:
            return one
    raise ConflictError("recommendation_stale", "It no longer holds; list the recommendations again.")


def _asking(principal: Principal, place: Place, reason: str, now: datetime) -> policy.Asking:
    """Return who asks, once the matrix lets them."""
    authority.require_permission(principal, Permission.POSTURE_MANAGE, place.workspace_id, now)
    return policy.Asking(
        actor=principal.actor(),
        now=now,
        record=record,
        otp_verified_at=postures.code_at(principal, now),
        host_locks=postures.host_locks(now),
        reason=reason,
    )


def _store(ticket: Ticket | None, render: Render | None, event: PostureEvent | None) -> None:
    if render is not None:
        object_id = event.pk if event is not None else None
        idempotency.store(ticket, status=200, body=render(event), object_id=object_id)
