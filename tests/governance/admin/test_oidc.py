"""Signing in through a real provider: its own process on loopback, and Palyra's pages around it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from django.test import Client
from pytest_django.fixtures import Settings

from governance.admin.headers import FIXED
from governance.journal.reading import open_data
from governance.operations import sweeping
from identity.models import ConsoleSession, OidcAttempt
from kernel.clock import utc_now
from tests.governance.admin.signing_in import (
    CALLBACK,
    CONFIRM,
    COOKIE,
    START,
    Idp,
    come_back,
    last_event,
    leave,
    new_subject,
    path_of,
    reasons,
    refused,
    sessions_of,
    state_of,
    text_of,
)
from tests.governance.admin.world import World, code_now
from tests.support_servers import free_port


def test_the_provider_and_our_own_code_open_the_console(offered: Idp, world: World) -> None:
    browser = Client()
    assert f"Sign in with {offered.url[7:]}" in text_of(browser.get("/admin/login/"))
    answer = come_back(browser, offered, "sub-approver")
    assert answer.status_code == 200
    assert sessions_of(world.approver) == 0
    page = browser.get(CONFIRM)
    assert "Sign in as approver" in text_of(page)
    assert 'name="code"' in page.content.decode()
    done = browser.post(CONFIRM, {"code": code_now()})
    assert (done.status_code, done["Location"]) == (302, "/admin/")
    assert browser.get("/admin/approvals/").status_code == 200
    event = last_event("login.succeeded")
    assert (event.subject, open_data(event)) == (world.approver.pk, {"factor": "oidc+totp"})
    assert ConsoleSession.objects.get(user=world.approver).mfa_at is not None
    assert browser.cookies[COOKIE].value == ""


def test_what_goes_to_the_provider_is_one_of_a_kind_and_ours(offered: Idp, settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    browser = Client(headers={"host": "evil.example"})
    first, second = leave(browser), leave(browser)
    sent = [{name: one[0] for name, one in parse_qs(urlsplit(url).query).items()} for url in (first, second)]
    assert {one["redirect_uri"] for one in sent} == {f"{settings.PALYRA_PUBLIC_URL}{CALLBACK}"}
    for name in ("state", "nonce", "code_challenge"):
        assert len(sent[0][name]) >= 43
        assert sent[0][name] != sent[1][name]
    assert sent[0]["code_challenge_method"] == "S256"


def test_the_cookie_of_a_sign_in_is_lax_short_and_closed_to_scripts(offered: Idp) -> None:
    cookie = Client().post(START).cookies[COOKIE]
    kept = {name: cookie[name] for name in ("httponly", "samesite", "path", "max-age", "secure", "domain")}
    assert kept == {
        "httponly": True,
        "samesite": "Lax",
        "path": "/",
        "max-age": 600,
        "secure": "",
        "domain": "",
    }
    assert len(cookie.value) == 43


def test_under_https_the_cookie_is_bound_to_the_host(offered: Idp, settings: Settings) -> None:
    settings.SESSION_COOKIE_SECURE = True
    cookies = Client().post(START, secure=True).cookies
    assert cookies["__Host-palyra-oidc"]["secure"] is True
    assert cookies["__Host-palyra-oidc"]["path"] == "/"


def test_no_secret_of_a_sign_in_is_stored_readably(offered: Idp) -> None:
    browser = Client()
    url = leave(browser)
    row = OidcAttempt.objects.get()
    kept = (row.secrets_sealed or b"", row.state_digest, row.browser_digest)
    stored = b"|".join(bytes(value) for value in kept)
    nonce = parse_qs(urlsplit(url).query)["nonce"][0]
    for secret in (state_of(url), nonce, browser.cookies[COOKIE].value):
        assert secret.encode() not in stored
    browser.get(path_of(offered.signs_in(url, "sub-approver")))
    assert OidcAttempt.objects.get().secrets_sealed is None


@pytest.mark.parametrize(
    "path", [START, CONFIRM, f"{CALLBACK}?state=x&code=y", f"{CALLBACK}?error=x&error_description=y"]
)
def test_pages_on_the_way_run_nothing_and_tell_nobody_where_they_are(offered: Idp, path: str) -> None:
    browser = Client()
    answer = browser.post(path) if path == START else browser.get(path)
    policy = answer["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "script-src" not in policy
    assert answer["Referrer-Policy"] == "no-referrer"
    assert answer["Cache-Control"] == "no-store"
    for name in ("X-Content-Type-Options", "X-Frame-Options", "Permissions-Policy"):
        assert answer[name] == FIXED[name]
    assert "<script" not in answer.content.decode()


def test_the_form_of_the_confirmation_tells_its_origin_to_us_alone(offered: Idp) -> None:
    """A browser sends `Origin: null` from a page without a referrer, which no CSRF check lets pass."""
    browser = Client()
    come_back(browser, offered, "sub-approver")
    answer = browser.get(CONFIRM)
    assert (answer.status_code, answer["Referrer-Policy"]) == (200, "same-origin")


def test_a_sign_in_begins_with_a_form_of_our_own(offered: Idp) -> None:
    assert Client().get(START).status_code == 405
    assert Client(enforce_csrf_checks=True).post(START).status_code == 403
    assert OidcAttempt.objects.count() == 0


def test_the_confirmation_is_a_form_of_our_own(offered: Idp, world: World) -> None:
    browser = Client(enforce_csrf_checks=False)
    come_back(browser, offered, "sub-approver")
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = browser.cookies
    assert strict.post(CONFIRM, {"code": code_now()}).status_code == 403
    assert sessions_of(world.approver) == 0


def test_a_callback_counts_once(offered: Idp) -> None:
    browser = Client()
    back = path_of(offered.signs_in(leave(browser), "sub-approver"))
    assert browser.get(back).status_code == 200
    refused(browser.get(back), 409, "conflict")
    assert browser.get(CONFIRM).status_code == 200


def test_another_browser_gets_nothing_and_takes_nothing_away(offered: Idp) -> None:
    browser = Client()
    back = path_of(offered.signs_in(leave(browser), "sub-approver"))
    other = Client()
    refused(other.get(back), 400, "oidc_failed")
    leave(other)
    refused(other.get(back), 400, "oidc_failed")
    assert browser.get(back).status_code == 200
    refused(other.get(CONFIRM), 400, "oidc_failed")


def test_a_state_of_another_attempt_is_no_state_of_this_browser(offered: Idp) -> None:
    first, second = Client(), Client()
    back = offered.signs_in(leave(first), "sub-approver")
    theirs = state_of(leave(second))
    refused(second.get(path_of(back.replace(state_of(back), theirs)) + "x"), 400, "oidc_failed")
    mixed = path_of(back.replace(state_of(back), theirs))
    answer = second.get(mixed)
    refused(answer, 400, "oidc_failed")
    assert "oidc_provider_error" in reasons()


@pytest.mark.parametrize(
    "query",
    [
        "",
        "state=",
        "state=x",
        "code=x",
        "state=a&state=b&code=c",
        "state=%00&code=%00",
        "state=" + "x" * 9000,
    ],
)
def test_a_callback_that_nobody_began_is_refused(offered: Idp, query: str) -> None:
    browser = Client()
    leave(browser)
    refused(browser.get(f"{CALLBACK}?{query}"), 400, "oidc_failed")
    assert OidcAttempt.objects.get().state == "pending"


def test_a_doubled_parameter_is_no_parameter(offered: Idp) -> None:
    browser = Client()
    back = path_of(offered.signs_in(leave(browser), "sub-approver"))
    refused(browser.get(back + "&code=other"), 400, "oidc_failed")


def test_ten_minutes_later_it_is_over(offered: Idp) -> None:
    browser = Client()
    back = path_of(offered.signs_in(leave(browser), "sub-approver"))
    with time_machine.travel(utc_now() + timedelta(minutes=10), tick=True):
        refused(browser.get(back), 400, "oidc_failed")
    assert browser.get(back).status_code == 200
    with time_machine.travel(utc_now() + timedelta(minutes=10), tick=True):
        refused(browser.get(CONFIRM), 400, "oidc_failed")
        refused(browser.post(CONFIRM, {"code": code_now()}), 400, "oidc_failed")


def test_what_is_over_is_swept(offered: Idp) -> None:
    leave(Client())
    now = utc_now()
    assert sweeping.sweep(now + timedelta(minutes=60))["sign_ins_forgotten"] == 0
    assert sweeping.sweep(now + timedelta(minutes=71))["sign_ins_forgotten"] == 1
    assert OidcAttempt.objects.count() == 0


def test_who_changes_their_mind_at_the_provider_is_told_so(offered: Idp) -> None:
    browser = Client()
    back = path_of(offered.denies(leave(browser)))
    if "state=" not in back:
        back += f"&state={state_of(leave(browser))}"
    refused(browser.get(back), 400, "oidc_failed")
    assert "oidc_provider_error" in reasons()


def test_what_the_provider_says_is_shown_as_text_and_cut(offered: Idp) -> None:
    browser = Client()
    state = state_of(leave(browser))
    hostile = "<script>alert(1)</script>\u202e" + "y" * 500
    answer = browser.get(CALLBACK, {"state": state, "error": "access_denied", "error_description": hostile})
    body = answer.content.decode()
    refused(answer, 400, "oidc_failed")
    assert "<script>" not in body
    assert "&lt;script&gt;" in body
    assert "\u202e" not in body
    assert "y" * 150 in body
    assert "y" * 200 not in body


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"aud": "another"},
        {"aud": ["palyra-test", "another"]},
        {"iss": "https://evil.example.com"},
        {"exp": 1},
        {"exp": "x"},
        {"iat": 99999999999},
    ],
)
def test_a_token_that_is_not_for_this_sign_in_lets_nobody_in(offered: Idp, claims: dict[str, Any]) -> None:
    browser, subject = Client(), offered.knows(new_subject(), **claims)
    refused(come_back(browser, offered, subject), 400, "oidc_failed")
    assert "oidc_claims" in reasons()
    refused(browser.get(CONFIRM), 400, "oidc_failed")


@pytest.mark.parametrize("crooked", ["none", "HS256", "unsigned"])
def test_a_token_that_the_provider_did_not_sign_lets_nobody_in(offered: Idp, crooked: str) -> None:
    subject = offered.knows(new_subject(), crooked=crooked)
    refused(come_back(Client(), offered, subject), 400, "oidc_failed")
    assert "oidc_signature" in reasons()


@pytest.mark.parametrize(
    ("crooked", "status", "code"),
    [
        ("html", 503, "oidc_unavailable"),
        ("redirect", 503, "oidc_unavailable"),
        ("huge", 503, "oidc_unavailable"),
        ("no_token", 400, "oidc_failed"),
    ],
)
def test_an_answer_that_is_none_lets_nobody_in(offered: Idp, crooked: str, status: int, code: str) -> None:
    subject = offered.knows(new_subject(), crooked=crooked)
    refused(come_back(Client(), offered, subject), status, code)


def test_a_provider_that_is_down_is_a_calm_page(offered: Idp, settings: Settings) -> None:
    browser = Client()
    back = path_of(offered.signs_in(leave(browser), "sub-approver"))
    nobody = f"http://127.0.0.1:{free_port()}"
    for row in OidcAttempt.objects.all():
        row.provider = row.provider | {"token_endpoint": f"{nobody}/token"}
        row.save()
    refused(browser.get(back), 503, "oidc_unavailable")
    settings.PALYRA_OIDC_ISSUER = nobody
    answer = browser.post(START)
    refused(answer, 503, "oidc_unavailable")
    assert answer["Retry-After"] == "30"
