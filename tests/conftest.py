from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from django.conf import settings

from tests.support_append_only import flush_without_guards as flush_without_guards


def pytest_configure() -> None:
    """Look for a static file when it is asked for: a test client would list all of them when it is made."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "palyra_site.settings")
    settings.WHITENOISE_AUTOREFRESH = True


@pytest.fixture(autouse=True)
def fresh_log_of_checkpoints() -> Iterator[None]:
    """Begin the log anew after each test: what one sealed was rolled back behind its back."""
    yield
    (settings.PALYRA_HOME / "journal" / "checkpoints.log").unlink(missing_ok=True)
