"""What a whole module of tests shares: made once, and gone after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import transaction
from pytest_django.plugin import DjangoDbBlocker


@contextmanager
def rolled_back(blocker: DjangoDbBlocker) -> Iterator[None]:
    """Open the database until the end of the module, in a transaction of which nothing stays.

    Each test has a savepoint in it, and none may commit.
    """
    with blocker.unblock():
        block = transaction.atomic()
        block._from_testcase = True  # type: ignore[attr-defined]  # as Django's TestCase does
        with block:
            yield
            transaction.set_rollback(True)
