"""Real threads at the door: one code opens once, and guesses in parallel are counted one by one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connection

from governance.operations import signing_in
from governance.operations.signing_in import Claim
from identity.models import ConsoleSession, LoginFailure, TotpFactor, User
from identity.roles import WorkspaceRole
from identity.sessions import Browser
from kernel.clock import utc_now
from kernel.errors import AuthenticationError
from tests.builders import RecordedEvents
from tests.cast import PASSWORD, enrol, make_user, make_workspaces
from tests.governance.admin.world import code_now

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]

HOME = "192.0.2.7"


@pytest.fixture(autouse=True)
def racer(monkeypatch: pytest.MonkeyPatch) -> User:
    """One person who may sign in. The journal is not the matter here."""
    monkeypatch.setattr(signing_in, "record", RecordedEvents())
    _, default = make_workspaces()
    person = make_user("racer", WorkspaceRole.VIEWER, workspace=default)
    enrol(person)
    return person


def test_one_code_sent_four_times_at_once_opens_one_session() -> None:
    assert parallel([code_now()] * 4) == 1
    assert ConsoleSession.objects.count() == 1


def test_twelve_guesses_at_once_get_five_tries() -> None:
    before = TotpFactor.objects.get().last_t
    assert parallel([f"{number:06d}" for number in range(12)]) == 0
    assert LoginFailure.objects.exclude(account_key="").exclude(network="").get().count == 5
    assert TotpFactor.objects.get().last_t == before


def parallel(codes: list[str]) -> int:
    barrier, now = Barrier(len(codes)), utc_now()

    def attempt(code: str) -> bool:
        try:
            barrier.wait(timeout=30)
            claim = Claim("racer", PASSWORD, code)
            signing_in.log_in(claim=claim, browser=Browser(HOME), now=now)
        except AuthenticationError:
            return False
        else:
            return True
        finally:
            connection.close()

    with ThreadPoolExecutor(len(codes)) as pool:
        return sum(pool.map(attempt, codes))
