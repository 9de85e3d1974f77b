from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.servers import RealServer, serving
from tests.cli.shell import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(home=tmp_path)


@pytest.fixture
def real_server() -> Iterator[RealServer]:
    with serving(b'{"id":"usr_1"}') as server:
        yield server
