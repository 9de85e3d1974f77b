"""Sealing gives every event its leaf, its link and a signed checkpoint over all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import connection

from governance.journal import note, proof
from governance.journal.chain import START, leaf_hash, link
from governance.journal.keys import origin, public_keys
from governance.journal.merkle import inclusion_proof, root
from governance.journal.models import (
    JournalCheckpoint,
    JournalEvent,
    JournalKey,
    JournalLeaf,
    JournalPending,
    JournalTile,
)
from governance.journal.sealing import current_head, seal
from governance.journal.tiles import reader
from kernel.errors import UnavailableError
from tests.governance.journal.mass import fill
from tests.governance.journal.writing import NOW, write
from vault.types import KeyPurpose

pytestmark = pytest.mark.usefixtures("ready")


class _Forger(NamedTuple):
    public_key: bytes
    sign: Callable[[bytes], bytes]


def test_waiting_events_become_leaves_in_their_order_under_one_checkpoint() -> None:
    events = [write() for _ in range(5)]

    sealed = seal(now=NOW)

    assert sealed is not None
    leaves = list(JournalLeaf.objects.order_by("seq"))
    waited = [event.pk for event in events]
    assert [leaf.event_id for leaf in leaves][-5:] == waited or set(waited) <= {
        leaf.event_id for leaf in leaves
    }
    assert [leaf.seq for leaf in leaves] == list(range(sealed.tree_size))
    chain = START
    for leaf in leaves:
        expected = leaf_hash(bytes(JournalEvent.objects.get(pk=leaf.event_id).envelope))
        chain = link(chain, expected)
        assert (bytes(leaf.leaf_hash), bytes(leaf.chain_hash)) == (expected, chain)
    signed = note.open(sealed.note, public_keys(KeyPurpose.CHECKPOINT))
    assert (signed.size, signed.root) == (len(leaves), root(bytes(leaf.leaf_hash) for leaf in leaves))
    assert not JournalPending.objects.filter(event_id__in=waited).exists()


def test_every_sealed_event_has_a_proof_that_a_stranger_can_check() -> None:
    for _ in range(3):
        write()
    sealed = seal(now=NOW)
    assert sealed is not None
    keys = public_keys(KeyPurpose.CHECKPOINT)

    for leaf in JournalLeaf.objects.all():
        envelope = bytes(JournalEvent.objects.get(pk=leaf.event_id).envelope)
        path = inclusion_proof(reader(sealed.tree_size), leaf.seq, sealed.tree_size)
        verdict = proof.check(proof.render(envelope, leaf.seq, path, sealed.note), keys)
        assert (verdict.ok, verdict.seq, verdict.envelope) == (True, leaf.seq, envelope)


def test_tiles_are_stored_when_they_are_full() -> None:
    fill(259)

    seal(now=NOW, limit=100)
    seal(now=NOW)

    assert list(JournalTile.objects.values_list("level", "index")) == [(0, 0)]
    assert current_head().frontier.size == JournalLeaf.objects.count()


def test_nothing_is_sealed_onto_a_history_that_somebody_elses_key_signed() -> None:
    """A published key is a row, and rows can be written; a private half in the vault cannot."""
    write()
    seal(now=NOW)
    forger = Ed25519PrivateKey.generate()
    public = forger.public_key().public_bytes_raw()
    own = JournalKey.objects.get(purpose="checkpoint")
    stranger = JournalKey.objects.create(
        key_id=note.key_id(public), purpose="checkpoint", public_key=public, vault_ref=own.vault_ref,
        not_before=NOW, retired_at=NOW, rotation_event=own.rotation_event,
    )  # fmt: skip
    head, added = current_head(), write()
    leaf = leaf_hash(b"a history of my own")
    frontier, chain, size = head.frontier.extend(leaf), link(head.chain, leaf), head.frontier.size + 1
    JournalPending.objects.filter(event_id=added.pk).delete()
    JournalLeaf.objects.create(
        seq=size - 1, event_id=added.pk, leaf_hash=leaf, chain_hash=chain, checkpoint=size
    )
    JournalCheckpoint.objects.create(
        tree_size=size, root=frontier.root(), chain_head=chain, frontier=frontier.joined(), key=stranger,
        note=note.sign(origin(NOW), size, frontier.root(), _Forger(public, forger.sign)), sealed_at=NOW,
    )  # fmt: skip
    write()

    with pytest.raises(UnavailableError) as refused:
        seal(now=NOW)

    assert refused.value.code == "journal_inconsistent"


def test_nothing_is_sealed_onto_a_tree_that_was_changed() -> None:
    write()
    seal(now=NOW)
    last = JournalCheckpoint.objects.order_by("-tree_size").values_list("tree_size", flat=True)[0]
    names = {"sqlite": ("update",), "postgresql": ("rows",)}[connection.vendor]
    with connection.cursor() as cursor:
        for name in names:
            on = ' ON "governance_journalcheckpoint"' if connection.vendor == "postgresql" else ""
            cursor.execute(f'DROP TRIGGER "governance_journalcheckpoint_no_{name}"{on}')
    JournalCheckpoint.objects.filter(pk=last).update(root=bytes(32))
    write()

    with pytest.raises(UnavailableError) as refused:
        seal(now=NOW)

    assert refused.value.code == "journal_inconsistent"
