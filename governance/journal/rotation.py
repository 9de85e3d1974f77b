"""A new signing key in place of the one in use, and keys whose signatures stop counting."""

from __future__ import annotations

from datetime import datetime, timedelta

from governance.journal import checkpoint_log
from governance.journal.keys import hold_key, origin, signing_key
from governance.journal.models import JournalCheckpoint, JournalEvent, JournalKey, JournalPending
from governance.journal.sealer_lock import hold_sealer_lock
from governance.journal.sealing import seal
from governance.journal.sealing_state import newest_checkpoint
from kernel.clock import wire_time
from kernel.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from kernel.record import Actor, Record
from vault import services as vault
from vault.types import KeyPurpose, Signer

_INSTANT = timedelta(microseconds=1)
"""No two keys begin at one moment, so that their times order them."""
MOST_WAITING = 50_000
"""Events that the checkpoint of a rotation may seal at once; more of them are a sealer that stands still."""


def rotate(*, purpose: KeyPurpose, actor: Actor, now: datetime, record: Record) -> JournalKey:
    """Retire the key of this purpose for a new one, in the caller's transaction, and return the new one.

    Whoever signs with the old key has committed before, and whoever comes after finds the new one. For
    checkpoints, what waits is sealed at once, the event of the rotation with it, and both keys sign that.
    UnavailableError `journal_sealing_stalled` while more waits than one checkpoint takes, and whatever keeps
    a sealer from sealing.
    """
    if purpose is KeyPurpose.CHECKPOINT:
        hold_sealer_lock(wait=True)
        _require_same_log(now)
    hold_key(purpose, alone=True)
    old_signer, old = signing_key(purpose, actor=actor, now=now)
    turn = max(now, _last_used(purpose) or now, old.not_before + _INSTANT)
    new = vault.rotate_signing_key(purpose, now=turn)
    data = {"purpose": purpose.value, "key_id": new.key_id, "previous": old.key_id}
    event = record(event="journal.key_rotated", actor=actor, subject=new.key_id, now=now, data=data)
    row = _published(new, old, purpose, turn, event)
    if purpose is KeyPurpose.CHECKPOINT:
        _seal_with_both(old_signer, event, turn)
    return row


def revoke(*, key_id: str, since: datetime | None, actor: Actor, now: datetime, record: Record) -> JournalKey:
    """Let nothing count that a retired key signed from `since` on, now by default; return the key.

    A revocation may be repeated only to move its time back. ConflictError `state_changed` for the key in use:
    rotate it first. InvalidError `invalid` for a time to come.
    """
    row = JournalKey.objects.select_for_update().filter(pk=key_id).first()
    if row is None:
        raise NotFoundError("not_found", "There is no such key.")
    moment = since or now
    if moment > now:
        raise InvalidError("invalid", "A key is revoked since now or a time before.")
    if row.retired_at is None:
        raise ConflictError("state_changed", "This key is in use. Rotate it first.")
    if row.revoked_at is not None and row.revoked_at <= moment:
        raise ConflictError("state_changed", f"This key is revoked since {wire_time(row.revoked_at)}.")
    JournalKey.objects.filter(pk=key_id).update(revoked_at=moment)
    data = {"purpose": row.purpose, "key_id": key_id, "since": wire_time(moment)}
    record(event="journal.key_revoked", actor=actor, subject=key_id, now=now, data=data)
    return JournalKey.objects.get(pk=key_id)


def _require_same_log(now: datetime) -> None:
    """As every sealer: nothing is signed while the log of checkpoints tells another story."""
    try:
        checkpoint_log.require_agreement(newest_checkpoint(), origin(now))
    except OSError as error:
        raise UnavailableError("journal_unavailable", "The log of checkpoints cannot be used.") from error


def _last_used(purpose: KeyPurpose) -> datetime | None:
    """When the key last signed: clocks of several machines differ, and whoever signed was there before us."""
    if purpose is KeyPurpose.CHECKPOINT:
        return JournalCheckpoint.objects.order_by("-tree_size").values_list("sealed_at", flat=True).first()
    signed = JournalEvent.objects.filter(type="attestation.recorded").order_by("-id")
    return signed.values_list("time", flat=True).first()


def _published(
    signer: Signer, old: JournalKey, purpose: KeyPurpose, turn: datetime, event: str
) -> JournalKey:
    JournalKey.objects.filter(pk=old.pk, retired_at=None).update(retired_at=turn)
    return JournalKey.objects.create(
        key_id=signer.key_id,
        purpose=purpose,
        public_key=signer.public_key,
        vault_ref=f"system:{purpose.value}",
        not_before=turn,
        rotation_event=event,
    )


def _seal_with_both(old: Signer, event: str, now: datetime) -> None:
    seal(now=now, limit=MOST_WAITING, also=(old,))
    if JournalPending.objects.filter(event_id=event).exists():
        raise UnavailableError("journal_sealing_stalled", "Too much waits to be sealed.", retry_after=2)
