from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import settings
from django.db import transaction
from pytest_django.plugin import DjangoDbBlocker

from tests.governance.notifications.telling import World, found


@pytest.fixture(scope="package", autouse=True)
def cheap_passwords() -> Iterator[None]:
    """Scrypt is slow on purpose; what a hash costs is not what these tests are about."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "PASSWORD_HASHERS", ["django.contrib.auth.hashers.MD5PasswordHasher"])
        yield


@pytest.fixture(scope="module")
def founded(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[World]:
    """One instance for a module, in a transaction that is rolled back after it."""
    with django_db_blocker.unblock():
        block = transaction.atomic()
        block._from_testcase = True  # type: ignore[attr-defined]  # as Django's TestCase does
        with block:
            yield found()
            transaction.set_rollback(True)


@pytest.fixture
def world(founded: World, db: None) -> World:
    """The instance of this module; each test has a savepoint, and none may commit."""
    return founded
