"""The door: one form, one answer to every failure, every attempt counted before it is looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.test import Client

from governance.journal.models import JournalEvent
from governance.journal.reading import open_data
from governance.operations import sweeping
from identity.factors import issue_recovery_codes
from identity.models import ConsoleSession, LoginFailure, RejectionTally, User
from identity.session_store import digest_of
from kernel.clock import utc_now
from tests.builders import RecordedEvents
from tests.cast import PASSWORD, SYSTEM
from tests.governance.admin.world import World, code_now, sign_in

PATH = "/admin/login/"
HOME, ELSEWHERE = "192.0.2.7", "198.51.100.7"
REFUSED = b"User name, password or code is not right"


@pytest.fixture(autouse=True)
def at_a_moment() -> Iterator[time_machine.Traveller]:
    """The clock stands, a step before the present one, so that every test has a fresh code."""
    with time_machine.travel(utc_now() + timedelta(minutes=2), tick=False) as clock:
        yield clock


@pytest.fixture
def owner(world: World) -> User:
    """The owner with a password that the tests know."""
    world.owner.set_password(PASSWORD)
    world.owner.save(update_fields=["password"])
    return world.owner


def typed(username: str = "approver", password: str = PASSWORD, code: str | None = None) -> dict[str, str]:
    return {"username": username, "password": password, "code": code_now() if code is None else code}


def key_of(client: Client) -> str:
    return str(client.cookies[settings.SESSION_COOKIE_NAME].value)


def is_in(client: Client) -> bool:
    return bool(client.get("/admin/").status_code == 200)


def rejections() -> int:
    return sum(RejectionTally.objects.filter(kind="login").values_list("count", flat=True))


def codes_of(user: User) -> tuple[str, ...]:
    with transaction.atomic():
        return issue_recovery_codes(user=user, actor=SYSTEM, now=utc_now(), record=RecordedEvents())


def test_password_and_code_open_the_console(world: World) -> None:
    client = Client(REMOTE_ADDR=HOME)
    answer = client.post(PATH, typed() | {"next": "/admin/calls/"})
    assert (answer.status_code, answer["Location"]) == (302, "/admin/calls/")
    assert client.get("/admin/calls/").status_code == 200
    assert client.get(PATH)["Location"] == "/admin/"
    event = JournalEvent.objects.filter(type__startswith="login.").order_by("pk").last()
    assert event is not None
    assert (event.type, event.subject) == ("login.succeeded", world.approver.pk)
    assert open_data(event) == {"factor": "totp"}


@pytest.mark.parametrize(
    ("username", "password", "code"),
    [
        ("approver", "wrong password here", None),
        ("approver", PASSWORD, "000000"),
        ("approver", PASSWORD, ""),
        ("approver", PASSWORD, "1234567"),
        ("approver", PASSWORD, "AAAAAAAAAA"),
        ("approver", "x" * 100_000, None),
        ("nobody", PASSWORD, None),
        ("x" * 100_000, PASSWORD, None),
        ("stranger", PASSWORD, None),
        ("demo-owner", PASSWORD, None),
        ("", "", ""),
        ("app\x00rover", PASSWORD, None),
    ],
)
def test_every_failure_reads_the_same_and_is_counted(
    world: World, username: str, password: str, code: str | None
) -> None:
    before, client = rejections(), Client(REMOTE_ADDR=HOME)
    plain = client.post(PATH, typed("nobody-else", "a wrong password", "123456"))
    answer = client.post(PATH, typed(username, password, code))
    assert answer.status_code == 200
    assert REFUSED in answer.content
    assert _without_name(answer) == _without_name(plain)
    assert not is_in(client)
    assert rejections() == before + 2
    assert not ConsoleSession.objects.filter(ip=HOME).exists()


def _without_name(answer: Any) -> str:
    """The page without the name that was typed and without what differs between any two pages."""
    html = re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", answer.content.decode())
    return re.sub(
        r'(name="username")[^>]*', r"\1", re.sub(r'value="[^"]*" (?=\w+="[^>]*name="username")', "", html)
    )


def test_nothing_that_proves_somebody_comes_back_with_the_form(world: World) -> None:
    html = Client().post(PATH, typed("approver", "my secret password", "987654")).content.decode()
    assert "my secret password" not in html
    assert "987654" not in html
    assert 'value="approver"' in html


def test_refusals_are_summed_by_the_sweeper_into_events(world: World) -> None:
    client, before = Client(REMOTE_ADDR=HOME), JournalEvent.objects.filter(type="login.failed").count()
    for _ in range(3):
        client.post(PATH, typed(password="wrong"))
    assert JournalEvent.objects.filter(type="login.failed").count() == before
    sweeping.sweep(utc_now() + timedelta(minutes=2))
    event = JournalEvent.objects.get(type="login.failed", subject=world.approver.pk)
    assert open_data(event) == {"network": "192.0.2.0/24", "reason": "refused", "count": 3}


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "\\\\evil.example", "javascript:alert(1)", "/api/"]
)
def test_the_door_leads_only_inside(world: World, target: str) -> None:
    assert Client().post(PATH, typed() | {"next": target})["Location"] == "/admin/"


def test_the_same_code_does_not_open_twice(world: World) -> None:
    assert Client().post(PATH, typed()).status_code == 302
    assert REFUSED in Client().post(PATH, typed()).content


def test_a_wrong_password_does_not_use_up_the_code(world: World) -> None:
    assert REFUSED in Client().post(PATH, typed(password="wrong")).content
    assert Client().post(PATH, typed()).status_code == 302


def test_looking_at_the_door_writes_nothing(world: World) -> None:
    before = ConsoleSession.objects.count()
    answer = Client().get(PATH)
    assert "csrfmiddlewaretoken" in answer.content.decode()
    assert ConsoleSession.objects.count() == before


def test_the_session_after_the_door_is_another_than_before(world: World) -> None:
    client = Client(enforce_csrf_checks=True)
    page = client.get(PATH).content.decode()
    before = key_of(client)
    token = page.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
    assert client.post(PATH, typed() | {"csrfmiddlewaretoken": token}).status_code == 302
    after = key_of(client)
    assert after != before
    assert ConsoleSession.objects.filter(pk=digest_of(after)).exists()
    assert client.post("/admin/logout/", {"csrfmiddlewaretoken": token}).status_code == 403


def test_a_cookie_planted_before_the_login_opens_nothing_after_it(world: World) -> None:
    planted = "p" * 43
    victim, attacker = Client(), Client()
    victim.cookies[settings.SESSION_COOKIE_NAME] = planted
    attacker.cookies[settings.SESSION_COOKIE_NAME] = planted
    assert victim.post(PATH, typed()).status_code == 302
    assert is_in(victim)
    assert not is_in(attacker)


def test_the_cookie_is_for_this_host_and_hidden_from_scripts(world: World) -> None:
    client = Client()
    client.post(PATH, typed())
    cookie = client.cookies[settings.SESSION_COOKIE_NAME]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["domain"]) == (
        True, "Strict", "/", "",
    )  # fmt: skip
    assert cookie["max-age"] == ""
    assert len(cookie.value) == 43


def test_forms_without_the_token_of_the_session_are_refused(world: World) -> None:
    client = sign_in(world.approver, enforce_csrf_checks=True)
    for path in ("/admin/logout/", "/admin/account/sessions/end-others/", "/admin/account/password/", PATH):
        assert client.post(path).status_code == 403
    assert is_in(client)


def test_the_cookie_does_nothing_at_the_api(world: World) -> None:
    client = sign_in(world.owner)
    assert client.get("/api/v1/whoami").status_code == 401
    assert client.post("/api/v1/runs", {}, content_type="application/json").status_code == 401


def test_a_bearer_token_does_nothing_at_the_console(world: World) -> None:
    assert not is_in(Client(headers={"Authorization": "Bearer plr_usr_x"}))


def test_signing_out_ends_the_session_and_needs_a_post(world: World) -> None:
    client = sign_in(world.approver)
    key = key_of(client)
    assert client.get("/admin/logout/").status_code == 405
    assert client.post("/admin/logout/")["Location"] == PATH
    stolen = Client()
    stolen.cookies[settings.SESSION_COOKIE_NAME] = key
    assert not is_in(stolen)
    assert ConsoleSession.objects.get(pk=digest_of(key)).ended_reason == "signed_out"
    assert JournalEvent.objects.filter(type="login_session.ended", subject=world.approver.pk).exists()


def test_signing_in_again_ends_the_session_before(world: World, at_a_moment: time_machine.Traveller) -> None:
    client = sign_in(world.approver)
    before = key_of(client)
    assert client.post(PATH, typed()).status_code == 302
    assert is_in(client)
    stolen = Client()
    stolen.cookies[settings.SESSION_COOKIE_NAME] = before
    assert not is_in(stolen)
    assert ConsoleSession.objects.get(pk=digest_of(before)).ended_reason == "signed_out"


def test_a_person_shows_when_they_last_signed_in(world: World) -> None:
    assert Client().post(PATH, typed()).status_code == 302
    assert User.objects.get(pk=world.approver.pk).last_login == utc_now()


def test_whoever_was_disabled_or_lost_every_role_is_out_at_the_next_page(world: World) -> None:
    client = sign_in(world.viewer)
    assert is_in(client)
    world.viewer.memberships.update(expires_at=utc_now())
    assert not is_in(client)
    other = sign_in(world.auditor)
    User.objects.filter(pk=world.auditor.pk).update(is_active=False)
    assert not is_in(other)


def test_the_fifth_failure_waits_half_a_minute_while_the_owner_comes_in_from_elsewhere(
    owner: User, at_a_moment: time_machine.Traveller
) -> None:
    attacker, elsewhere = Client(REMOTE_ADDR=HOME), Client(REMOTE_ADDR=ELSEWHERE)
    for _ in range(5):
        attacker.post(PATH, typed("owner", "wrong"))
    assert REFUSED in attacker.post(PATH, typed("owner")).content
    assert elsewhere.post(PATH, typed("owner")).status_code == 302
    at_a_moment.shift(timedelta(seconds=29))
    assert REFUSED in attacker.post(PATH, typed("owner")).content
    at_a_moment.shift(timedelta(seconds=1))
    assert attacker.post(PATH, typed("owner")).status_code == 302
    assert not LoginFailure.objects.filter(network="192.0.2.0/24").exclude(account_key="").exists()


def test_a_wrong_code_counts_like_a_wrong_password(world: World) -> None:
    client = Client(REMOTE_ADDR=HOME)
    for number in range(5):
        client.post(PATH, typed(code="000000") if number % 2 else typed(password="wrong"))
    assert REFUSED in client.post(PATH, typed()).content


def test_a_wrong_code_at_a_step_up_counts_at_the_door_and_the_other_way_round(owner: User) -> None:
    client = sign_in(owner)
    for _ in range(5):
        client.post("/admin/account/recovery-codes/", {"intent": "0" * 32, "code": "000000"})
    assert REFUSED in Client().post(PATH, typed("owner")).content
    answer = client.post("/admin/account/recovery-codes/", {"intent": "0" * 32, "code": code_now()})
    assert answer.status_code == 401
    assert is_in(client)


def test_a_network_that_failed_twenty_times_gets_a_page_of_its_own(world: World) -> None:
    client = Client(REMOTE_ADDR=HOME)
    for number in range(20):
        assert client.post(PATH, typed(f"name{number}", "wrong")).status_code == 200
    answer = client.post(PATH, typed())
    assert answer.status_code == 429
    assert int(answer["Retry-After"]) == 601
    assert b"Try again in" in answer.content
    assert REFUSED not in answer.content
    assert Client(REMOTE_ADDR=ELSEWHERE).post(PATH, typed()).status_code == 302


def test_a_recovery_code_opens_once_without_freshness(owner: User) -> None:
    code = codes_of(owner)[0]
    client = Client()
    assert client.post(PATH, typed("owner", code=f"{code[:5]}-{code[5:]}".lower())).status_code == 302
    assert is_in(client)
    row = ConsoleSession.objects.get(pk=digest_of(key_of(client)))
    assert row.mfa_at is None
    assert b"Code of your present authenticator" in client.get("/admin/account/authenticator/").content
    assert REFUSED in Client().post(PATH, typed("owner", code=code)).content
    event = JournalEvent.objects.filter(type="login.succeeded").latest("pk")
    assert open_data(event) == {"factor": "recovery_code"}


def test_a_recovery_code_is_no_step_up(world: World) -> None:
    code = codes_of(world.owner)[0]
    client = sign_in(world.owner)
    answer = client.post("/admin/account/recovery-codes/", {"intent": "0" * 32, "code": code})
    assert answer.status_code == 401


def test_an_unknown_name_costs_one_hash_like_a_known_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []

    def spy(password: str, *rest: Any) -> str:
        hashed.append(password)
        return make_password(password, *rest)

    monkeypatch.setattr("identity.backends.make_password", spy)
    for username in ("nobody", "demo-owner", "", "x\0y", "y" * 200):
        Client(REMOTE_ADDR=f"203.0.{len(hashed)}.1").post(PATH, typed(username, "some password"))
    assert hashed == ["some password"] * 5


def test_stepping_up_makes_a_new_cookie_and_another_network_makes_it_stale(world: World) -> None:
    client = sign_in(world.owner)
    before = key_of(client)
    values = {"intent": "1" * 32, "code": code_now()}
    assert b"Your recovery codes" in client.post("/admin/account/recovery-codes/", values).content
    after = key_of(client)
    assert after != before
    stale = Client()
    stale.cookies[settings.SESSION_COOKIE_NAME] = before
    assert not is_in(stale)
    moved = Client(REMOTE_ADDR=ELSEWHERE)
    moved.cookies[settings.SESSION_COOKIE_NAME] = after
    assert is_in(moved)
    assert moved.post("/admin/account/recovery-codes/", {"intent": "2" * 32}).status_code == 401
    assert client.post("/admin/account/recovery-codes/", {"intent": "3" * 32}).status_code == 200


def test_a_refresh_in_the_background_does_not_keep_somebody_signed_in(
    world: World, at_a_moment: time_machine.Traveller
) -> None:
    client = sign_in(world.approver)
    for _ in range(3):
        at_a_moment.shift(timedelta(minutes=10))
        answer = client.get("/admin/approvals/", headers={"Sec-Fetch-Dest": "empty"})
    assert answer.status_code == 302
    other = sign_in(world.approver)
    for _ in range(6):
        at_a_moment.shift(timedelta(minutes=10))
        assert is_in(other)
