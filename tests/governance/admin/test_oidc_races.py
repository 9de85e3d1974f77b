"""Real threads on one sign-in: one exchange, one login, one person, whoever comes first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.cookies import SimpleCookie
from threading import Barrier
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client, TransactionTestCase
from pytest_django.fixtures import Settings
from pytest_django.plugin import DjangoDbBlocker

from governance.journal.ledger import record
from governance.journal.models import JournalEvent
from governance.operations import oidc
from identity.invitations import create_invitation
from identity.models import ConsoleSession, Membership, User
from identity.roles import WorkspaceRole
from kernel.clock import utc_now
from kernel.record import Actor
from tests.governance.admin.signing_in import (
    CONFIRM,
    COOKIE,
    Idp,
    come_back,
    leave,
    new_subject,
    path_of,
    switch,
)
from tests.governance.admin.world import World, code_now, make_world
from tests.support_append_only import guards_lifted

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


@pytest.fixture(scope="module")
def shared(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[World]:
    """An installation that other threads see; what a test leaves stays until the end of the module."""
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda case: None)
        try:
            made = make_world()
            switch("oidc_login", enabled=True)
            switch("team_mode", enabled=True, stage="general")
            yield made
        finally:
            with guards_lifted():
                call_command("flush", verbosity=0, interactive=False, inhibit_post_migrate=True)


@pytest.fixture
def offered(shared: World, idp: Idp, settings: Settings) -> Idp:
    settings.PALYRA_OIDC_ISSUER, settings.PALYRA_OIDC_CLIENT_ID = idp.url, "palyra-test"
    settings.PALYRA_OIDC_CLIENT_SECRET = "a secret of the client"
    return idp


def together(*works: Callable[[], Any]) -> Counter[int]:
    """Run all at once on connections of their own; count the statuses of the answers."""
    barrier = Barrier(len(works))

    def run(work: Callable[[], Any]) -> int:
        try:
            barrier.wait(timeout=30)
            return int(work().status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(works)) as pool:
        return Counter(pool.map(run, works))


def twin(browser: Client) -> Client:
    """Return the same browser in another tab."""
    other = Client()
    other.cookies = SimpleCookie(browser.cookies.output(header="", sep=";"))
    return other


def logins(user: User) -> int:
    return JournalEvent.objects.filter(type="login.succeeded", subject=user.pk).count()


def test_of_parallel_callbacks_one_is_exchanged(offered: Idp, shared: World) -> None:
    oidc.link(username="approver", subject="sub-1", now=utc_now())
    browser = Client()
    back = path_of(offered.signs_in(leave(browser), "sub-1"))
    assert together(*[lambda: twin(browser).get(back)] * 4) == {200: 1, 409: 3}


def test_of_parallel_confirmations_with_one_code_one_signs_in(offered: Idp, shared: World) -> None:
    oidc.link(username="auditor", subject="sub-2", now=utc_now())
    browser = Client()
    come_back(browser, offered, "sub-2")
    code = code_now()
    results = together(*[lambda: twin(browser).post(CONFIRM, {"code": code})] * 3)
    assert results[302] == 1
    assert logins(shared.auditor) == 1
    assert ConsoleSession.objects.filter(user=shared.auditor).count() == 1


def test_of_parallel_confirmations_without_a_code_one_signs_in(
    offered: Idp, shared: World, settings: Settings
) -> None:
    settings.PALYRA_OIDC_TRUST_AMR = True
    oidc.link(username="viewer", subject=offered.knows("sub-3", amr=["mfa"]), now=utc_now())
    browser = Client()
    come_back(browser, offered, "sub-3")
    results = together(*[lambda: twin(browser).post(CONFIRM)] * 4)
    assert results[302] == 1
    assert logins(shared.viewer) == 1
    assert ConsoleSession.objects.filter(user=shared.viewer).count() == 1


def test_one_invitation_makes_one_person_from_two_browsers_at_once(offered: Idp, shared: World) -> None:
    with transaction.atomic():
        create_invitation(
            workspace_id=shared.workspace.pk,
            email="twice@example.com",
            role=WorkspaceRole.VIEWER,
            expires_in_days=7,
            actor=Actor(kind="user", id=shared.owner.pk, auth="session", surface="console"),
            now=utc_now(),
            record=record,
        )
    subjects = [
        offered.knows(new_subject(), email="twice@example.com", email_verified=True) for _ in range(3)
    ]
    browsers = [Client() for _ in (*subjects, "again")]
    backs = [
        path_of(offered.signs_in(leave(browser), subject))
        for browser, subject in zip(browsers, [*subjects, subjects[0]], strict=True)
    ]
    works = [lambda b=browser, p=back: b.get(p) for browser, back in zip(browsers, backs, strict=True)]
    results = together(*works)
    made = User.objects.filter(email="twice@example.com")
    assert made.count() == 1
    assert Membership.objects.filter(user=made.get()).count() == 1
    assert results[200] in (1, 2)
    assert set(results) <= {200, 403, 409}


def test_a_link_taken_away_at_the_same_moment_leaves_no_session_behind(offered: Idp, shared: World) -> None:
    oidc.link(username="operator", subject="sub-4", now=utc_now())
    for _ in range(4):
        oidc.link(username="operator", subject="sub-4", now=utc_now())
        browser = Client()
        come_back(browser, offered, "sub-4")
        assert COOKIE in browser.cookies
        code = code_now()

        def unlink() -> Any:
            oidc.link(username="operator", subject=None, now=utc_now())
            return Client().get("/healthz")

        together(lambda: browser.post(CONFIRM, {"code": code}), unlink)  # noqa: B023  # ends in this round
        assert not ConsoleSession.objects.filter(user=shared.operator, ended_at__isnull=True).exists()
