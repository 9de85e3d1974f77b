"""Signing in through a real provider: its own process on loopback, and Palyra's pages around it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from django.db import transaction
from django.test import Client
from pytest_django.fixtures import Settings

from governance.admin.headers import FIXED
from governance.journal.models import JournalEvent
from governance.journal.reading import open_data
from governance.operations import oidc
from identity import login_attempts, rejections
from identity.factors import issue_recovery_codes
from identity.models import ConsoleSession, OidcAttempt, RejectionTally, TotpFactor, User
from identity.selectors import has_factor
from kernel.clock import utc_now
from kernel.errors import ConflictError
from kernel.record import system_actor
from tests.builders import RecordedEvents
from tests.governance.admin.signing_in import (
    CALLBACK,
    CONFIRM,
    COOKIE,
    START,
    Idp,
    come_back,
    leave,
    new_subject,
    path_of,
    state_of,
    switch,
    text_of,
)
from tests.governance.admin.world import World, code_now
from tests.support_servers import free_port


@pytest.fixture
def offered(world: World, idp: Idp, settings: Settings) -> Idp:
    """The provider set up, the feature on, and the approver's account there linked."""
    settings.PALYRA_OIDC_ISSUER, settings.PALYRA_OIDC_CLIENT_ID = idp.url, "palyra-test"
    settings.PALYRA_OIDC_CLIENT_SECRET = "a secret of the client"
    switch("oidc_login", enabled=True)
    oidc.link(username="approver", subject="sub-approver", now=utc_now())
    idp.knows("sub-approver", name="Ana")
    return idp


def last_event(name: str) -> JournalEvent:
    return JournalEvent.objects.filter(type=name).latest("pk")


def sessions_of(user: User) -> int:
    return ConsoleSession.objects.filter(user=user, ended_at__isnull=True).count()


def reasons() -> set[str]:
    return set(RejectionTally.objects.filter(kind="login").values_list("reason", flat=True))


def refused(answer: Any, status: int, code: str) -> str:
    """Require a calm page of this status; return what it says."""
    assert (answer.status_code, answer["Content-Type"]) == (status, "text/html; charset=utf-8")
    text = text_of(answer)
    assert f"Reason {code}" in " ".join(text.split())
    assert "nobody was signed in" in text
    return text


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
    stored = b"|".join(bytes(value) for value in (row.secrets_sealed, row.state_digest, row.browser_digest))
    nonce = parse_qs(urlsplit(url).query)["nonce"][0]
    for secret in (state_of(url), nonce, browser.cookies[COOKIE].value):
        assert secret.encode() not in stored
    browser.get(path_of(offered.signs_in(url, "sub-approver")))
    assert bytes(OidcAttempt.objects.get().secrets_sealed) == b""


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


def test_an_account_that_nobody_has_is_refused_and_named(offered: Idp, world: World) -> None:
    people = User.objects.count()
    subject = offered.knows(new_subject(), email=world.approver.email, email_verified=True)
    text = refused(come_back(Client(), offered, subject), 403, "oidc_not_linked")
    assert subject in text
    assert User.objects.count() == people


def test_an_email_never_links_an_account(offered: Idp, world: World) -> None:
    User.objects.filter(pk=world.auditor.pk).update(email="auditor@example.com")
    subject = offered.knows(new_subject(), email="auditor@example.com", email_verified=True)
    refused(come_back(Client(), offered, subject), 403, "oidc_not_linked")
    assert User.objects.get(pk=world.auditor.pk).oidc_subject is None


def test_the_same_subject_of_another_issuer_is_somebody_else(offered: Idp, world: World) -> None:
    User.objects.filter(pk=world.approver.pk).update(oidc_issuer="https://other.example.com")
    refused(come_back(Client(), offered, "sub-approver"), 403, "oidc_not_linked")


@pytest.mark.parametrize("column", ["is_active", "can_log_in"])
def test_who_may_not_sign_in_does_not_by_the_provider_either(offered: Idp, world: World, column: str) -> None:
    browser = Client()
    come_back(browser, offered, "sub-approver")
    User.objects.filter(pk=world.approver.pk).update(**{column: False})
    refused(browser.post(CONFIRM, {"code": code_now()}), 400, "oidc_failed")
    refused(come_back(Client(), offered, "sub-approver"), 400, "oidc_failed")
    assert sessions_of(world.approver) == 0


def test_a_person_without_a_role_is_refused(offered: Idp) -> None:
    oidc.link(username="stranger", subject="sub-stranger", now=utc_now())
    refused(come_back(Client(), offered, "sub-stranger"), 400, "oidc_failed")


def test_an_account_taken_away_meanwhile_opens_nothing(offered: Idp, world: World) -> None:
    browser = Client()
    come_back(browser, offered, "sub-approver")
    oidc.link(username="approver", subject=None, now=utc_now())
    refused(browser.post(CONFIRM, {"code": code_now()}), 400, "oidc_failed")
    assert sessions_of(world.approver) == 0


def test_an_account_belongs_to_one_person(offered: Idp) -> None:
    with pytest.raises(ConflictError):
        oidc.link(username="auditor", subject="sub-approver", now=utc_now())


def test_linking_ends_the_sessions_of_before(offered: Idp, world: World) -> None:
    browser = Client()
    come_back(browser, offered, "sub-approver")
    browser.post(CONFIRM, {"code": code_now()})
    assert sessions_of(world.approver) == 1
    oidc.link(username="approver", subject="sub-approver", now=utc_now())
    assert sessions_of(world.approver) == 1
    oidc.link(username="approver", subject="another", now=utc_now())
    assert sessions_of(world.approver) == 0


def test_a_wrong_code_counts_as_at_the_login_and_may_be_tried_again(offered: Idp, world: World) -> None:
    browser = Client()
    come_back(browser, offered, "sub-approver")
    for _ in range(4):
        answer = browser.post(CONFIRM, {"code": "000000"})
        assert answer.status_code == 401
        assert "wrong or was used before" in text_of(answer)
    assert browser.post(CONFIRM, {"code": "000000"}).status_code == 401
    answer = browser.post(CONFIRM, {"code": code_now()})
    assert answer.status_code == 429
    key = login_attempts.account_key("approver")
    assert login_attempts.may_attempt(account_key=key, network="127.0.0.0/24", now=utc_now()) > 0
    assert RejectionTally.objects.get(reason="oidc_code").subject == world.approver.pk
    assert sessions_of(world.approver) == 0


@pytest.mark.parametrize("code", ["", " ", "12345", "1234567890123456789012345", "\x00", "¹²³⁴⁵⁶"])
def test_no_code_is_no_second_factor(offered: Idp, world: World, code: str) -> None:
    browser = Client()
    come_back(browser, offered, "sub-approver")
    assert browser.post(CONFIRM, {"code": code}).status_code == 401
    assert sessions_of(world.approver) == 0


def test_a_code_used_once_is_used_up(offered: Idp, world: World) -> None:
    code = code_now()
    for status in (302, 401):
        browser = Client()
        come_back(browser, offered, "sub-approver")
        assert browser.post(CONFIRM, {"code": code}).status_code == status


def test_a_recovery_code_gives_a_session_that_is_not_fresh(offered: Idp, world: World) -> None:
    with transaction.atomic():
        codes = issue_recovery_codes(
            user=world.approver, actor=system_actor("shell"), now=utc_now(), record=RecordedEvents()
        )
    browser = Client()
    come_back(browser, offered, "sub-approver")
    assert browser.post(CONFIRM, {"code": codes[0]}).status_code == 302
    assert ConsoleSession.objects.get(user=world.approver).mfa_at is None
    assert open_data(last_event("login.succeeded")) == {"factor": "oidc+recovery_code"}


def test_an_attempt_ends_with_one_login(offered: Idp, world: World) -> None:
    browser = Client()
    come_back(browser, offered, "sub-approver")
    kept = browser.cookies[COOKIE].value
    assert browser.post(CONFIRM, {"code": code_now()}).status_code == 302
    browser.cookies[COOKIE] = kept
    refused(browser.post(CONFIRM, {"code": code_now()}), 400, "oidc_failed")
    assert sessions_of(world.approver) == 1


@pytest.mark.parametrize(
    ("trusted", "methods", "asked"),
    [
        (True, ["pwd", "mfa"], False),
        (True, ["pwd"], True),
        (True, "mfa", True),
        (True, None, True),
        (False, ["pwd", "mfa"], True),
    ],
)
def test_several_factors_at_the_provider_count_only_where_that_is_set_up(
    offered: Idp,
    world: World,
    settings: Settings,
    trusted: bool,
    methods: object,
    asked: bool,
) -> None:
    settings.PALYRA_OIDC_TRUST_AMR = trusted
    offered.knows("sub-approver", **({} if methods is None else {"amr": methods}))
    browser = Client()
    answer = come_back(browser, offered, "sub-approver")
    if methods == "mfa":
        refused(answer, 400, "oidc_failed")
        return
    assert ('name="code"' in browser.get(CONFIRM).content.decode()) is asked
    assert browser.post(CONFIRM).status_code == (401 if asked else 302)
    if not asked:
        assert ConsoleSession.objects.get(user=world.approver).mfa_at is None
        assert open_data(last_event("login.succeeded")) == {"factor": "oidc"}
        assert browser.get("/admin/approvals/").status_code == 200


def test_who_has_no_authenticator_gets_as_far_as_enrolling_one(offered: Idp, world: World) -> None:
    TotpFactor.objects.filter(user=world.approver).delete()
    browser = Client()
    come_back(browser, offered, "sub-approver")
    assert 'name="code"' not in browser.get(CONFIRM).content.decode()
    assert browser.post(CONFIRM).status_code == 302
    answer = browser.get("/admin/approvals/", follow=True)
    assert "authenticator" in text_of(answer)
    assert "/admin/approvals/" not in [step for step, _ in answer.redirect_chain]


def test_an_authenticator_enrolled_at_the_last_moment_is_asked_for(
    offered: Idp, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = Client()
    come_back(browser, offered, "sub-approver")
    answers = iter([False])
    late = "governance.operations.oidc.has_factor"
    monkeypatch.setattr(late, lambda user_id: next(answers, has_factor(user_id)))
    refused(browser.post(CONFIRM), 409, "state_changed")
    assert sessions_of(world.approver) == 0


def test_while_the_feature_is_off_there_is_nothing_there(offered: Idp) -> None:
    browser = Client()
    back = path_of(offered.signs_in(leave(browser), "sub-approver"))
    switch("oidc_login", enabled=False)
    for answer in (browser.post(START), browser.get(back), browser.get(CONFIRM), browser.post(CONFIRM)):
        refused(answer, 404, "not_found")
    assert "Sign in with" not in text_of(browser.get("/admin/login/"))


def test_switched_off_meanwhile_a_proved_person_stays_outside(offered: Idp, world: World) -> None:
    browser = Client()
    come_back(browser, offered, "sub-approver")
    switch("oidc_login", enabled=False)
    refused(browser.post(CONFIRM, {"code": code_now()}), 404, "not_found")
    assert sessions_of(world.approver) == 0


@pytest.mark.parametrize("missing", ["PALYRA_OIDC_ISSUER", "PALYRA_OIDC_CLIENT_ID"])
def test_a_provider_set_up_by_half_is_none(offered: Idp, settings: Settings, missing: str) -> None:
    setattr(settings, missing, "")
    refused(Client().post(START), 404, "not_found")


def test_in_a_narrower_stage_only_its_people_get_in(offered: Idp, world: World) -> None:
    switch("oidc_login", stage="admin_only")
    refused(come_back(Client(), offered, "sub-approver"), 400, "oidc_failed")
    oidc.link(username="owner", subject="sub-owner", now=utc_now())
    assert come_back(Client(), offered, "sub-owner").status_code == 200


def test_too_many_sign_ins_of_one_network_are_bounded(offered: Idp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("identity.oidc_attempts.MOST_OF_A_NETWORK", 3)
    for _ in range(3):
        leave(Client())
    refused(Client().post(START), 429, "rate_limited")
    assert OidcAttempt.objects.count() == 3


def test_refusals_are_summed_and_name_no_text_somebody_typed(offered: Idp) -> None:
    subject = offered.knows(new_subject(), nonce="x")
    for _ in range(3):
        come_back(Client(), offered, subject)
    row = RejectionTally.objects.get(reason="oidc_claims")
    assert (row.kind, row.subject, row.count) == ("login", rejections.ANONYMOUS, 3)
