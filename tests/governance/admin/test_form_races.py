"""The same form sent several times in the same moment, by real threads."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

from governance.journal.models import JournalEvent
from identity.models import ApiToken, User
from tests.governance.admin.posting import FRESH
from tests.governance.admin.world import World, make_world, sign_in

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]
THREADS = 4


@pytest.fixture
def committed() -> World:
    return make_world()


def at_once(person: User, path: str, forms: list[dict[str, str]]) -> list[tuple[int, str]]:
    """Post all forms in the session of one person; return each status and page."""
    key = sign_in(person, code_age=FRESH).cookies[settings.SESSION_COOKIE_NAME].value
    barrier = Barrier(len(forms))

    def send(form: dict[str, str]) -> tuple[int, str]:
        try:
            client = Client()
            client.cookies[settings.SESSION_COOKIE_NAME] = key
            barrier.wait(timeout=30)
            answer = client.post(path, form)
            return answer.status_code, answer.content.decode()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(forms)) as pool:
        return list(pool.map(send, forms))


def test_one_form_mints_one_token_and_reveals_it_once(committed: World) -> None:
    form = {"intent": secrets.token_hex(16), "label": "raced", "scopes": "runs.read"}
    before = JournalEvent.objects.filter(type="token.minted").count()
    answers = at_once(committed.viewer, "/admin/my-tokens/new/", [form] * THREADS)
    assert ApiToken.objects.filter(label="raced").count() == 1
    assert sum('id="secret"' in html for _, html in answers) == 1
    assert {status for status, _ in answers} <= {200, 302, 409}
    assert JournalEvent.objects.filter(type="token.minted").count() == before + 1


def test_of_several_forms_that_disable_a_person_one_does(committed: World) -> None:
    forms = [{"intent": secrets.token_hex(16), "reason": f"Number {n}."} for n in range(THREADS)]
    answers = at_once(committed.owner, f"/admin/users/{committed.keeper.pk}/disable/", forms)
    assert sorted(status for status, _ in answers) == [302, 409, 409, 409]
    assert JournalEvent.objects.filter(type="user.disabled").count() == 1
