from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.test import override_settings
from pytest_django.fixtures import Settings
from pytest_django.plugin import DjangoDbBlocker

from governance.operations import oidc
from kernel.clock import utc_now
from tests.governance.admin.signing_in import Idp, switch
from tests.governance.admin.world import World, make_world
from tests.module_worlds import rolled_back
from tests.support_fixtures import ROOT, is_answering
from tests.support_servers import free_port, running


@pytest.fixture(scope="package", autouse=True)
def fast_and_quiet() -> Iterator[None]:
    """Cheap passwords, since their cost is not the matter here, and the directory of static files."""
    Path(settings.STATIC_ROOT).mkdir(exist_ok=True)
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        yield


@pytest.fixture(scope="module")
def founded(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[World]:
    """One installation for a module, in a transaction that is rolled back after it."""
    with rolled_back(django_db_blocker):
        yield make_world()


@pytest.fixture
def world(founded: World, db: None) -> World:
    """The installation of this module; each test has a savepoint in it."""
    return founded


@pytest.fixture(scope="session")
def idp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Idp]:
    """A sign-in provider in a process of its own."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "tests.support_provider", str(port)]
    log = tmp_path_factory.mktemp("provider") / "log"
    there = f"{url}/.well-known/openid-configuration"
    with running(command, log=log, ready=lambda: is_answering(there), cwd=ROOT):
        yield Idp(url)


@pytest.fixture
def offered(world: World, idp: Idp, settings: Settings) -> Idp:
    """The provider set up, the feature on, and the approver's account there linked."""
    settings.PALYRA_OIDC_ISSUER, settings.PALYRA_OIDC_CLIENT_ID = idp.url, "palyra-test"
    settings.PALYRA_OIDC_CLIENT_SECRET = "a secret of the client"
    switch("oidc_login", enabled=True)
    oidc.link(username="approver", subject="sub-approver", now=utc_now())
    idp.knows("sub-approver", name="Ana")
    return idp
