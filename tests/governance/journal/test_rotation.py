"""Keys change and old proofs go on to verify; what a retired or revoked key signs later does not count."""

from __future__ import annotations

from datetime import timedelta

import pytest

from governance.journal import note, proof
from governance.journal.keys import Window, public_keys, windows
from governance.journal.ledger import record
from governance.journal.merkle import inclusion_proof
from governance.journal.models import (
    JournalCheckpoint,
    JournalEvent,
    JournalKey,
    JournalLeaf,
    JournalPending,
)
from governance.journal.reading import open_data
from governance.journal.rotation import revoke, rotate
from governance.journal.sealing import current_head, seal
from governance.journal.tiles import reader
from kernel.errors import ConflictError, InvalidError, NotFoundError, PalyraError, UnavailableError
from tests.governance.journal.attesting import attest
from tests.governance.journal.writing import NOW, PERSON, open_run, write
from vault import services as vault
from vault.models import SystemKey
from vault.types import KeyPurpose

pytestmark = pytest.mark.usefixtures("ready")
CHECKPOINT, ATTESTATION = KeyPurpose.CHECKPOINT, KeyPurpose.ATTESTATION


def turn(minutes: int = 0, purpose: KeyPurpose = CHECKPOINT) -> JournalKey:
    return rotate(purpose=purpose, actor=PERSON, now=NOW + timedelta(minutes=minutes), record=record)


def newest() -> JournalCheckpoint:
    found = JournalCheckpoint.objects.order_by("-tree_size").first()
    assert found is not None
    return found


def proof_of(seq: int, checkpoint: JournalCheckpoint) -> str:
    leaf = JournalLeaf.objects.get(seq=seq)
    envelope = bytes(JournalEvent.objects.get(pk=leaf.event_id).envelope)
    path = inclusion_proof(reader(checkpoint.tree_size), seq, checkpoint.tree_size)
    return proof.render(envelope, seq, path, checkpoint.note)


def refused(act: object, kind: type[PalyraError]) -> str:
    assert callable(act)
    with pytest.raises(kind) as caught:
        act()
    return caught.value.code


def test_after_three_rotations_every_old_proof_verifies() -> None:
    proofs = []
    for minutes in (1, 2, 3):
        write()
        seal(now=NOW)
        proofs.append(proof_of(newest().tree_size - 1, newest()))
        turn(minutes)
    known = {key_id: one.public_key for key_id, one in windows(CHECKPOINT).items()}
    assert len(known) == 4
    assert [proof.check(one, known).code for one in proofs] == ["ok"] * 3
    assert len({proof.check(one, known).checkpoint for one in proofs}) == 3


def test_one_checkpoint_over_all_that_waits_is_signed_by_both_keys() -> None:
    waiting = write()
    seal(now=NOW)
    before, old = newest(), JournalKey.objects.get(purpose=CHECKPOINT)
    late = write()
    new = turn(1)
    last = newest()
    signed = note.open(last.note, public_keys(CHECKPOINT))
    assert set(signed.signed_by) == {old.pk, new.pk}
    assert (signed.root, last.key_id) == (bytes(last.root), new.pk)
    sealed = JournalLeaf.objects.filter(seq__gte=before.tree_size).values_list("event_id", flat=True)
    assert {late.pk, new.rotation_event} <= set(sealed)
    assert waiting.pk not in sealed
    assert not JournalPending.objects.exists()
    told = open_data(JournalEvent.objects.get(pk=new.rotation_event))
    assert told == {"purpose": "checkpoint", "key_id": new.pk, "previous": old.pk}


def test_the_old_key_ends_where_the_new_one_begins_and_both_stay() -> None:
    turn()
    old = set(windows(CHECKPOINT))
    new = turn(5)
    window = windows(CHECKPOINT)
    (retired,) = [one for key_id, one in window.items() if one.retired_at == new.not_before]
    assert old < set(window)
    assert (window[new.pk].retired_at, retired.covers(new.not_before)) == (None, True)
    assert not retired.covers(new.not_before + timedelta(microseconds=1))
    assert SystemKey.objects.filter(purpose=CHECKPOINT).count() == len(window)
    write()
    sealed = seal(now=NOW + timedelta(minutes=6))
    assert sealed is not None
    assert note.open(sealed.note, public_keys(CHECKPOINT)).signed_by == (new.pk,)
    assert current_head().frontier.size == sealed.tree_size


def test_a_checkpoint_by_a_retired_key_after_its_window_is_seen_for_what_it_is() -> None:
    old_signer = vault.signer(CHECKPOINT)
    turn()
    new = turn(5)
    forged = note.sign("palyra.local/x", 7, bytes(32), old_signer)
    window = windows(CHECKPOINT)
    (by,) = note.open(forged, {key_id: one.public_key for key_id, one in window.items()}).signed_by
    assert not window[by].covers(new.not_before + timedelta(seconds=1))


def test_no_checkpoint_has_a_time_before_the_one_under_it() -> None:
    """A sealer whose clock lags must not seem to have signed before its key was made."""
    turn(10)
    write()
    sealed = seal(now=NOW)
    assert sealed is not None
    assert windows(CHECKPOINT)[sealed.key_id].covers(sealed.sealed_at)
    third = turn(0)
    assert third.not_before > sealed.sealed_at


def test_the_attestation_key_turns_without_a_checkpoint() -> None:
    run = open_run()
    attest(run=run.id)
    sealed = JournalCheckpoint.objects.count()
    new = turn(1, ATTESTATION)
    assert JournalCheckpoint.objects.count() == sealed
    assert vault.signer(ATTESTATION).key_id == new.pk
    assert len(windows(ATTESTATION)) == 2


def test_a_rotation_that_cannot_seal_its_own_event_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("governance.journal.rotation.MOST_WAITING", 1)
    write()
    write()
    assert refused(turn, UnavailableError) == "journal_sealing_stalled"


def test_what_a_revoked_key_signed_counts_only_before() -> None:
    turn()
    old, new = (row.pk for row in (JournalKey.objects.get(retired_at=None, purpose=CHECKPOINT), turn(5)))
    since = NOW + timedelta(minutes=2)
    late = NOW + timedelta(minutes=9)
    revoke(key_id=old, since=since, actor=PERSON, now=late, record=record)
    window = windows(CHECKPOINT)[old]
    assert (window.covers(since - timedelta(seconds=1)), window.covers(since)) == (True, False)
    assert old not in public_keys(CHECKPOINT)
    assert new in public_keys(CHECKPOINT)
    write()
    assert seal(now=late) is not None  # the checkpoint of the rotation still holds by the other key


def test_a_revocation_moves_only_back() -> None:
    turn()
    old = JournalKey.objects.get(retired_at=None, purpose=CHECKPOINT).pk
    turn(5)
    late = NOW + timedelta(minutes=9)

    def revoked(minutes: int) -> JournalKey:
        since = NOW + timedelta(minutes=minutes)
        return revoke(key_id=old, since=since, actor=PERSON, now=late, record=record)

    assert refused(lambda: revoked(10), InvalidError) == "invalid"
    revoked(4)
    assert refused(lambda: revoked(4), ConflictError) == "state_changed"
    assert refused(lambda: revoked(6), ConflictError) == "state_changed"
    assert revoked(3).revoked_at == NOW + timedelta(minutes=3)
    told = JournalEvent.objects.filter(type="journal.key_revoked", subject=old)
    assert told.count() == 2


def test_the_key_in_use_and_an_unknown_one_cannot_be_revoked() -> None:
    key = turn().pk

    def revoked(key_id: str) -> JournalKey:
        return revoke(key_id=key_id, since=None, actor=PERSON, now=NOW, record=record)

    assert refused(lambda: revoked(key), ConflictError) == "state_changed"
    assert refused(lambda: revoked("sha256:00"), NotFoundError) == "not_found"


def test_a_key_under_a_foreign_id_has_no_window() -> None:
    key = turn().pk
    JournalKey.objects.filter(pk=key).update(public_key=bytes(32))
    assert key not in windows(CHECKPOINT)


@pytest.mark.parametrize(
    ("minute", "counts"),
    [(-1, False), (0, True), (5, True), (6, False)],
    ids=["before", "from", "to", "after"],
)
def test_both_ends_of_a_window_belong_to_it(minute: int, counts: bool) -> None:
    window = Window(bytes(32), NOW, NOW + timedelta(minutes=5), None)
    assert window.covers(NOW + timedelta(minutes=minute)) is counts
