"""Giving events their numbers: leaf, chain, tree and one signed checkpoint for a batch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Exists, OuterRef

from governance.journal import note
from governance.journal.chain import START, leaf_hash, link
from governance.journal.keys import origin, public_keys, signing_key
from governance.journal.merkle import TILE_WIDTH, Frontier, tile_root
from governance.journal.models import JournalCheckpoint, JournalLeaf, JournalPending, JournalTile
from governance.journal.tiles import gather
from kernel.errors import InvalidError, UnavailableError
from kernel.record import system_actor
from vault import services as vault
from vault.types import KeyPurpose

BATCH = 5_000


@dataclass(frozen=True, slots=True)
class Head:
    """Where the sealed log ends."""

    frontier: Frontier
    chain: bytes
    sealed_at: datetime | None = None


def seal(
    *, now: datetime, limit: int = BATCH, also: tuple[note.Signer, ...] = ()
) -> JournalCheckpoint | None:
    """Seal up to `limit` waiting events in the caller's transaction; None when nothing waits.

    `also` are keys that sign beside the one in use, as a retiring one does. The time of a checkpoint never
    lies before that of the last one. The caller makes sure that it is the only one. Raises UnavailableError
    `journal_inconsistent` when the stored tree is not the one of the last checkpoint: no second history is
    ever signed.
    """
    if not JournalPending.objects.exists():
        return None
    signer, key = signing_key(KeyPurpose.CHECKPOINT, actor=system_actor("sealer"), now=now)
    head = current_head()
    sealed = JournalLeaf.objects.filter(event_id=OuterRef("event_id"))
    if JournalPending.objects.filter(Exists(sealed)).exists():
        raise _inconsistent("an event waits that was sealed before")
    waiting = list(JournalPending.objects.select_related("event").order_by("n")[:limit])
    frontier, chain, leaves = head.frontier, head.chain, []
    size = frontier.size + len(waiting)
    for row in waiting:
        leaf = leaf_hash(bytes(row.event.envelope))
        chain = link(chain, leaf)
        leaves.append(JournalLeaf(frontier.size, row.event_id, leaf, chain, size))
        frontier = frontier.extend(leaf)
    JournalLeaf.objects.bulk_create(leaves, batch_size=500)
    _write_tiles(head.frontier.size, size)
    checkpoint = JournalCheckpoint.objects.create(
        tree_size=size,
        root=frontier.root(),
        chain_head=chain,
        note=note.sign(origin(now), size, frontier.root(), signer, *also),
        key=key,
        sealed_at=max(now, head.sealed_at or now),
        frontier=frontier.joined(),
    )
    JournalPending.objects.filter(n__in=[row.n for row in waiting]).delete()
    return checkpoint


def current_head() -> Head:
    """Return where the log ends, after checking it against the newest checkpoint and its signature.

    Only keys whose private half lies in the vault are believed: a row of a key can be written by whoever
    writes the database.
    """
    last = JournalCheckpoint.objects.order_by("-tree_size").first()
    newest = JournalLeaf.objects.order_by("-seq").first()
    if last is None:
        if newest is not None:
            raise _inconsistent("there are leaves and no checkpoint")
        return Head(Frontier(), START)
    if (
        newest is None
        or newest.seq != last.tree_size - 1
        or bytes(newest.chain_hash) != bytes(last.chain_head)
    ):
        raise _inconsistent("the leaves do not end where the newest checkpoint does")
    try:
        frontier = Frontier.split(last.tree_size, bytes(last.frontier))
        signed = note.open(last.note, public_keys(KeyPurpose.CHECKPOINT))
    except (ValueError, InvalidError) as error:
        raise _inconsistent("the newest checkpoint does not hold") from error
    if not any(vault.holds_signing_key(KeyPurpose.CHECKPOINT, key_id) for key_id in signed.signed_by):
        raise _inconsistent("the newest checkpoint is signed by a key that is not in the vault")
    if (signed.size, signed.root) != (last.tree_size, frontier.root()) or signed.root != bytes(last.root):
        raise _inconsistent("the newest checkpoint is not that of the stored tree")
    return Head(frontier, bytes(last.chain_head), last.sealed_at)


def _write_tiles(before: int, after: int) -> None:
    """Store every tile that became full, from the lowest level up."""
    level = 0
    while after // TILE_WIDTH:
        before, after = before // TILE_WIDTH, after // TILE_WIDTH
        for index in range(before, after):
            hashes = gather(level, index, TILE_WIDTH)
            JournalTile.objects.create(level=level, index=index, hashes=hashes, root=tile_root(hashes))
        level += 1


def _inconsistent(detail: str) -> UnavailableError:
    return UnavailableError("journal_inconsistent", f"The journal is not what was signed: {detail}.")
