"""The same form sent several times in the same moment, by real threads."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

from approvals.models import ApprovalRequest, Review
from governance.journal.models import JournalEvent
from identity.models import ApiToken, User
from sandbox.models import Execution
from tests.governance.admin.posting import FRESH
from tests.governance.admin.world import World, make_world, propose, sign_in

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]
THREADS = 4


@pytest.fixture
def committed() -> World:
    return make_world()


def at_once(person: User, path: str, forms: list[dict[str, str]]) -> list[tuple[int, str]]:
    """Post all forms in the session of one person; return each status and page."""
    key = key_of(person)
    return all_at_once(path, [(key, form) for form in forms])


def key_of(person: User) -> str:
    return str(sign_in(person, code_age=FRESH).cookies[settings.SESSION_COOKIE_NAME].value)


def all_at_once(path: str, posts: list[tuple[str, dict[str, str]]]) -> list[tuple[int, str]]:
    """Post each form in its session in the same moment; return each status and page, in their order."""
    barrier = Barrier(len(posts))

    def send(post: tuple[str, dict[str, str]]) -> tuple[int, str]:
        key, form = post
        try:
            client = Client()
            client.cookies[settings.SESSION_COOKIE_NAME] = key
            barrier.wait(timeout=30)
            answer = client.post(path, form)
            return answer.status_code, answer.content.decode()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(posts)) as pool:
        return list(pool.map(send, posts))


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


def test_of_an_allow_and_a_deny_at_once_one_counts_and_the_other_is_told_who(committed: World) -> None:
    people = {"approver": committed.approver, "second-approver": committed.second_approver}
    keys = {name: key_of(person) for name, person in people.items()}
    for number in range(4):
        view = propose(committed.agent, "demo.wc", {"path": f"notes/{number}.txt"})
        request = ApprovalRequest.objects.get(pk=view.call.approval_id)
        seen = {"version": str(request.version), "digest": request.action_digest, "comment": "At once."}
        posts = [
            (keys[name], {"intent": secrets.token_hex(16), "verdict": verdict} | seen)
            for name, verdict in (("approver", "allow"), ("second-approver", "deny"))
        ]
        answers = all_at_once(f"/admin/approvals/{request.pk}/", posts)
        assert sorted(status for status, _ in answers) == [302, 409]
        (loser,) = (page for status, page in answers if status == 409)
        winner = Review.objects.get(request=request)
        name = next(name for name, person in people.items() if person.pk == winner.reviewer_id)
        assert f"{name} {'allowed' if winner.verdict == 'allow' else 'denied'} this" in loser
        assert "Your answer came after that and changed nothing." in loser
        assert Execution.objects.filter(call_id=view.call.pk).count() == (winner.verdict == "allow")
