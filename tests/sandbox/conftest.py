from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.runners.places import runner_options
from sandbox.runners.worker import RunnerPool
from tests.sandbox.process_builders import Sandbox, workspace_for


@pytest.fixture(scope="session")
def runner_pool() -> Iterator[RunnerPool]:
    pool = RunnerPool(runner_options())
    yield pool
    pool.close()


@pytest.fixture
def box(runner_pool: RunnerPool) -> Iterator[Sandbox]:
    with workspace_for(runner_pool.options.sandbox_uid) as root:
        yield Sandbox(runner_pool, root)
