"""The way in, in Debian's Chromium: a first password, an authenticator, recovery codes, the account."""

from __future__ import annotations

import base64

import pytest
from django.db import transaction
from django.test import override_settings
from django_otp.oath import TOTP
from playwright.sync_api import Browser, Page

from governance.journal.ledger import record
from governance.operations import installation
from identity.models import Workspace
from identity.passwords import issue_setup_link
from identity.roles import WorkspaceRole
from kernel.clock import utc_now
from tests.cast import SYSTEM, make_user
from tests.governance.admin.looking import OVERFLOW, UNLABELLED
from tests.support_fixtures import StartProcess, chromium as chromium, web_process as web_process

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PHRASE = "an entirely different phrase"
WATCH = """
document.addEventListener("securitypolicyviolation",
  (event) => console.error("CSP " + event.violatedDirective + " " + event.blockedURI));
"""


@pytest.fixture
def link(transactional_db: None) -> str:
    """The setup link of somebody new."""
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.ScryptPasswordHasher"]):
        installation.bootstrap(now=utc_now())
        person = make_user("newcomer", WorkspaceRole.AUDITOR, workspace=Workspace.objects.get(slug="default"))
    with transaction.atomic():
        return issue_setup_link(user=person, actor=SYSTEM, now=utc_now(), record=record)


def look(page: Page) -> None:
    """Look at the page in each size and scheme."""
    assert page.evaluate(UNLABELLED) == []
    assert page.locator("h1").count() == 1
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in (1440, 390, 360):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate(OVERFLOW) == 0, (page.url, width)


@pytest.mark.parametrize("scripts", [True, False])
def test_somebody_new_comes_all_the_way_in(
    link: str, web_process: StartProcess, chromium: Browser, scripts: bool
) -> None:
    url, complaints = web_process().url, list[str]()
    context = chromium.new_context(java_script_enabled=scripts)
    page = context.new_page()
    page.add_init_script(WATCH)
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)

    page.goto(f"{url}/admin/setup/{link}/")
    look(page)
    page.fill("#password", PHRASE)
    page.fill("#again", PHRASE)
    page.click("button:has-text('Set password')")
    page.click("a:has-text('Sign in')")
    look(page)
    page.fill("[name=username]", "newcomer")
    page.fill("[name=password]", PHRASE)
    page.click("main button[type=submit]")

    page.wait_for_selector("text=Scan this code")
    assert page.url == f"{url}/admin/account/authenticator/"
    look(page)
    assert page.locator("svg.qr").bounding_box() is not None
    page.click("text=Type the seed instead")
    seed = base64.b32decode(page.inner_text(".seed code").replace(" ", ""))
    page.fill("#new_code", f"{TOTP(seed).token():06d}")
    page.click("main form.card button[type=submit]")

    page.wait_for_selector("h1:has-text('Your recovery codes')")
    assert page.locator(".codes li").count() == 10
    look(page)
    page.click("text=I have stored them")
    page.wait_for_selector("h1:has-text('My account')")
    look(page)
    page.click("main >> text=Change password")
    page.wait_for_selector("h1:has-text('Change password')")
    look(page)
    context.close()
    assert complaints == []
