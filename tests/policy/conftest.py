"""Rows that tests of the stored parts start from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import transaction
from pytest_django.plugin import DjangoDbBlocker

from policy.services import install_baseline
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, Cast, make_cast
from tests.module_worlds import rolled_back


@pytest.fixture(scope="module")
def cast_of_module(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Cast]:
    """One instance for a module, in a transaction that is rolled back after it."""
    with rolled_back(django_db_blocker):
        yield installed()


@pytest.fixture
def cast(cast_of_module: Cast, db: None) -> Cast:
    """Return the cast of this module's instance; each test has a savepoint, and none may commit."""
    return cast_of_module


def installed() -> Cast:
    """Create the cast and install the baseline."""
    cast = make_cast()
    with transaction.atomic():
        install_baseline(actor=SYSTEM, now=NOW, record=RecordedEvents())
    return cast
