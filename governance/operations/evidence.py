"""Handing out the evidence of a call: sealed first, recorded before it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from governance import authority
from governance.authority import needs
from governance.evidence_bundle import Wanted, collect, events_of, pack, sign, wanted
from governance.journal.attestations import Judgement, judge
from governance.journal.keys import signing_key
from governance.journal.ledger import record
from governance.journal.models import JournalEvent, JournalLeaf
from governance.operations.sealing import seal_through
from governance.selectors import CallView, require_call
from identity.authorization import authorize
from identity.roles import Permission
from identity.types import Principal
from kernel.errors import ConflictError, NotFoundError, UnavailableError
from vault.types import KeyPurpose

VIEWED = "evidence"
RETRY_AFTER = 1


@dataclass(frozen=True, slots=True)
class EvidenceFile:
    """A bundle as it is handed out: the name of the file and its bytes, a zip archive."""

    name: str
    content: bytes


@needs(Permission.JOURNAL_EXPORT)
def take_evidence(*, principal: Principal, call_id: str, reveal: bool, now: datetime) -> EvidenceFile:
    """Return the evidence of a call that has ended, and leave `record.viewed`.

    Asks for `calls.read`, for `journal.export` in the call's workspace, and with `reveal` for
    `journal.reveal`: then the data of the run's events goes along, with input and output. NotFoundError:
    `not_found` for a call that cannot be seen or goes on, `not_sealed` while others seal its events,
    `archived` when some of them lie in an archive. UnavailableError when what is stored does not hold
    together: such evidence is not handed out. ConflictError when keys are changed at this moment.
    """
    with transaction.atomic(durable=True):
        asked = _require(principal, call_id, reveal, now)
    events = events_of(asked)
    _seal(events, now)
    # Outside of a transaction: on SQLite everybody who writes would wait as long as the reading takes.
    files = collect(asked, events)
    with transaction.atomic(durable=True):
        _require(principal, call_id, reveal, now)
        signer, key = signing_key(KeyPurpose.ATTESTATION, actor=principal.actor(), now=now)
        if key.pk != asked.signed_by.pk:
            raise ConflictError("conflict", "The signing key was changed meanwhile; ask again.")
        signed = sign(files, signer)
        record(
            event="record.viewed",
            actor=principal.actor(),
            subject=call_id,
            now=now,
            data={"what": f"{VIEWED}.revealed" if reveal else VIEWED, "count": 1, "ids": [call_id]},
        )
    return EvidenceFile(f"evidence-{call_id}.zip", pack(signed))


@needs(Permission.CALLS_READ)
def verify_attestation(*, principal: Principal, envelope: str, now: datetime) -> Judgement:
    """Judge an envelope that somebody brings; what it is about they know already."""
    authority.require_permission(principal, Permission.CALLS_READ, principal.workspace_id, now)
    return judge(envelope)


@needs(Permission.CALLS_READ)
def attestation_text(view: CallView) -> str:
    """Return the stored DSSE envelope of a call that was shown; NotFoundError while it has none."""
    if view.attestation is None:
        raise NotFoundError("not_found", "The call has no attestation yet.")
    return view.attestation.envelope


def _require(principal: Principal, call_id: str, reveal: bool, now: datetime) -> Wanted:
    authority.require_permission(principal, Permission.CALLS_READ, principal.workspace_id, now)
    view = require_call(principal, call_id)
    place = view.call.workspace_id
    authority.require_verb(principal, Permission.JOURNAL_EXPORT, place, now)
    if reveal:
        authority.require_verb(principal, Permission.JOURNAL_REVEAL, place, now)
    _, key = signing_key(KeyPurpose.ATTESTATION, actor=principal.actor(), now=now)
    everywhere = authorize(
        principal, Permission.JOURNAL_REVEAL, workspace_id="", flags=principal.flags, now=now
    ).allowed
    return wanted(
        view,
        key,
        reveals=reveal,
        reveals_all=reveal and everywhere and bool(principal.instance_roles),
        now=now,
    )


def _seal(events: Sequence[JournalEvent], now: datetime) -> None:
    """Seal what waits of these events. What waits longer than a moment is asked for again."""
    ids = {event.pk for event in events}
    waiting = ids - set(JournalLeaf.objects.filter(event_id__in=ids).values_list("event_id", flat=True))
    try:
        for event_id in sorted(waiting):
            seal_through(event_id, now)
    except UnavailableError as refusal:
        if refusal.code != "journal_sealing_stalled":
            raise
        sentence = "Events of the call wait to be sealed."
        raise NotFoundError("not_sealed", sentence, retry_after=RETRY_AFTER) from refusal
