from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.hosts import KINDS, Host, founded, postgres_database
from tests.e2e.installation import Installation, free_bind


@pytest.fixture
def base() -> Iterator[Path]:
    """Yield a directory that a sandbox's user may search; pytest's own are closed to it."""
    path = Path(tempfile.mkdtemp(prefix="palyra-e2e-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def installation(base: Path) -> Installation:
    return Installation(base, free_bind())


@pytest.fixture(scope="module", params=KINDS)
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """Yield an installation whose web server runs; on each pair of database and broker in turn."""
    with ExitStack() as stack:
        redis_url = request.getfixturevalue("redis_server") if "redis" in request.param else ""
        database_url = stack.enter_context(postgres_database()) if "postgres" in request.param else ""
        made = stack.enter_context(founded(redis_url=redis_url, database_url=database_url))
        stack.enter_context(made.installation.web())
        yield made
