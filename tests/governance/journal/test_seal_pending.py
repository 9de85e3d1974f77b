"""The sealer as a process runs it: alone, durable, beside the log of checkpoints, never over a doubt."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from governance.journal import checkpoint_log, note, sealing, sealing_state, tiles
from governance.journal.keys import origin
from governance.journal.models import JournalCheckpoint, JournalEvent, JournalLeaf, JournalPending
from governance.journal.reading import open_data
from governance.journal.sealing_state import sealing_state as state_of
from governance.operations import sealing as sealer
from governance.operations.sealing import catch_up, seal_pending, seal_through
from kernel.errors import UnavailableError
from tests.governance.journal.mass import fill
from tests.governance.journal.writing import NOW, write
from tests.support_append_only import guards_lifted
from vault import services as vault
from vault.types import KeyPurpose

pytestmark = pytest.mark.usefixtures("ready")


def logged() -> list[str]:
    return list(checkpoint_log.notes(checkpoint_log.path().read_bytes().splitlines()))


def sealed_notes() -> list[str]:
    return list(JournalCheckpoint.objects.order_by("tree_size").values_list("note", flat=True))


def alarms() -> list[JournalEvent]:
    return list(JournalEvent.objects.filter(type="journal.inconsistent"))


def put_log_ahead() -> None:
    """Seal three times and lose the last two checkpoints, as an old backup does."""
    for _ in range(3):
        write()
        seal_pending(NOW)
    kept = JournalCheckpoint.objects.order_by("-tree_size").values_list("tree_size", flat=True)[2]
    with guards_lifted():
        JournalCheckpoint.objects.filter(tree_size__gt=kept).delete()
        lost = list(JournalLeaf.objects.filter(seq__gte=kept).values_list("event_id", flat=True))
        JournalLeaf.objects.filter(seq__gte=kept).delete()
    JournalPending.objects.bulk_create(JournalPending(event_id=one) for one in lost)


def test_a_pass_seals_what_waits_and_adds_the_checkpoint_to_the_log() -> None:
    for _ in range(2):
        write()
        assert seal_pending(NOW) is not None

    assert seal_pending(NOW) is None
    assert not JournalPending.objects.exists()
    assert logged() == sealed_notes()
    assert len(logged()) == 2


def test_with_nothing_to_seal_no_transaction_begins() -> None:
    write()
    seal_pending(NOW)
    with CaptureQueriesContext(
        connection,
    ) as asked:
        assert seal_pending(NOW) is None
    assert [query["sql"].split()[0] for query in asked] == ["SELECT"]


def test_a_checkpoint_that_a_crash_kept_from_the_log_is_added_before_the_next() -> None:
    write()
    with transaction.atomic():
        sealing.seal(now=NOW)  # and the process dies before it writes the log
    write()
    seal_pending(NOW)

    assert logged() == sealed_notes()
    assert len(logged()) == 2


def test_a_sealer_that_starts_adds_what_a_crash_kept_from_the_log() -> None:
    catch_up(NOW)
    assert not checkpoint_log.path().exists()
    write()
    with transaction.atomic():
        sealing.seal(now=NOW)

    catch_up(NOW)

    assert logged() == sealed_notes()


def test_a_log_that_is_ahead_of_the_database_stops_the_sealer() -> None:
    put_log_ahead()
    before = sealed_notes()

    with pytest.raises(UnavailableError) as refused:
        seal_pending(NOW)

    assert (refused.value.code, sealed_notes()) == ("journal_inconsistent", before)
    (alarm,) = alarms()
    assert open_data(alarm) == {"detail": refused.value.detail}
    assert "ahead of the database" in refused.value.detail


def test_a_sealer_that_starts_over_an_old_backup_says_so_at_once() -> None:
    put_log_ahead()
    with pytest.raises(UnavailableError):
        catch_up(NOW)
    assert len(alarms()) == 1


def test_a_sealer_that_starts_over_an_emptied_database_says_so_at_once() -> None:
    write()
    seal_pending(NOW)
    with guards_lifted():
        JournalCheckpoint.objects.all().delete()
    with pytest.raises(UnavailableError):
        catch_up(NOW)
    assert len(alarms()) == 1


def test_a_database_in_the_place_of_another_begins_no_log_beside_the_old_one() -> None:
    write()
    sealed = seal_pending(NOW)
    assert sealed is not None
    other = note.parse(sealed.note)
    checkpoint_log.path().unlink()
    signer = vault.signer(KeyPurpose.CHECKPOINT)
    checkpoint_log.append(note.sign("palyra.local/ins_before", other.size, other.root, signer))
    with guards_lifted():
        JournalCheckpoint.objects.all().delete()
        JournalLeaf.objects.all().delete()
    write()

    with pytest.raises(UnavailableError) as refused:
        seal_pending(NOW)

    assert refused.value.code == "journal_inconsistent"
    assert not JournalCheckpoint.objects.exists()


def test_an_event_that_was_sealed_and_waits_again_stops_the_sealer() -> None:
    again = write()
    seal_pending(NOW)
    JournalPending.objects.create(event=again)

    with pytest.raises(UnavailableError) as refused:
        seal_pending(NOW)

    assert refused.value.code == "journal_inconsistent"
    assert len(alarms()) == 1


def test_a_log_with_another_root_of_a_size_stops_the_sealer() -> None:
    """Restored from an old backup and gone on: the database is longer, and another history."""
    write()
    made = seal_pending(NOW)
    assert made is not None
    signer = vault.signer(KeyPurpose.CHECKPOINT)
    forged = note.sign(origin(NOW), made.tree_size - 1, bytes(32), signer)
    checkpoint_log.path().unlink()
    checkpoint_log.append(forged)
    write()

    with pytest.raises(UnavailableError) as refused:
        seal_pending(NOW)

    assert "does not" in refused.value.detail
    assert JournalCheckpoint.objects.count() == 1


def test_the_alarm_is_in_the_journal_once_and_ends_when_sealing_goes_on() -> None:
    put_log_ahead()
    for _ in range(3):
        with pytest.raises(UnavailableError):
            seal_pending(NOW)
    assert len(alarms()) == 1
    state = state_of(NOW)
    assert (state.inconsistent, state.stalled) == (True, False)
    refusal = sealing_state.refusal(NOW)
    assert refusal is not None
    assert refusal.code == "journal_inconsistent"

    checkpoint_log.path().unlink()  # what an operator does on purpose
    seal_pending(NOW)

    assert (state_of(NOW).inconsistent, sealing_state.refusal(NOW)) == (False, None)
    put_log_ahead()
    with pytest.raises(UnavailableError):
        seal_pending(NOW)
    assert len(alarms()) == 2


def test_another_name_in_the_database_is_no_new_origin_on_purpose() -> None:
    put_log_ahead()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE governance_instance SET id = 'ins_other'")

    with pytest.raises(UnavailableError, match="ahead") as refused:
        seal_pending(NOW)

    assert refused.value.code == "journal_inconsistent"


def test_a_new_origin_on_purpose_goes_on_from_what_was_restored(settings: Settings) -> None:
    put_log_ahead()
    with pytest.raises(UnavailableError):
        seal_pending(NOW)
    restored, before = JournalLeaf.objects.count(), logged()

    settings.PALYRA_JOURNAL_ORIGIN = "palyra.example.com/second"
    made = seal_pending(NOW)

    assert made is not None
    assert made.tree_size > restored
    assert note.parse(made.note).origin == "palyra.example.com/second"
    assert logged()[: len(before)] == before
    assert sealing_state.refusal(NOW) is None


def test_without_a_usable_log_nothing_is_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    write()
    seal_pending(NOW)
    checkpoint_log.path().unlink()
    checkpoint_log.path().mkdir()
    write()
    try:
        with pytest.raises(UnavailableError) as refused:
            seal_pending(NOW)
    finally:
        checkpoint_log.path().rmdir()

    assert refused.value.code == "journal_unavailable"
    assert (JournalCheckpoint.objects.count(), alarms()) == (1, [])


def test_a_sealing_that_dies_inside_is_undone_and_the_next_seals_the_same_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(260)
    events = set(JournalPending.objects.values_list("event_id", flat=True))
    for broken in ("_write_tiles", "origin"):
        with monkeypatch.context() as patch:
            patch.setattr(sealing, broken, _die)
            with pytest.raises(SystemError):
                seal_pending(NOW)
        assert not JournalLeaf.objects.exists()
        assert set(JournalPending.objects.values_list("event_id", flat=True)) >= events

    seal_pending(NOW)

    leaves = JournalLeaf.objects.filter(event_id__in=events)
    assert leaves.count() == len(events)
    assert not JournalPending.objects.exists()
    assert tiles.read_tile(0, 0, 256)


def _die(*_: object) -> None:
    raise SystemError


def test_seal_through_returns_with_the_leaf_of_the_event() -> None:
    first, _ = write(), write()
    seal_through(first.pk, NOW)
    assert JournalLeaf.objects.filter(event_id=first.pk).exists()
    before = JournalCheckpoint.objects.count()
    seal_through(first.pk, NOW)
    assert JournalCheckpoint.objects.count() == before


def test_seal_through_goes_on_until_the_event_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    real = sealing.seal
    monkeypatch.setattr(sealing, "seal", lambda now: real(now=now, limit=3))
    last = [write() for _ in range(8)][-1]
    seal_through(last.pk, NOW)
    assert JournalLeaf.objects.filter(event_id=last.pk).exists()
    assert JournalCheckpoint.objects.count() >= 3


def test_an_event_that_nobody_will_ever_seal_is_not_waited_for() -> None:
    lost = write()
    JournalPending.objects.filter(event_id=lost.pk).delete()
    with pytest.raises(UnavailableError) as refused:
        seal_through(lost.pk, NOW)
    assert refused.value.code == "journal_inconsistent"


def test_a_leaf_that_somebody_slipped_in_is_no_proof() -> None:
    waiting = write()
    JournalLeaf.objects.create(
        seq=0, event_id=waiting.pk, leaf_hash=bytes(32), chain_hash=bytes(32), checkpoint=1
    )
    with pytest.raises(UnavailableError) as refused:
        seal_through(waiting.pk, NOW)
    assert refused.value.code == "journal_inconsistent"
    assert len(alarms()) == 1


def test_seal_through_gives_up_on_a_sealer_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = write()
    monkeypatch.setattr(sealer, "hold_sealer_lock", lambda wait: False)
    monkeypatch.setattr(sealer, "PATIENCE_SECONDS", 0.05)
    with pytest.raises(UnavailableError) as refused:
        seal_through(waiting.pk, NOW)
    assert refused.value.code == "journal_sealing_stalled"
    assert not JournalLeaf.objects.exists()


def test_the_state_tells_what_waits_and_since_when() -> None:
    assert (state_of(NOW).pending, state_of(NOW).oldest_age_s, state_of(NOW).checkpoint) == (0, 0.0, None)
    write()
    write(now=NOW + timedelta(seconds=5))

    state = state_of(NOW + timedelta(seconds=8))

    assert (state.pending, state.oldest_age_s, state.stalled) == (2, 8.0, False)
    assert state_of(NOW - timedelta(hours=1)).oldest_age_s == 0.0
    sealed = seal_pending(NOW)
    assert state_of(NOW + timedelta(days=1)).checkpoint == sealed


@pytest.mark.parametrize(
    ("seconds", "lags", "stalled"),
    [(10, False, False), (11, True, False), (60, True, False), (61, True, True)],
)
def test_an_event_that_waits_is_a_lag_and_then_a_stall(seconds: int, lags: bool, stalled: bool) -> None:
    write()
    now = NOW + timedelta(seconds=seconds)
    assert (sealing_state.lags(now), state_of(now).stalled) == (lags, stalled)
    refusal = sealing_state.refusal(now)
    assert (refusal.code if refusal else None) == ("journal_sealing_stalled" if stalled else None)


def test_too_many_that_wait_are_a_stall_and_gaps_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing_state, "PENDING_ALLOWED", 5)
    for _ in range(4):
        write()
    first = JournalPending.objects.order_by("n")[0]
    moved = JournalPending(n=first.n + 1_000, event_id=first.event_id)
    first.delete()
    moved.save(force_insert=True)
    assert not state_of(NOW).stalled
    write()
    assert (state_of(NOW).stalled, state_of(NOW).pending) == (True, 5)


def test_the_refusal_costs_one_query() -> None:
    write()
    with CaptureQueriesContext(connection) as asked:
        sealing_state.refusal(NOW)
    assert len(asked) == 1


def test_a_lag_is_sealed_away_by_whoever_would_have_to_refuse() -> None:
    write()
    late = NOW + timedelta(hours=1)
    assert sealing_state.refusal(late) is not None
    assert sealer.refusal_to_execute(late) is None
    assert not JournalPending.objects.exists()


def test_a_lag_that_nobody_can_seal_away_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    write()
    monkeypatch.setattr(sealer, "hold_sealer_lock", lambda wait: False)
    refusal = sealer.refusal_to_execute(NOW + timedelta(hours=1))
    assert refusal is not None
    assert refusal.code == "journal_sealing_stalled"
