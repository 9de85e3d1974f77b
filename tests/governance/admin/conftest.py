from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import transaction
from django.test import override_settings
from pytest_django.plugin import DjangoDbBlocker

from tests.governance.admin.world import World, make_world


@pytest.fixture(scope="package", autouse=True)
def fast_and_quiet() -> Iterator[None]:
    """Cheap passwords, since their cost is not the matter here, and the directory of static files."""
    Path(settings.STATIC_ROOT).mkdir(exist_ok=True)
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        yield


@pytest.fixture(scope="module")
def founded(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[World]:
    """One installation for a module, in a transaction that is rolled back after it."""
    with django_db_blocker.unblock():
        block = transaction.atomic()
        block._from_testcase = True  # type: ignore[attr-defined]  # as Django's TestCase does
        with block:
            yield make_world()
            transaction.set_rollback(True)


@pytest.fixture
def world(founded: World, db: None) -> World:
    """The installation of this module; each test has a savepoint in it."""
    return founded
