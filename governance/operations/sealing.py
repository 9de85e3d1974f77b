"""Sealing what waits: by the sweeper, and by whoever needs the proof of an event at once."""

from __future__ import annotations

import logging
import time
from datetime import datetime

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import Exists, OuterRef

from governance.authority import needs
from governance.journal import checkpoint_log, sealing, sealing_state
from governance.journal.event_names import EventName
from governance.journal.keys import origin
from governance.journal.ledger import instance_id, record
from governance.journal.models import JournalCheckpoint, JournalEvent, JournalLeaf, JournalPending
from governance.journal.sealer_lock import hold_sealer_lock
from governance.models import ToolCall
from kernel.errors import PalyraError, UnavailableError
from kernel.record import system_actor
from policy.types import Risk

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 10.0
"""How long `seal_through` waits for another sealer, which has one batch in hand."""

LOOK_SECONDS = 0.02


@needs(None)
def seal_pending(now: datetime) -> JournalCheckpoint | None:
    """Seal a batch of what waits; None when nothing does or another sealer is at it.

    The checkpoint is in the database and then in the log of checkpoints. Raises UnavailableError:
    `journal_inconsistent`, which is in the journal then, when what is stored is not what was signed;
    `journal_unavailable` when the log cannot be read. Nothing is signed in either case.
    """
    if not JournalPending.objects.exists():
        return None
    try:
        with transaction.atomic(durable=True):
            if not hold_sealer_lock(wait=False):
                return None
            _compare_log(now)
            made = sealing.seal(now=now)
    except UnavailableError as refusal:
        if refusal.code == "journal_inconsistent":
            _raise_alarm(refusal, now)
        raise
    if made is not None:
        _log_checkpoint(made)
    return made


@needs(None)
def seal_through(event_id: str, now: datetime) -> None:
    """Return once the event is sealed, by this process or by the one that is sealing.

    Raises UnavailableError: as `seal_pending` does, `journal_sealing_stalled` when other sealers take
    too long, `journal_inconsistent` for an event that neither waits nor has a leaf.
    """
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not _is_sealed(event_id):
        if not JournalPending.objects.filter(event_id=event_id).exists() and not _is_sealed(event_id):
            raise UnavailableError("journal_inconsistent", "An event does not wait and was not sealed.")
        if seal_pending(now) is None:
            if time.monotonic() > give_up:
                raise UnavailableError("journal_sealing_stalled", "Another sealer takes too long.")
            time.sleep(LOOK_SECONDS)


@needs(None)
def catch_up(now: datetime) -> None:
    """Add to the log of checkpoints what a crash kept from it. Raises as `seal_pending` does."""
    if not JournalCheckpoint.objects.exists() and not checkpoint_log.path().exists():
        return
    try:
        with transaction.atomic(durable=True):
            if hold_sealer_lock(wait=False):
                _compare_log(now)
    except UnavailableError as refusal:
        if refusal.code == "journal_inconsistent":
            _raise_alarm(refusal, now)
        raise


@needs(None)
def refusal_to_execute(now: datetime) -> UnavailableError | None:
    """Return why nothing new may be executed, or None.

    Where sealing only lags, this process seals what waits first: a sweeper that is gone stops nothing.
    """
    refusal = sealing_state.refusal(now)
    if refusal is None or refusal.code != "journal_sealing_stalled":
        return refusal
    try:
        seal_pending(now)
    except (DatabaseError, PalyraError):
        log.exception("sealing lags, and this process cannot seal either")
    return sealing_state.refusal(now)


@needs(None)
def prove_decision(execution_id: str, now: datetime) -> None:
    """Before a queued execution is claimed: sealing flows, and a decision of high risk is sealed.

    Raises UnavailableError, and then the row stays queued and nothing runs.
    """
    refusal = refusal_to_execute(now)
    if refusal is not None:
        raise refusal
    call = ToolCall.objects.filter(execution_id=execution_id).values_list("id", "risk").first()
    if call is None or not _is_sealed_before(call[1]):
        return
    decisions = JournalEvent.objects.filter(call_id=call[0], type=EventName.TOOL_CALL_DECIDED.value)
    decision = decisions.order_by("-run_seq").values_list("id", flat=True).first()
    if decision is None:
        raise UnavailableError("journal_inconsistent", "A call is queued and no event tells why.")
    seal_through(decision, now)


def _is_sealed_before(risk: str | None) -> bool:
    """Tell whether a call of this risk waits for the seal; a risk that is not known counts as high."""
    chosen = settings.PALYRA_JOURNAL_SEAL_BEFORE_RUN
    if chosen == "off":
        return False
    return chosen == "all" or risk not in (Risk.LOW, Risk.MEDIUM)


def _is_sealed(event_id: str) -> bool:
    """Tell whether the event's leaf lies below a checkpoint; a leaf alone proves nothing."""
    signed = JournalCheckpoint.objects.filter(tree_size=OuterRef("checkpoint"))
    return JournalLeaf.objects.filter(Exists(signed), event_id=event_id).exists()


def _compare_log(now: datetime) -> None:
    """Only a sealer whose log tells the same story goes on."""
    try:
        checkpoint_log.require_agreement(sealing_state.newest_checkpoint(), origin(now))
    except OSError as error:
        raise UnavailableError("journal_unavailable", "The log of checkpoints cannot be used.") from error


def _log_checkpoint(made: JournalCheckpoint) -> None:
    """What fails here is made good before the next sealing, which does not go on without."""
    try:
        checkpoint_log.append(made.note)
    except (OSError, PalyraError):
        log.exception("the checkpoint over %d events is not in the log yet", made.tree_size)


def _raise_alarm(refusal: UnavailableError, now: datetime) -> None:
    """Leave `journal.inconsistent` once: the event waits unsealed for as long as the sealer refuses."""
    try:
        with transaction.atomic(durable=True):
            if not hold_sealer_lock(wait=False) or sealing_state.said_inconsistent().exists():
                return
            log.critical("%s Nothing is sealed and nothing is executed.", refusal.detail)
            record(
                event="journal.inconsistent",
                actor=system_actor("sealer"),
                subject=instance_id(now),
                now=now,
                data={"detail": refusal.detail},
            )
    except (DatabaseError, PalyraError):
        log.exception("the alarm could not be recorded")
