"""Enrolling, recovery codes, passwords and one's own sessions, as a browser sends them."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.conf import settings
from django.db import transaction
from django.test import Client
from django_otp.oath import TOTP

from governance.admin.account import browser_name
from governance.admin.qr import qr_code
from governance.journal.ledger import record
from identity.models import ConsoleSession, RecoveryCode, RejectionTally, TotpFactor, User
from identity.passwords import issue_setup_link
from identity.session_store import digest_of
from identity.totp import provisioning_uri
from kernel.clock import utc_now
from tests.cast import PASSWORD, SYSTEM
from tests.governance.admin.posting import form_on, keeps, post
from tests.governance.admin.world import World, code_now, sign_in

ACCOUNT, ENROL, CHANGE = "/admin/account/", "/admin/account/authenticator/", "/admin/account/password/"
NEW = "an entirely different phrase"


@pytest.fixture(autouse=True)
def at_a_moment() -> Iterator[time_machine.Traveller]:
    """The clock stands, so that a code does not age while a test runs."""
    with time_machine.travel(utc_now() + timedelta(minutes=2), tick=False) as clock:
        yield clock


@pytest.fixture
def newcomer(world: World) -> Client:
    """Somebody who has a password and no second factor, behind the door."""
    TotpFactor.objects.filter(user=world.viewer).delete()
    client = Client()
    answer = client.post("/admin/login/", {"username": "viewer", "password": PASSWORD})
    assert answer.status_code == 302
    return client


def seed_on(client: Client) -> bytes:
    """Return the seed that the enrolment page shows, and leave the page's form values in the client."""
    html = client.get(ENROL).content.decode()
    shown = re.search(r'class="seed"><code>([A-Z2-7 ]+)</code>', html)
    offer = re.search(r'name="offer" value="([^"]+)"', html)
    assert shown is not None
    assert offer is not None
    client.offer = offer[1]  # type: ignore[attr-defined]  # carried to the post of the same page
    return base64.b32decode(shown[1].replace(" ", ""))


def code_of(seed: bytes) -> str:
    clock = TOTP(seed)
    clock.time = utc_now().timestamp()
    return f"{clock.token():06d}"


def enrol(client: Client, new_code: str, **more: str) -> Any:
    offer = client.offer  # type: ignore[attr-defined]  # put there by seed_on
    return post(client, ENROL, offer=offer, new_code=new_code, **more)


def codes_in(answer: Any) -> list[str]:
    html: str = answer.content.decode()
    return re.findall(r"<li><code>([A-Z2-7]{5}-[A-Z2-7]{5})</code></li>", html)


def lands(client: Client, path: str = "/admin/") -> str:
    """Return where a page leads in the end."""
    answer = client.get(path, follow=True)
    return str(answer.request["PATH_INFO"])


def is_in(client: Client) -> bool:
    return lands(client) == "/admin/"


def change(client: Client, current: str = PASSWORD, new: str = NEW, again: str | None = None) -> Any:
    return post(client, CHANGE, current=current, password=new, again=new if again is None else again)


def test_without_a_factor_only_the_enrolment_page_opens_and_the_way_out(newcomer: Client) -> None:
    for path in ("/admin/", "/admin/calls/", ACCOUNT, CHANGE, "/admin/account/bootstrap/", "/admin/x/"):
        assert lands(newcomer, path) == ENROL
    html = newcomer.get(ENROL).content.decode()
    assert 'class="rail"' not in html
    for path in ("/admin/account/sessions/end-others/", "/admin/account/recovery-codes/", "/admin/theme/"):
        assert newcomer.post(path)["Location"].startswith("/admin/login/")
    assert newcomer.post("/admin/logout/")["Location"] == "/admin/login/"
    assert lands(newcomer) == "/admin/login/"


def test_one_code_of_the_new_seed_enrols_and_shows_ten_recovery_codes_once(
    world: World, newcomer: Client
) -> None:
    seed = seed_on(newcomer)
    before = newcomer.cookies[settings.SESSION_COOKIE_NAME].value
    answer = enrol(newcomer, code_of(seed))
    codes = codes_in(answer)
    assert len(set(codes)) == 10
    assert is_in(newcomer)
    assert newcomer.cookies[settings.SESSION_COOKIE_NAME].value != before
    assert not TotpFactor.objects.get(user=world.viewer).from_bootstrap
    assert codes[0] not in newcomer.get(ACCOUNT).content.decode()
    assert keeps(codes[0]) == keeps(codes[0].replace("-", "")) == []
    other = Client()
    values = {"username": "viewer", "password": PASSWORD}
    assert other.post("/admin/login/", values).status_code == 200
    assert other.post("/admin/login/", values | {"code": code_of(seed)}).status_code == 200
    assert other.post("/admin/login/", values | {"code": codes[0]}).status_code == 302


def test_a_wrong_code_keeps_the_seed_that_was_scanned(world: World, newcomer: Client) -> None:
    seed = seed_on(newcomer)
    answer = enrol(newcomer, "000000")
    assert answer.status_code == 422
    assert b"This is not the present code of the new authenticator." in answer.content
    assert newcomer.offer in answer.content.decode()  # type: ignore[attr-defined]  # as above
    assert not TotpFactor.objects.filter(user=world.viewer).exists()
    assert codes_in(enrol(newcomer, code_of(seed)))


def test_an_offer_of_somebody_else_or_from_before_is_refused(
    world: World, newcomer: Client, at_a_moment: time_machine.Traveller
) -> None:
    seed = seed_on(newcomer)
    other = sign_in(world.approver, code_age=timedelta())
    other.offer = newcomer.offer  # type: ignore[attr-defined]  # as above
    assert enrol(other, code_of(seed)).status_code == 422
    at_a_moment.shift(timedelta(minutes=29, seconds=30))
    newcomer.get(ENROL)
    at_a_moment.shift(timedelta(minutes=1))
    answer = enrol(newcomer, code_of(seed))
    assert answer.status_code == 422
    assert b"This enrolment is over" in answer.content
    assert not TotpFactor.objects.filter(user=world.viewer).exists()


def test_the_qr_code_holds_the_text_an_app_reads(newcomer: Client) -> None:
    seed = seed_on(newcomer)
    expected = qr_code(provisioning_uri(account="viewer", seed=seed))
    newcomer_page = newcomer.get(ENROL).content.decode()
    assert f'viewBox="0 0 {expected.side} {expected.side}"' in newcomer_page
    assert expected.path.startswith("M4 4h7v1h-7z")


def test_replacing_asks_for_a_fresh_code_of_the_present_one_and_ends_other_sessions(world: World) -> None:
    client, elsewhere = sign_in(world.owner), sign_in(world.owner)
    seed = seed_on(client)
    assert b"Code of your present authenticator" in client.get(ENROL).content
    assert enrol(client, code_of(seed)).status_code == 401
    assert enrol(client, code_of(seed), code="000000").status_code == 401
    assert TotpFactor.objects.get(user=world.owner).last_t == -1
    answer = enrol(client, code_of(seed), code=code_now())
    assert len(codes_in(answer)) == 10
    assert is_in(client)
    assert not is_in(elsewhere)
    assert ConsoleSession.objects.filter(user=world.owner, ended_reason="factor_changed").count() == 1
    again = Client().post("/admin/login/", {"username": "owner", "password": PASSWORD, "code": code_now()})
    assert again.status_code == 200


def test_a_form_sent_twice_enrols_once(world: World, newcomer: Client) -> None:
    seed, intent = seed_on(newcomer), secrets.token_hex(16)
    values = {"intent": intent, "offer": newcomer.offer, "new_code": code_of(seed)}  # type: ignore[attr-defined]  # as above
    first, second = newcomer.post(ENROL, values), newcomer.post(ENROL, values)
    assert len(codes_in(first)) == 10
    assert (second.status_code, codes_in(second)) == (302, [])
    assert RecoveryCode.objects.filter(user=world.viewer).count() == 10


def test_recovery_codes_are_replaced_with_a_fresh_code_only(world: World) -> None:
    client = sign_in(world.approver)
    path = "/admin/account/recovery-codes/"
    form = form_on(client, ACCOUNT, path)
    assert 'name="code"' in form.html
    refused = form.send()
    assert refused.status_code == 401
    assert b'id="code-error"' in refused.content
    assert not RecoveryCode.objects.filter(user=world.approver).exists()
    assert len(codes_in(form_on(client, ACCOUNT, path).send(code=code_now()))) == 10
    assert 'name="code"' not in form_on(client, ACCOUNT, path).html
    assert b"10 of 10 left" in client.get(ACCOUNT).content


def test_a_code_may_be_typed_as_an_app_shows_it(world: World) -> None:
    form = form_on(sign_in(world.approver), ACCOUNT, "/admin/account/recovery-codes/")
    assert 'maxlength="7"' in form.html
    code = code_now()
    assert len(codes_in(form.send(code=f"{code[:3]} {code[3:]}"))) == 10


def test_a_changed_password_keeps_this_session_and_ends_the_others(world: World) -> None:
    client, elsewhere = sign_in(world.approver), sign_in(world.approver)
    before = client.cookies[settings.SESSION_COOKIE_NAME].value
    assert change(client)["Location"] == ACCOUNT
    assert client.cookies[settings.SESSION_COOKIE_NAME].value != before
    assert is_in(client)
    assert not is_in(elsewhere)
    stale = Client()
    stale.cookies[settings.SESSION_COOKIE_NAME] = before
    assert not is_in(stale)
    login = {"username": "approver", "code": code_now()}
    assert Client().post("/admin/login/", login | {"password": PASSWORD}).status_code == 200
    assert Client().post("/admin/login/", login | {"password": NEW}).status_code == 302


@pytest.mark.parametrize(
    ("current", "new", "again", "sentence"),
    [
        ("wrong", NEW, NEW, "This is not your present password."),
        (PASSWORD, NEW, NEW + "x", "The two passwords are not the same."),
        (PASSWORD, "short", "short", "This password is too short."),
        (PASSWORD, PASSWORD, PASSWORD, "The new password is the present one."),
        ("", "", "", "This is not your present password."),
    ],
)
def test_a_password_form_says_what_is_wrong_beside_the_field(
    world: World, current: str, new: str, again: str, sentence: str
) -> None:
    client = sign_in(world.approver)
    answer = change(client, current, new, again)
    assert answer.status_code == 422
    html = answer.content.decode()
    assert sentence in html
    assert 'aria-invalid="true"' in html
    assert f'value="{PASSWORD}"' not in html
    assert world.approver.check_password(PASSWORD)


def test_guessing_the_present_password_waits_like_the_door(world: World) -> None:
    client = sign_in(world.approver)
    for _ in range(5):
        change(client, "wrong")
    answer = change(client)
    assert answer.status_code == 429
    assert b"Too many attempts failed." in answer.content
    assert User.objects.get(pk=world.approver.pk).check_password(PASSWORD)


def test_a_wrong_present_password_is_summed_for_the_journal(world: World) -> None:
    change(sign_in(world.approver), "wrong")
    tally = RejectionTally.objects.get(subject=world.approver.pk)
    assert (tally.kind, tally.reason, tally.count) == ("login", "present_password", 1)


def test_whoever_must_change_the_password_gets_to_nothing_else_before(world: World) -> None:
    client = sign_in(world.approver)
    User.objects.filter(pk=world.approver.pk).update(must_change_password=True)
    for path in ("/admin/", "/admin/approvals/", ACCOUNT, ENROL):
        assert lands(client, path) == CHANGE
    html = client.get(CHANGE).content.decode()
    assert "set by somebody else" in html
    assert 'class="rail"' not in html
    assert change(client).status_code == 302
    assert is_in(client)


def test_one_ends_ones_own_sessions_and_nobody_elses(world: World) -> None:
    mine, mine_too, theirs = sign_in(world.approver), sign_in(world.approver), sign_in(world.owner)
    refs = {
        client: ConsoleSession.objects.get(
            pk=digest_of(str(client.cookies[settings.SESSION_COOKIE_NAME].value))
        ).ref
        for client in (mine, mine_too, theirs)
    }
    page = mine.get(ACCOUNT).content.decode()
    assert [refs[one] in page for one in (mine, mine_too, theirs)] == [True, True, False]
    assert page.count("This one") == 1
    for ref in (refs[theirs], "", "x" * 500, "a\0b"):
        answer = mine.post("/admin/account/sessions/end/", {"ref": ref}, follow=True)
        assert b"That session had ended already." in answer.content
    assert is_in(theirs)
    mine.post("/admin/account/sessions/end/", {"ref": refs[mine_too]})
    assert [is_in(one) for one in (mine, mine_too, theirs)] == [True, False, True]
    mine.post("/admin/account/sessions/end/", {"ref": refs[mine]})
    assert not is_in(mine)


def test_all_others_end_at_once(world: World) -> None:
    client, others = sign_in(world.approver), [sign_in(world.approver) for _ in range(2)]
    answer = client.post("/admin/account/sessions/end-others/", follow=True)
    assert b"2 other sessions have ended." in answer.content
    assert [is_in(one) for one in (client, *others)] == [True, False, False]


def test_a_setup_link_sets_a_password_without_being_used_up_by_looking(world: World) -> None:
    with transaction.atomic():
        text = issue_setup_link(user=world.viewer, actor=SYSTEM, now=utc_now(), record=record)
    path, client = f"/admin/setup/{text}/", Client()
    assert b"viewer" in client.get(path).content
    assert client.post(path, {"password": NEW, "again": "x"}).status_code == 422
    assert client.post(path, {"password": "short", "again": "short"}).status_code == 422
    assert b"Your password is set" in client.post(path, {"password": NEW, "again": NEW}).content
    assert (
        client.get(path).status_code == client.post(path, {"password": NEW, "again": NEW}).status_code == 404
    )
    assert lands(client) == "/admin/login/"
    assert Client(enforce_csrf_checks=True).post(path, {}).status_code == 403


def test_who_has_no_role_yet_is_told_why_the_door_stays_shut(world: World) -> None:
    with transaction.atomic():
        text = issue_setup_link(user=world.viewer, actor=SYSTEM, now=utc_now(), record=record)
    world.viewer.memberships.update(expires_at=utc_now())
    done = Client().post(f"/admin/setup/{text}/", {"password": NEW, "again": NEW})
    assert b"has no role yet" in done.content


@pytest.mark.parametrize("text", ["x", "a" * 43, "%00", "../login", "é"])
def test_a_wrong_link_is_a_page_that_says_so(world: World, text: str) -> None:
    assert Client().get(f"/admin/setup/{text}/").status_code in (302, 404)


def test_hostile_user_agents_are_text(world: World) -> None:
    hostile = "<script>alert(1)</script>\u202e"
    client = Client(headers={"User-Agent": hostile})
    client.post("/admin/login/", {"username": "approver", "password": PASSWORD, "code": code_now()})
    html = client.get(ACCOUNT).content.decode()
    assert "<script>alert" not in html
    assert "Another browser" in html


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Firefox on Linux"),
        (
            "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/120 Safari/537.36 Edg/120",
            "Edge on Windows",
        ),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Version/17 Safari/604.1", "Safari on iOS"),
        ("curl/8.5", "curl"),
        ("", "Another browser"),
    ],
)
def test_a_user_agent_reads_as_two_words(agent: str, name: str) -> None:
    assert browser_name(agent) == name
