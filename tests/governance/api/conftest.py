from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from pytest_django.plugin import DjangoDbBlocker

from kernel.clock import utc_now
from tests.governance.api.world import World, found_world
from tests.module_worlds import rolled_back


@pytest.fixture(scope="package", autouse=True)
def fast_and_quiet() -> Iterator[None]:
    """Cheap passwords, since their cost is not the matter here, and the directory of static files.

    `manage.py up` fills that directory; without it the static files' middleware warns.
    """
    Path(settings.STATIC_ROOT).mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "PASSWORD_HASHERS", ["django.contrib.auth.hashers.MD5PasswordHasher"])
        yield


@pytest.fixture(scope="module")
def founded(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[World]:
    """One installation for a module: founding validates many policy sets and takes seconds.

    It lies in a transaction that is rolled back after the module; each test has a savepoint in it.
    """
    with rolled_back(django_db_blocker):
        yield found_world(utc_now())


@pytest.fixture
def world(founded: World, db: None) -> World:
    """The installation of this module. A module that uses it holds no test that commits."""
    return founded


@pytest.fixture
def committed_world(transactional_db: None) -> World:
    """As `world`, but other threads and processes see it."""
    return found_world(utc_now())
