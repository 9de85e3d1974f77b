from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import settings
from pytest_django.plugin import DjangoDbBlocker

from tests.governance.notifications.telling import World, found
from tests.module_worlds import rolled_back


@pytest.fixture(scope="package", autouse=True)
def cheap_passwords() -> Iterator[None]:
    """Scrypt is slow on purpose; what a hash costs is not what these tests are about."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "PASSWORD_HASHERS", ["django.contrib.auth.hashers.MD5PasswordHasher"])
        yield


@pytest.fixture(scope="module")
def founded(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[World]:
    """One instance for a module, in a transaction that is rolled back after it."""
    with rolled_back(django_db_blocker):
        yield found()


@pytest.fixture
def world(founded: World, db: None) -> World:
    """The instance of this module; each test has a savepoint, and none may commit."""
    return founded
