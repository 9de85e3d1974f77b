"""Verbs that try out policy sets: simulate one on what was decided before, put one into shadow."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from django.db import transaction

from governance import authority, idempotency, wakeup
from governance.authority import needs
from governance.idempotency import Ticket
from governance.jobs import services as jobs
from governance.jobs.kinds import SIMULATION
from governance.journal.ledger import record
from governance.models import Job
from identity.roles import Permission, permissions_of
from identity.selectors import INSTANCE, workspace_by_slug
from identity.types import Principal
from policy import shadowing, simulation
from policy.comparing import Replayed, Tally
from policy.lifecycle import RunState
from policy.models import PolicySet, SimulationRun
from policy.set_selectors import require_set
from policy.shadowing import set_shadow
from policy.simulation import LARGEST_SYNCHRONOUS, Ground, Wishes
from policy.types import EntityRef

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Simulated:
    """A simulation, and the job that does it when it was too large to wait for."""

    run: SimulationRun
    job: Job | None = None


Render = Callable[[Simulated], tuple[int, object]]
Store = Callable[[Simulated], None]


@needs(Permission.POLICY_SIMULATE)
def simulate(
    *,
    principal: Principal,
    set_id: str,
    wishes: Wishes,
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> Simulated:
    """Replay recorded decisions against a draft or validated set and the set in force.

    Somebody without a role in the instance replays the records of their own workspace; such a simulation
    allows no activation. Up to 2,000 records are replayed at once and outside any transaction, more by a
    job. ConflictError `state_changed` for a set in another state, InvalidError `policy_invalid` with the
    findings for a text that does not compile.
    """
    _require(principal, set_id, now)
    policy_set = require_set(set_id)
    simulation.require_simulable(policy_set)
    asked = replace(wishes, workspace=_reach(principal))
    if asked.records > LARGEST_SYNCHRONOUS:
        return _by_job(principal, policy_set, asked, now, lambda made: _store(ticket, render, made))
    ground = simulation.ground_of(policy_set, asked)
    batches = list(simulation.replayed(ground, asked))
    return _written(
        principal, policy_set, asked, ground, batches, now, lambda made: _store(ticket, render, made)
    )


@needs(Permission.POLICY_EDIT)
def change_shadow(
    *,
    principal: Principal,
    set_id: str,
    enabled: bool,
    now: datetime,
    ticket: Ticket | None = None,
    render: Callable[[PolicySet], object] | None = None,
) -> PolicySet:
    """Put a validated set into shadow, or take it out; only the instance's own people may.

    ConflictError `state_changed` for a set in another state, `conflict` when three are in shadow already.
    """
    with transaction.atomic(durable=True):
        authority.require_permission(principal, Permission.POLICY_EDIT, principal.workspace_id, now)
        changed = set_shadow(
            policy_set=require_set(set_id), enabled=enabled, actor=principal.actor(), now=now, record=record
        )
        idempotency.store_rendered(ticket, render, changed, status=200, object_id=changed.pk)
    return changed


@needs(None)
def watch_shadows(now: datetime) -> int:
    """Replay what was decided against every shadow, a bounded batch each; return how many records.

    Called by the sweeper. Whatever a shadow does, the others and the sweep go on.
    """
    return sum(_watch(policy_set, now) for policy_set in shadowing.shadows())


def _watch(policy_set: PolicySet, now: datetime) -> int:
    try:
        seen = shadowing.observe(policy_set, now)
        if seen is None:
            return 0
        with transaction.atomic(durable=True):
            return seen.records if shadowing.store_seen(seen) else 0
    except Exception:  # one shadow that fails must not keep the others from being looked at
        log.exception("the shadow of %s", policy_set.pk)
        return 0


def _require(principal: Principal, set_id: str, now: datetime) -> None:
    """Ask both locks before anything is compiled: the permission, and Cedar's word on the set."""
    authority.require_verb(
        principal,
        Permission.POLICY_SIMULATE,
        principal.workspace_id,
        now,
        resource=EntityRef("PolicySet", set_id),
    )


def _reach(principal: Principal) -> str | None:
    """The workspace whose records this person may replay; None for everything."""
    wide = permissions_of(principal.instance_roles, in_instance=True)
    return None if Permission.POLICY_SIMULATE in wide else principal.workspace_id


def _written(
    principal: Principal,
    policy_set: PolicySet,
    asked: Wishes,
    ground: Ground,
    batches: list[list[Replayed]],
    now: datetime,
    store: Store,
) -> Simulated:
    """Write a simulation that is done, in one short transaction."""
    actor, tally = principal.actor(), Tally()
    for one in (one for batch in batches for one in batch):
        tally.add(one)
    with transaction.atomic(durable=True):
        _require(principal, policy_set.pk, now)
        run = simulation.open_run(
            policy_set=policy_set, wishes=asked, state=RunState.RUNNING, actor=actor, now=now, ground=ground
        )
        for batch in batches:
            simulation.add_batch(run=run, batch=batch, tally=tally)
        simulated = Simulated(simulation.finish_run(run=run, actor=actor, now=now, record=record))
        store(simulated)
    return simulated


def _by_job(
    principal: Principal,
    policy_set: PolicySet,
    asked: Wishes,
    now: datetime,
    store: Store,
) -> Simulated:
    with transaction.atomic(durable=True):
        _require(principal, policy_set.pk, now)
        job = jobs.queue_job(
            kind=SIMULATION,
            subject=policy_set.pk,
            workspace_id=asked.workspace or workspace_by_slug(INSTANCE).pk,
            total=None,
            actor=principal.actor(),
            now=now,
        )
        run = simulation.open_run(
            policy_set=policy_set,
            wishes=asked,
            state=RunState.QUEUED,
            actor=principal.actor(),
            now=now,
            job_id=job.id,
        )
        simulated = Simulated(run, job)
        store(simulated)
        transaction.on_commit(wakeup.ring_jobs, robust=True)
    return simulated


def _store(ticket: Ticket | None, render: Render | None, simulated: Simulated) -> None:
    if ticket is not None and render is not None:
        status, body = render(simulated)
        object_id = simulated.job.id if simulated.job else simulated.run.policy_set_id
        idempotency.store(ticket, status=status, body=body, object_id=object_id)
