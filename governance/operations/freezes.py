"""Verbs on freezes: stop everything of a scope, and let it start again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from governance import authority, closing, freezes, idempotency
from governance.authority import needs
from governance.call_state import CallState
from governance.freeze_scopes import FROZEN, LONGEST_REASON, SHORTEST_REASON, FreezeScope
from governance.gates import Gate, GateRow, Verdict
from governance.idempotency import Ticket
from governance.journal.ledger import record
from governance.models import Freeze, Run
from governance.runs.turns import hold_run
from governance.selectors import view_of
from identity.authorization import authorize
from identity.inserting import invalid
from identity.models import Agent
from identity.reach import reaches
from identity.roles import Permission
from identity.selectors import INSTANCE, instance_holders, workspace_by_slug
from identity.types import Principal
from kernel.errors import ConflictError, RefusedError
from kernel.record import Actor, system_actor
from policy.catalog import short_name
from policy.selectors import tool_named
from sandbox import services as sandbox
from sandbox.skills import selectors as skill_selectors
from sandbox.skills.models import Skill

log = logging.getLogger(__name__)

MOST_RUNS = 500
"""Runs that one pass tells or stops; the sweeper takes up the rest. No claim waits for either."""
Render = Callable[[Freeze], object]


@dataclass(frozen=True, slots=True)
class FreezeWishes:
    """What a person asks to be stopped. `scope_id` is empty for `global`."""

    scope: FreezeScope
    reason: str
    scope_id: str = ""
    kill_running: bool = False


@needs(Permission.FREEZE_SET)
def set_freeze(
    *,
    principal: Principal,
    wishes: FreezeWishes,
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> Freeze:
    """Freeze a scope: from the commit on nothing under it starts, and what is queued is refused.

    The permission alone decides and the rules in force are not asked: a freeze only stops, and it is
    for the day when the rules are what is wrong. Lifting asks both. With `kill_running` what runs is killed.
    Raises InvalidError for a scope that does not exist, ConflictError `conflict` when it is frozen already.
    """
    with transaction.atomic(durable=True):
        workspace_id, scope_id = _scope(principal, wishes, now)
        authority.require_fresh_code(principal, now)
        freeze = freezes.set_freeze(
            scope=wishes.scope,
            scope_id=scope_id,
            workspace_id=workspace_id,
            reason=_said(wishes.reason, SHORTEST_REASON),
            kill_running=wishes.kill_running,
            actor=principal.actor(),
            now=now,
            record=record,
        )
        idempotency.store_rendered(ticket, render, freeze, status=201, object_id=freeze.id)
    hit = freezes.runs_hit(freeze, MOST_RUNS)
    _each_run(freeze, (*freezes.runs_to_stop(freeze, MOST_RUNS), *hit), principal.actor(), now)
    return freeze


@needs(Permission.FREEZE_SET)
def lift(
    *,
    principal: Principal,
    freeze_id: str,
    reason: str = "",
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> Freeze:
    """Let a scope start again; what the freeze found in the queue stays refused.

    A global freeze is lifted by another person than its setter, unless nobody else holds the permission in
    `instance`: then `single_operator` is recorded. Raises RefusedError `four_eyes_required`, ConflictError
    `state_changed` for a freeze that was lifted.
    """
    with transaction.atomic(durable=True):
        freeze = freezes.require_freeze(principal, freeze_id)
        authority.require_verb(principal, Permission.FREEZE_SET, freeze.workspace_id, now)
        authority.require_fresh_code(principal, now)
        alone = _alone_or_second(principal, freeze, now)
        for run_id in sorted(freezes.runs_to_stop(freeze, MOST_RUNS)):
            hold_run(run_id)
            _stop_run(freeze, run_id, principal.actor(), now)
        freeze = freezes.lift_freeze(
            freeze=freeze,
            reason=_said(reason, 0),
            single_operator=alone,
            actor=principal.actor(),
            now=now,
            record=record,
        )
        idempotency.store_rendered(ticket, render, freeze, status=200, object_id=freeze.id)
    actor = principal.actor()
    _guarded_each(freezes.runs_told(freeze, MOST_RUNS), lambda one: _tell_lifted(freeze, one, actor, now))
    return freeze


@needs(Permission.RUNS_READ)
def request_lift(*, principal: Principal, freeze_id: str, reason: str, now: datetime) -> Freeze:
    """Leave on record that this person wants the freeze lifted; once for each person. It lifts nothing."""
    with transaction.atomic(durable=True):
        freeze = freezes.require_freeze(principal, freeze_id)
        authority.require_permission(principal, Permission.RUNS_READ, principal.workspace_id, now)
        if freeze.state != "active":
            raise ConflictError("state_changed", "The freeze was lifted already.")
        if principal.id in {asked.by for asked in freezes.lift_requests(freeze)}:
            raise ConflictError("conflict", "You asked for it already.")
        record(
            event="freeze.lift_requested",
            actor=principal.actor(),
            subject=freeze.id,
            now=now,
            data={"reason": _said(reason, SHORTEST_REASON)},
        )
    return freeze


@needs(None)
def enforce(now: datetime) -> int:
    """Refuse and kill what active freezes cover and their setters could not reach, as the sweeper."""
    done = 0
    for freeze in Freeze.objects.filter(state="active").order_by("id"):
        runs = freezes.runs_to_stop(freeze, MOST_RUNS)
        _each_run(freeze, runs, system_actor("sweeper"), now)
        done += len(runs)
    return done


def _scope(principal: Principal, wishes: FreezeWishes, now: datetime) -> tuple[str, str]:
    """Return the workspace in which the freeze stands and the scope's id as calls name it."""
    authority.require_permission(principal, Permission.FREEZE_SET, principal.workspace_id, now)
    if wishes.scope is FreezeScope.GLOBAL:
        if wishes.scope_id:
            raise invalid("/scope_id", "unexpected", "A freeze of everything names nothing.")
        if not _holds_everywhere(principal, now):
            raise RefusedError("role_required", "This needs freeze.set in the workspace instance.")
        return workspace_by_slug(INSTANCE).pk, ""
    if not wishes.scope_id:
        raise invalid("/scope_id", "required", f"Name the {wishes.scope} to freeze.")
    workspace_id = _home_of(principal, wishes)
    if workspace_id is None:
        place = (
            workspace_by_slug(INSTANCE).pk if _holds_everywhere(principal, now) else principal.workspace_id
        )
        return place, _known(wishes.scope, wishes.scope_id, place)
    authority.require_permission(principal, Permission.FREEZE_SET, workspace_id, now)
    if wishes.scope is FreezeScope.RUN and not Run.objects.filter(pk=wishes.scope_id, state="open").exists():
        raise ConflictError("run.closed", "The run is closed; nothing starts in it.")
    return workspace_id, wishes.scope_id


def _home_of(principal: Principal, wishes: FreezeWishes) -> str | None:
    """The workspace that an agent or run belongs to; None for what workspaces share."""
    if wishes.scope is FreezeScope.AGENT:
        home = Agent.objects.filter(pk=wishes.scope_id).values_list("workspace_id", flat=True).first()
    elif wishes.scope is FreezeScope.RUN:
        home = Run.objects.filter(pk=wishes.scope_id).values_list("workspace_id", flat=True).first()
    else:
        return None
    if home is None or not reaches(principal, home):
        raise invalid("/scope_id", "unknown", f"There is no such {wishes.scope}.")
    return home


def _known(scope: FreezeScope, scope_id: str, place: str) -> str:
    """The id as calls carry it; a typing error must not look like a freeze that holds.

    A device is known by a run that came from it to where the freeze is to stand.
    """
    if scope is FreezeScope.TOOL:
        tool = tool_named(scope_id)
        if tool is not None:
            return tool.name
        if skill_selectors.resolve(scope_id) is not None:
            return short_name(scope_id)
    elif scope is FreezeScope.SKILL:
        if Skill.objects.filter(skill_id=scope_id).exists():
            return scope_id
    elif _came_here(scope_id, place):
        return scope_id
    raise invalid("/scope_id", "unknown", f"There is no such {scope}.")


def _came_here(device_id: str, place: str) -> bool:
    runs = Run.objects.filter(device_id=device_id)
    return (runs if place in freezes.instance_ids() else runs.filter(workspace_id=place)).exists()


def _holds_everywhere(principal: Principal, now: datetime) -> bool:
    verdict = authorize(
        principal,
        Permission.FREEZE_SET,
        workspace_id=workspace_by_slug(INSTANCE).pk,
        flags=principal.flags,
        now=now,
    )
    return verdict.allowed


def _alone_or_second(principal: Principal, freeze: Freeze, now: datetime) -> bool:
    """Tell whether the setter of a global freeze lifts it alone; RefusedError when somebody else could."""
    if freeze.scope != FreezeScope.GLOBAL or principal.id != freeze.set_by:
        return False
    if instance_holders(Permission.FREEZE_SET, now) - {principal.id}:
        raise RefusedError(
            "four_eyes_required", "Another person than who set it lifts a freeze of everything."
        )
    return True


def _said(reason: str, shortest: int) -> str:
    text = reason.strip()
    if not shortest <= len(text) <= LONGEST_REASON:
        raise invalid("/reason", "length", f"Say why, in {shortest} to {LONGEST_REASON} characters.")
    return text


def _each_run(freeze: Freeze, run_ids: Iterable[str], actor: Actor, now: datetime) -> None:
    """Stop and tell runs, each in its own transaction; the freeze holds whether or not that succeeds."""

    def act(run_id: str) -> None:
        with transaction.atomic(durable=True):
            hold_run(run_id)
            if Freeze.objects.filter(id=freeze.id, state="active").exists():
                _stop_run(freeze, run_id, actor, now)

    _guarded_each(tuple(dict.fromkeys(run_ids)), act)


def _guarded_each(run_ids: Iterable[str], act: Callable[[str], None]) -> None:
    for run_id in run_ids:
        try:
            act(run_id)
        except Exception:
            log.exception("a freeze could not be carried into run %s; the sweeper tries again", run_id)


def _stop_run(freeze: Freeze, run_id: str, actor: Actor, now: datetime) -> None:
    """Refuse what is queued in a run whose turn is held, and have what runs killed where that was asked."""
    refused = stopping = 0
    for call in freezes.calls_to_stop(freeze, run_id):
        if view_of(call).state is CallState.QUEUED:
            row = GateRow(Gate.RUN, Verdict.DENY, FROZEN, "A freeze is in force.", None, 0.0)
            closing.close_refused(call, row, actor, now)
            refused += 1
        else:
            sandbox.request_cancel(
                execution_id=call.execution_id or "", reason=FROZEN, actor=actor, now=now, record=record
            )
            stopping += 1
    if not freezes.is_told(freeze, run_id):
        record(
            event="run.frozen",
            actor=actor,
            subject=freeze.id,
            now=now,
            data={"scope": freeze.scope, "refused": refused, "stopping": stopping},
            run=run_id,
        )


def _tell_lifted(freeze: Freeze, run_id: str, actor: Actor, now: datetime) -> None:
    with transaction.atomic(durable=True):
        hold_run(run_id)
        record(
            event="run.unfrozen",
            actor=actor,
            subject=freeze.id,
            now=now,
            data={"scope": freeze.scope},
            run=run_id,
        )
