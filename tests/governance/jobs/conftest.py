"""Jobs are tested in the installation that the path of a call is tested in."""

from __future__ import annotations

import pytest

from tests.governance.pipeline.conftest import (
    cheap_passwords as cheap_passwords,
    committed_world as committed_world,
    founded as founded,
)
from tests.governance.pipeline.world import World


@pytest.fixture
def world(founded: World, db: None) -> World:
    """The installation of this module. A module that uses it holds no test that commits."""
    return founded
