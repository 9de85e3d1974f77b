"""The sign-in through a provider as Chromium does it: real cookies, real policies, two real servers."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from pytest_django.fixtures import Settings

from governance.operations import oidc
from identity.models import ConsoleSession
from kernel.clock import utc_now
from tests.governance.admin.looking import ARTIFACTS, OVERFLOW, SMALL, UNLABELLED
from tests.governance.admin.signing_in import Idp, switch
from tests.governance.admin.test_browser import WATCH
from tests.governance.admin.world import World, code_now, make_world
from tests.support_fixtures import StartProcess, chromium as chromium, web_process as web_process

pytestmark = pytest.mark.browser


@pytest.fixture
def world(transactional_db: None, idp: Idp, settings: Settings) -> World:
    settings.PALYRA_OIDC_ISSUER, settings.PALYRA_OIDC_CLIENT_ID = idp.url, "palyra-test"
    made = make_world()
    switch("oidc_login", enabled=True)
    oidc.link(username="approver", subject="ana@login.example.com", now=utc_now())
    return made


@pytest.fixture
def started(world: World, web_process: StartProcess, idp: Idp, tmp_path: Path) -> str:
    secret = tmp_path / "client-secret"
    secret.write_text("a secret of the client\n")
    secret.chmod(0o600)
    return web_process(
        PALYRA_OIDC_ISSUER=idp.url,
        PALYRA_OIDC_CLIENT_ID="palyra-test",
        PALYRA_OIDC_CLIENT_SECRET_FILE=str(secret),
    ).url


def listening(chromium: Browser, ours: str, complaints: list[str], *, width: int, dark: bool) -> Page:
    """Open a page that notes what the browser complains of on pages of ours."""
    context = chromium.new_context(
        viewport={"width": width, "height": 780}, color_scheme="dark" if dark else "light"
    )
    page = context.new_page()
    page.add_init_script(WATCH)
    page.on(
        "console",
        lambda said: (
            complaints.append(said.text)
            if said.type == "error" and said.location["url"].startswith(ours)
            else None
        ),
    )
    return page


def look(page: Page, name: str) -> None:
    """Keep a picture, and require what holds on every page."""
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True)
    assert page.evaluate(OVERFLOW) == 0
    assert page.evaluate(UNLABELLED) == []
    assert page.evaluate(SMALL) == []
    assert page.locator("h1").count() == 1


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, True)])
def test_a_person_signs_in_there_and_confirms_here(
    started: str, world: World, idp: Idp, chromium: Browser, width: int, dark: bool
) -> None:
    complaints: list[str] = []
    page = listening(chromium, started, complaints, width=width, dark=dark)
    page.goto(f"{started}/admin/")
    look(page, f"oidc-login-{width}")
    page.get_by_role("button", name="Sign in with").click()
    page.wait_for_url(f"{idp.url}/oauth2/authorize*")
    page.fill("input[name=sub]", "ana@login.example.com")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{started}/auth/oidc/confirm")
    look(page, f"oidc-confirm-{width}")
    page.fill("[name=code]", "000000")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("alert").wait_for()
    look(page, f"oidc-wrong-{width}")
    page.fill("[name=code]", code_now())
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{started}/admin/")
    page.get_by_role("heading", level=1).wait_for()
    assert ConsoleSession.objects.filter(user=world.approver, ended_at__isnull=True).count() == 1
    assert [one for one in complaints if "401" not in one] == []


def test_a_person_nobody_knows_is_told_what_to_do(started: str, idp: Idp, chromium: Browser) -> None:
    complaints: list[str] = []
    page = listening(chromium, started, complaints, width=1280, dark=False)
    page.goto(f"{started}/admin/")
    page.get_by_role("button", name="Sign in with").click()
    page.wait_for_url(f"{idp.url}/oauth2/authorize*")
    page.fill("input[name=sub]", "stranger-at-login.example.com")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{started}/auth/callback/oidc*")
    look(page, "oidc-not-linked")
    assert "stranger-at-login.example.com" in page.inner_text("main")
    page.get_by_role("link", name="Back to the login page").click()
    page.wait_for_url(f"{started}/admin/login/")
    assert [one for one in complaints if "403" not in one] == []
