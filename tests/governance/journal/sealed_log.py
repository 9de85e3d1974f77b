"""A sealed log to tamper with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from pytest_django.plugin import DjangoDbBlocker

from governance.journal.keys import signing_key
from governance.journal.merkle import TILE_WIDTH
from governance.journal.models import JournalCheckpoint, JournalEvent, JournalLeaf
from governance.journal.sealing import seal
from tests.governance.journal.attesting import attest
from tests.governance.journal.mass import fill
from tests.governance.journal.writing import AGENT, NOW, write
from tests.module_worlds import rolled_back
from vault import services as vault
from vault.types import KeyPurpose

SEQ = 300
"""The leaf that is tampered with: in the second tile and the second batch."""

BATCH = 200
MIDDLE = 2 * BATCH - 1
"""The last leaf of the checkpoint over it."""

TILE = SEQ - SEQ % TILE_WIDTH


@dataclass(frozen=True)
class Log:
    """A sealed log of some 560 events with three checkpoints, an attestation, and two events that wait."""

    run: str
    event: str
    after: str
    attestation: str
    recorded: int
    size: int


def make_log() -> Log:
    """Write and seal it; two events wait."""
    vault.ensure_ready(now=NOW)
    signing_key(KeyPurpose.CHECKPOINT, actor=AGENT, now=NOW)
    run = fill(3)
    attestation = attest(run=run.pk)
    fill(550, run=run)
    for at in range(3):
        seal(now=NOW + timedelta(seconds=at), limit=BATCH)
    for _ in range(2):
        write(run=run.pk)
    recorded = JournalEvent.objects.get(subject=attestation.pk)
    return Log(
        run=run.pk,
        event=JournalLeaf.objects.get(seq=SEQ).event_id,
        after=JournalLeaf.objects.get(seq=SEQ + 1).event_id,
        attestation=attestation.pk,
        recorded=JournalLeaf.objects.get(event_id=recorded.pk).seq,
        size=JournalCheckpoint.objects.order_by("-tree_size")[0].tree_size,
    )


@pytest.fixture(scope="module")
def sealed(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Log]:
    with rolled_back(django_db_blocker):
        yield make_log()


@pytest.fixture
def log(sealed: Log, db: None) -> Log:
    return sealed
