"""Whatever is changed in a sealed journal is found, with its code and its place, and nothing else is."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta

import pytest

from governance.journal import checkpoint_log
from governance.journal.models import (
    Instance,
    JournalCheckpoint,
    JournalEvent,
    JournalKey,
    JournalLeaf,
    JournalPayload,
    JournalPending,
    JournalSubjectKey,
    JournalTile,
)
from governance.journal.verify import Options
from governance.journal.verify_anchors import Source
from governance.models import Run
from kernel.canonical import canonical
from tests.governance.journal.sealed_log import BATCH, MIDDLE, SEQ, TILE, Log, log as log, sealed as sealed
from tests.governance.journal.tampering import (
    flipped,
    found_after,
    remove,
    remove_event,
    report_after,
    set_columns,
    verified,
)
from tests.governance.journal.writing import CALL, NOW

Found = set[tuple[str, int | None]]


def test_the_world_is_clean_before_anything_is_changed(log: Log) -> None:
    assert verified().first == []
    assert log.size > MIDDLE + 1
    assert JournalTile.objects.count() == 2


def _envelope(log: Log, change: Callable[[bytes], bytes]) -> None:
    stored = bytes(JournalEvent.objects.get(pk=log.event).envelope)
    set_columns(JournalEvent, log.event, envelope=change(stored))


def _one_more_redaction(stored: bytes) -> bytes:
    changed = stored.replace(b'"redactions":0', b'"redactions":1')
    assert changed != stored
    return changed


EVENT_CHANGES: dict[str, tuple[dict[str, object], Found]] = {
    "type": ({"type": "run.opened"}, set()),
    "time": ({"time": NOW + timedelta(microseconds=1)}, set()),
    "actor": ({"actor": "agt_other"}, set()),
    "subject": ({"subject": "call_other"}, set()),
    "call": ({"call_id": CALL}, set()),
    "run": ({"run_id": None, "run_seq": None}, {("run_gap", SEQ + 1)}),
}


@pytest.mark.parametrize("column", EVENT_CHANGES)
def test_a_changed_column_of_an_event(log: Log, column: str) -> None:
    changes, also = EVENT_CHANGES[column]
    found = found_after(lambda: set_columns(JournalEvent, log.event, **changes))
    assert found == {("column_mismatch", SEQ)} | also


def test_a_changed_number_within_the_run(log: Log) -> None:
    found = found_after(lambda: set_columns(JournalEvent, log.event, run_seq=10_000))
    assert {("column_mismatch", SEQ), ("run_gap", SEQ + 1), ("order_mismatch", SEQ)} <= found


@pytest.mark.parametrize("change", [flipped, lambda stored: flipped(stored, 40), _one_more_redaction])
def test_a_changed_envelope(log: Log, change: Callable[[bytes], bytes]) -> None:
    assert ("leaf_mismatch", SEQ) in found_after(lambda: _envelope(log, change))


def test_a_changed_envelope_that_says_the_same_in_its_columns_has_one_finding(log: Log) -> None:
    assert found_after(lambda: _envelope(log, _one_more_redaction)) == {("leaf_mismatch", SEQ)}


def test_every_bit_of_an_envelope_counts(log: Log) -> None:
    stored = bytes(JournalEvent.objects.get(pk=log.event).envelope)
    for at in range(0, len(stored), len(stored) // 5):
        found = found_after(lambda at=at: _envelope(log, lambda was: flipped(was, at)))  # type: ignore[misc]  # bound now
        assert ("leaf_mismatch", SEQ) in found


@pytest.mark.parametrize("column", ["nonce", "ciphertext"])
@pytest.mark.parametrize("at", [0, -1])
def test_a_changed_payload(log: Log, column: str, at: int) -> None:
    stored = getattr(JournalPayload.objects.get(pk=log.event), column)
    found = found_after(lambda: set_columns(JournalPayload, log.event, **{column: flipped(stored, at)}))
    assert found == {("payload_mismatch", SEQ)}


def test_a_payload_under_another_key(log: Log) -> None:
    other = JournalSubjectKey.objects.get(subject="system")
    found = found_after(lambda: set_columns(JournalPayload, log.event, key_id=other.pk))
    assert found == {("payload_mismatch", SEQ)}


def test_the_payload_of_another_event(log: Log) -> None:
    other = JournalPayload.objects.get(pk=log.after)
    changes = {"nonce": other.nonce, "ciphertext": other.ciphertext}
    assert found_after(lambda: set_columns(JournalPayload, log.event, **changes)) == {
        ("payload_mismatch", SEQ)
    }


def test_a_payload_that_is_hidden_under_a_destroyed_key_of_somebody_else(log: Log) -> None:
    def tamper() -> None:
        erased = JournalSubjectKey.objects.get(subject="system")
        own = JournalSubjectKey.objects.create(
            id="jsk_other", subject="run_other", wrapped_key=None, kek_id=erased.kek_id, created_at=NOW,
            destroyed_at=NOW, destroyed_event=log.after,
        )  # fmt: skip
        set_columns(JournalPayload, log.event, key_id=own.pk)

    assert found_after(tamper) == {("payload_mismatch", SEQ)}


def test_a_key_that_was_destroyed_without_an_erasure(log: Log) -> None:
    rows = JournalSubjectKey.objects.filter(subject=log.run)
    report = report_after(lambda: rows.update(wrapped_key=None, destroyed_at=NOW, destroyed_event=log.after))
    assert report.counts == {"payload_mismatch": JournalEvent.objects.filter(run_id=log.run).count()}


@pytest.mark.parametrize("whose", ["its agent", "the run", "somebody else"])
def test_only_an_erasure_of_the_subject_explains_a_destroyed_key(log: Log, whose: str) -> None:
    """The type of the erasure's event is put there; what is asked is whose erasure it would have to be."""
    owner = Run.objects.get(pk=log.run).principal_id
    subject = {"its agent": owner, "the run": log.run, "somebody else": "agt_other"}[whose]

    def tamper() -> None:
        set_columns(JournalEvent, log.after, type="journal.subject_erased", subject=subject)
        JournalSubjectKey.objects.filter(subject=log.run).update(
            wrapped_key=None, destroyed_at=NOW, destroyed_event=log.after
        )

    assert ("payload_mismatch" in report_after(tamper).counts) == (whose == "somebody else")


def test_a_payload_that_is_gone(log: Log) -> None:
    found = found_after(lambda: remove(JournalPayload.objects.filter(pk=log.event)))
    assert found == {("payload_missing", SEQ)}


def test_an_event_that_is_gone(log: Log) -> None:
    found = found_after(lambda: remove_event(log.event))
    assert found == {("event_missing", SEQ), ("run_gap", SEQ + 1)}


def _copy_of(log: Log, event: str) -> None:
    row = JournalEvent.objects.get(pk=log.event)
    row.pk, row.run_id, row.run_seq = event, None, None
    row.save(force_insert=True)


def test_an_event_that_was_inserted(log: Log) -> None:
    assert found_after(lambda: _copy_of(log, "evt_copy")) == {("event_inserted", None)}


def test_an_event_that_was_slipped_among_those_that_wait(log: Log) -> None:
    def tamper() -> None:
        _copy_of(log, "evt_copy")
        JournalPending.objects.create(event_id="evt_copy")

    assert found_after(tamper) == {("column_mismatch", None), ("payload_missing", None)}


def test_two_envelopes_that_were_swapped(log: Log) -> None:
    def tamper() -> None:
        first, second = (bytes(JournalEvent.objects.get(pk=pk).envelope) for pk in (log.event, log.after))
        set_columns(JournalEvent, log.event, envelope=second)
        set_columns(JournalEvent, log.after, envelope=first)

    codes = ("leaf_mismatch", "column_mismatch", "payload_mismatch")
    assert found_after(tamper) == {(code, seq) for code in codes for seq in (SEQ, SEQ + 1)}


def test_two_leaves_that_were_swapped(log: Log) -> None:
    def tamper() -> None:
        first, second = JournalLeaf.objects.get(seq=SEQ), JournalLeaf.objects.get(seq=SEQ + 1)
        set_columns(JournalLeaf, SEQ, event_id="evt_aside")
        set_columns(JournalLeaf, SEQ + 1, event_id=first.event_id, leaf_hash=first.leaf_hash)
        set_columns(JournalLeaf, SEQ, event_id=second.event_id, leaf_hash=second.leaf_hash)

    assert found_after(tamper) == {
        ("chain_break", SEQ),
        ("chain_break", SEQ + 1),
        ("order_mismatch", SEQ),
        ("tile_mismatch", TILE),
        ("root_mismatch", MIDDLE),
    }


def test_a_changed_leaf(log: Log) -> None:
    stored = JournalLeaf.objects.get(pk=SEQ).leaf_hash
    assert found_after(lambda: set_columns(JournalLeaf, SEQ, leaf_hash=flipped(stored))) == {
        ("leaf_mismatch", SEQ),
        ("chain_break", SEQ),
        ("tile_mismatch", TILE),
        ("root_mismatch", MIDDLE),
    }


def test_a_leaf_of_another_length(log: Log) -> None:
    for leaf in (b"", bytes(1_000)):
        found = found_after(lambda leaf=leaf: set_columns(JournalLeaf, SEQ, leaf_hash=leaf))  # type: ignore[misc]  # bound now
        assert {("leaf_mismatch", SEQ), ("tile_mismatch", TILE)} <= found


def test_an_envelope_with_lists_in_the_place_of_ids(log: Log) -> None:
    odd = {name: [1] for name in ("actor", "call", "id", "run", "run_seq", "subject", "time", "type")}
    found = found_after(lambda: set_columns(JournalEvent, log.event, envelope=canonical({**odd, "v": 1})))
    assert {("leaf_mismatch", SEQ), ("column_mismatch", SEQ), ("payload_mismatch", SEQ)} <= found


def test_a_changed_link(log: Log) -> None:
    stored = JournalLeaf.objects.get(pk=SEQ).chain_hash
    found = found_after(lambda: set_columns(JournalLeaf, SEQ, chain_hash=flipped(stored)))
    assert found == {("chain_break", SEQ), ("chain_break", SEQ + 1)}


@pytest.mark.parametrize("named", [BATCH, MIDDLE, 10_000])
def test_a_leaf_that_names_another_checkpoint(log: Log, named: int) -> None:
    found = found_after(lambda: set_columns(JournalLeaf, SEQ, checkpoint=named))
    assert found == {("column_mismatch", SEQ)}


@pytest.mark.parametrize("seq", [0, SEQ, MIDDLE, MIDDLE + 1])
def test_a_leaf_that_is_gone(log: Log, seq: int) -> None:
    found = found_after(lambda: remove(JournalLeaf.objects.filter(pk=seq)))
    assert {("seq_gap", seq), ("event_inserted", None)} <= found
    assert {code for code, _ in found} <= {"seq_gap", "event_inserted", "order_mismatch", "key_unknown"}


def test_leaves_that_are_gone_at_the_end(log: Log) -> None:
    found = found_after(lambda: remove(JournalLeaf.objects.filter(seq__gte=log.size - 3)))
    assert {("seq_gap", log.size - 3), ("event_inserted", None)} <= found


def test_a_leaf_that_was_added(log: Log) -> None:
    last = JournalLeaf.objects.get(seq=log.size - 1)
    added = JournalLeaf(log.size, "evt_added", last.leaf_hash, last.chain_hash, log.size)
    assert found_after(lambda: added.save(force_insert=True)) == {("checkpoint_missing", log.size)}


@pytest.mark.parametrize("column", ["hashes", "root"])
@pytest.mark.parametrize("at", [0, -1])
def test_a_changed_tile(log: Log, column: str, at: int) -> None:
    tile = JournalTile.objects.get(level=0, index=1)
    found = found_after(
        lambda: set_columns(JournalTile, tile.pk, **{column: flipped(getattr(tile, column), at)})
    )
    assert found == {("tile_mismatch", TILE)}


def test_a_tile_that_is_gone_or_too_many(log: Log) -> None:
    tile = JournalTile.objects.get(level=0, index=1)
    assert found_after(lambda: remove(JournalTile.objects.filter(pk=tile.pk))) == {("tile_mismatch", TILE)}
    for level, index in ((0, 2), (1, 0), (5, 9)):
        extra = JournalTile(level=level, index=index, hashes=tile.hashes, root=tile.root)
        assert found_after(lambda extra=extra: extra.save(force_insert=True)) == {("tile_mismatch", None)}  # type: ignore[misc]  # bound now


CHECKPOINT_BYTES = {"root": "root_mismatch", "chain_head": "chain_break", "frontier": "root_mismatch"}


@pytest.mark.parametrize("column", CHECKPOINT_BYTES)
@pytest.mark.parametrize("size", [2 * BATCH, None])
def test_changed_bytes_of_a_checkpoint(log: Log, column: str, size: int | None) -> None:
    row = JournalCheckpoint.objects.get(pk=size or log.size)
    change = {column: flipped(getattr(row, column))}
    found = found_after(lambda: set_columns(JournalCheckpoint, row.pk, **change))
    assert found == {(CHECKPOINT_BYTES[column], row.pk - 1)}


def test_a_frontier_of_another_length(log: Log) -> None:
    found = found_after(lambda: set_columns(JournalCheckpoint, 2 * BATCH, frontier=b"short"))
    assert found == {("root_mismatch", MIDDLE)}


NOTES: dict[str, Callable[[str], str]] = {
    "size": lambda text: text.replace(f"\n{2 * BATCH}\n", f"\n{2 * BATCH + 1}\n"),
    "signature": lambda text: text[:-6] + ("A" if text[-6] != "A" else "B") + text[-5:],
    "line": lambda text: text[:-1],
    "nothing": lambda text: "",
}


@pytest.mark.parametrize("part", NOTES)
def test_a_changed_note(log: Log, part: str) -> None:
    stored = JournalCheckpoint.objects.get(pk=2 * BATCH).note
    changed = NOTES[part](stored)
    assert changed != stored
    found = found_after(lambda: set_columns(JournalCheckpoint, 2 * BATCH, note=changed))
    assert found == {("signature_invalid", MIDDLE)}


def test_the_note_of_another_checkpoint(log: Log) -> None:
    other = JournalCheckpoint.objects.get(pk=BATCH).note
    found = found_after(lambda: set_columns(JournalCheckpoint, 2 * BATCH, note=other))
    assert found == {("root_mismatch", MIDDLE)}


def test_a_checkpoint_that_names_another_key(log: Log) -> None:
    other = JournalKey.objects.get(purpose="attestation").pk
    found = found_after(lambda: set_columns(JournalCheckpoint, 2 * BATCH, key_id=other))
    assert found == {("column_mismatch", MIDDLE)}


@pytest.mark.parametrize("moved", [timedelta(days=1), -timedelta(days=1)])
def test_a_checkpoint_at_another_time(log: Log, moved: timedelta) -> None:
    found = found_after(lambda: set_columns(JournalCheckpoint, 2 * BATCH, sealed_at=NOW + moved))
    assert found in ({("key_out_of_window", MIDDLE)}, {("column_mismatch", log.size - 1)})


def test_a_checkpoint_that_is_gone(log: Log) -> None:
    found = found_after(lambda: remove(JournalCheckpoint.objects.filter(pk=2 * BATCH)))
    assert found == {("checkpoint_missing", MIDDLE)}


def test_the_newest_checkpoint_is_gone(log: Log) -> None:
    found = found_after(lambda: remove(JournalCheckpoint.objects.filter(pk=log.size)))
    assert found == {("checkpoint_missing", 2 * BATCH), ("tile_mismatch", None)}


def _drop_tail(log: Log) -> None:
    """Take everything after the second checkpoint away, and every count of it: the log just ends earlier."""
    gone = [*JournalLeaf.objects.filter(seq__gte=2 * BATCH).values_list("event_id", flat=True)]
    gone += JournalPending.objects.values_list("event_id", flat=True)
    JournalPending.objects.all().delete()
    remove(JournalPayload.objects.filter(pk__in=gone))
    remove(JournalEvent.objects.filter(pk__in=gone))
    remove(JournalLeaf.objects.filter(seq__gte=2 * BATCH))
    remove(JournalTile.objects.filter(index__gte=1))
    remove(JournalCheckpoint.objects.filter(tree_size__gt=2 * BATCH))
    left = JournalEvent.objects.filter(run_id=log.run).count()
    Run.objects.filter(pk=log.run).update(event_seq=left)


def test_a_tail_that_was_cut_off_contradicts_what_others_hold(log: Log) -> None:
    newest = JournalCheckpoint.objects.get(pk=log.size)
    value = f"{log.size} {b64encode(bytes(newest.root)).decode()}"
    for held in ((value,), (newest.note,), (f"Palyra-Checkpoint: {value}",)):
        options = Options(against=(Source("a client", lines=held),))
        assert verified(options).first == []
        found = found_after(lambda options=options: _drop_tail(log), options)  # type: ignore[misc]  # bound now
        assert found == {("truncated", 2 * BATCH)}
    assert found_after(lambda: _drop_tail(log)) == set()


def test_a_tail_that_was_cut_off_is_found_under_another_name_of_the_log(log: Log) -> None:
    """The name by default is in the database; who cuts the tail can write that too."""
    for row in JournalCheckpoint.objects.order_by("tree_size"):
        checkpoint_log.append(row.note)

    def tamper() -> None:
        _drop_tail(log)
        Instance.objects.update(id="ins_other")

    assert found_after(lambda: _drop_tail(log)) == {("truncated", 2 * BATCH)}
    assert found_after(tamper) == {("truncated", 2 * BATCH)}


def test_quick_names_leaves_that_no_checkpoint_covers(log: Log) -> None:
    found = found_after(lambda: remove(JournalCheckpoint.objects.all()), Options(quick=True))
    assert ("checkpoint_missing", 0) in found
