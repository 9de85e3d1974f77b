"""Sealers in processes of their own that are killed again and again, and what must hold after it."""

from __future__ import annotations

import os
import random
import select
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import connections

from governance.journal import checkpoint_log, note
from governance.journal.chain import START, leaf_hash, link
from governance.journal.keys import origin
from governance.journal.merkle import Frontier
from governance.journal.models import JournalCheckpoint, JournalEvent, JournalLeaf, JournalPending
from governance.operations.sealing import catch_up, seal_pending
from kernel.clock import utc_now
from tests.governance.journal.writing import NOW

LONGEST_LIFE, LONGEST_PASS = 0.06, 30.0
FAILED, KILLED = 1, -int(signal.SIGKILL)


@contextmanager
def dying_sealers(count: int) -> Iterator[None]:
    """Run so many sealers meanwhile, each killed with SIGKILL in a later pass than its first one, at random.

    A new one takes its place. AssertionError at the end when one of them failed by itself.
    """
    connections.close_all()  # a connection must not be shared with a fork
    keeper = os.fork()
    if keeper == 0:
        _keep_killing(count)
    try:
        yield
    finally:
        os.kill(keeper, signal.SIGTERM)
        _, status = os.waitpid(keeper, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "a sealer failed by itself"


def _keep_killing(count: int) -> None:
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
    alive, code = [_start() for _ in range(count)], 0
    while not stopping and not code:
        oldest = alive.pop(0)
        select.select([oldest.passed], [], [], LONGEST_PASS)
        time.sleep(random.uniform(0.0, LONGEST_LIFE))
        code |= _end(oldest)
        alive.append(_start())
    for one in alive:
        code |= _end(one)
    os._exit(code)


@dataclass(frozen=True)
class _Sealer:
    """A process, and the end of a pipe that has something to read after its first pass."""

    pid: int
    passed: int


def _start() -> _Sealer:
    passed, done = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            while True:
                seal_pending(utc_now())  # at NOW, forks would count up the same ids
                os.write(done, b".")
                time.sleep(0.001)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(FAILED)
    os.close(done)
    return _Sealer(child, passed)


def _end(sealer: _Sealer) -> int:
    os.kill(sealer.pid, signal.SIGKILL)
    _, status = os.waitpid(sealer.pid, 0)
    os.close(sealer.passed)
    return 0 if os.waitstatus_to_exitcode(status) == KILLED else FAILED


def assert_sealed_once() -> int:
    """Every event has one leaf, every checkpoint is that of its leaves; return how many events there are.

    And the log has no checkpoint that the database does not have, in rising order.
    """
    while seal_pending(NOW) is not None:
        pass
    catch_up(NOW)  # of the last batch, whose sealer may have died between its commit and the log
    assert not JournalPending.objects.exists()
    leaves = list(JournalLeaf.objects.order_by("seq"))
    assert [leaf.seq for leaf in leaves] == list(range(len(leaves)))
    events = dict(JournalEvent.objects.values_list("id", "envelope"))
    assert {leaf.event_id for leaf in leaves} == set(events)
    made = {one.tree_size: one for one in JournalCheckpoint.objects.all()}
    frontier, chain = Frontier(), START
    for leaf in leaves:
        expected = leaf_hash(bytes(events[leaf.event_id]))
        frontier, chain = frontier.extend(expected), link(chain, expected)
        assert (bytes(leaf.leaf_hash), bytes(leaf.chain_hash)) == (expected, chain)
        checkpoint = made.pop(frontier.size, None)
        if checkpoint is not None:
            assert bytes(checkpoint.root) == frontier.root() == note.parse(checkpoint.note).root
            assert leaf.checkpoint == frontier.size
    assert made == {}
    _assert_log()
    assert not JournalEvent.objects.filter(type="journal.inconsistent").exists()
    return len(leaves)


def _assert_log() -> None:
    notes = list(checkpoint_log.notes(checkpoint_log.path().read_bytes().splitlines()))
    sizes = [note.parse(text).size for text in notes]
    assert sizes == sorted(set(sizes))
    assert {note.parse(text).origin for text in notes} == {origin(NOW)}
    assert set(notes) <= set(JournalCheckpoint.objects.values_list("note", flat=True))
    assert sizes[-1] == JournalLeaf.objects.count()
