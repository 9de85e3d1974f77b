from __future__ import annotations

import pytest

from tests.governance.journal.writing import NOW
from vault import services as vault


@pytest.fixture
def ready(db: None) -> None:
    """Give the instance its keys; a test that commits asks for `transactional_db` first."""
    vault.ensure_ready(now=NOW)
