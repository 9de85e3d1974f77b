"""Whom a sign-in through a provider lets in, with which second factor, and while it is switched on."""

from __future__ import annotations

import pytest
from django.db import transaction
from django.test import Client
from pytest_django.fixtures import Settings

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
    CONFIRM,
    COOKIE,
    START,
    Idp,
    come_back,
    last_event,
    leave,
    new_subject,
    path_of,
    refused,
    sessions_of,
    switch,
    text_of,
)
from tests.governance.admin.world import World, code_now


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
