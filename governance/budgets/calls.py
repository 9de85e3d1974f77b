"""Calls per run: held by compare-and-set, then settled or released. The ledger comes later."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import F

from governance.models import Reservation, Run
from kernel.ids import new_id
from kernel.record import Actor, Record
from kernel.state import transition

ALLOWED: dict[str, frozenset[str]] = {"held": frozenset({"settled", "released", "expired"})}


@dataclass(frozen=True, slots=True)
class Exhausted:
    """Why nothing could be held: what the run may use in all."""

    limit: int


def reserve_call(*, run: Run, call_id: str, actor: Actor, now: datetime, record: Record) -> str | Exhausted:
    """Hold one call of the run and return the `rsv_` id; parallel callers get exactly the limit."""
    hit = Run.objects.filter(id=run.id, state="open", calls_used__lt=F("max_calls")).update(
        calls_used=F("calls_used") + 1
    )
    if hit != 1:
        return Exhausted(run.max_calls)
    reservation = Reservation.objects.create(id=new_id("rsv", now), run=run, call_id=call_id, held_at=now)
    record(
        event="reservation.held",
        actor=actor,
        subject=reservation.id,
        now=now,
        data={"metric": reservation.metric, "amount": reservation.amount},
        run=run.id,
        call=call_id,
    )
    return reservation.id


def is_held(call_id: str) -> bool:
    """Tell whether the call still stands against its run's allowance."""
    return Reservation.objects.filter(call_id=call_id, state="held").exists()


def settle_call(*, call_id: str, actor: Actor, now: datetime, record: Record) -> None:
    """Count the held call as used. Raises ConflictError when it was settled or released before."""
    _end(call_id=call_id, target="settled", actor=actor, now=now, record=record)


def release_call(*, call_id: str, actor: Actor, now: datetime, record: Record) -> None:
    """Give the held call back to the run. Raises ConflictError when it was settled or released before."""
    reservation = _end(call_id=call_id, target="released", actor=actor, now=now, record=record)
    Run.objects.filter(id=reservation.run_id).update(calls_used=F("calls_used") - reservation.amount)


def _end(*, call_id: str, target: str, actor: Actor, now: datetime, record: Record) -> Reservation:
    reservation = Reservation.objects.get(call_id=call_id)
    transition(
        Reservation.objects.filter(id=reservation.id), ALLOWED, source="held", target=target, ended_at=now
    )
    record(
        event=f"reservation.{target}",
        actor=actor,
        subject=reservation.id,
        now=now,
        data={"metric": reservation.metric, "amount": reservation.amount},
        run=reservation.run_id,
        call=call_id,
    )
    return reservation
