from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.test import TransactionTestCase
from pytest_django.fixtures import Settings
from pytest_django.plugin import DjangoDbBlocker

from tests.cast import Cast, make_cast
from tests.module_worlds import rolled_back
from tests.support_append_only import guards_lifted

HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def cheap_passwords(settings: Settings) -> None:
    """Scrypt is slow on purpose; what a hash costs is not what these tests are about."""
    settings.PASSWORD_HASHERS = HASHERS


@pytest.fixture(scope="module")
def founded_cast(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Cast]:
    """One cast for a module, in a transaction that is rolled back; each test has a savepoint in it.

    A module that uses it holds no test that commits.
    """
    with rolled_back(django_db_blocker), pytest.MonkeyPatch.context() as patch:
        patch.setattr(django_settings, "PASSWORD_HASHERS", HASHERS)
        yield make_cast()


@pytest.fixture(scope="module")
def committed_cast(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Cast]:
    """One cast that all threads see; what a test leaves stays until the end of the module."""
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda case: None)
        patch.setattr(django_settings, "PASSWORD_HASHERS", HASHERS)
        try:
            yield make_cast()
        finally:
            with guards_lifted():
                call_command("flush", verbosity=0, interactive=False, inhibit_post_migrate=True)
