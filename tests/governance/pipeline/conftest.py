from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import settings
from django.core.management import call_command
from django.test import TransactionTestCase
from pytest_django.plugin import DjangoDbBlocker

from governance import runner
from kernel.clock import utc_now
from palyra_site import broker
from tests.governance.pipeline.world import World, found_world
from tests.module_worlds import rolled_back
from tests.support_append_only import guards_lifted


@pytest.fixture(scope="package", autouse=True)
def cheap_passwords() -> Iterator[None]:
    """Hash passwords at no cost, since they are not the matter here."""
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
def world(founded: World, db: None, monkeypatch: pytest.MonkeyPatch) -> World:
    """The installation of this module. A module that uses it holds no test that commits.

    The worker leaves the connection open while a tool runs: here it carries the test's transaction.
    """
    monkeypatch.setattr(runner, "close_old_connections", lambda: None)
    return founded


@pytest.fixture(scope="module")
def committed_world(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[World]:
    """As `world`, but other threads see it, and what a test leaves stays until the end of the module."""
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda case: None)
        broker.make_folders()
        try:
            yield found_world(utc_now())
        finally:
            with guards_lifted():
                call_command("flush", verbosity=0, interactive=False, inhibit_post_migrate=True)
