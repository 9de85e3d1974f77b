"""Rows that tests of the stored parts start from."""

from __future__ import annotations

import pytest
from django.db import transaction

from policy.services import install_baseline
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, Cast, make_cast


@pytest.fixture
def cast(db: None) -> Cast:
    """Return the cast, in an instance whose baseline is installed."""
    return installed()


def installed() -> Cast:
    """Create the cast and install the baseline."""
    cast = make_cast()
    with transaction.atomic():
        install_baseline(actor=SYSTEM, now=NOW, record=RecordedEvents())
    return cast
