"""Tokens, people and workspaces in Chromium: by keyboard, without JavaScript, in each size and colour."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser

from identity.models import ApiToken, ConsoleSession, User, Workspace
from kernel.clock import utc_now
from kernel.ids import new_id
from tests.governance.admin.looking import look_at
from tests.governance.admin.posting import keeps, switch_on
from tests.governance.admin.test_browser import (
    HOSTILE,
    Console,
    console as console,
)
from tests.support_fixtures import chromium as chromium, web_process as web_process

pytestmark = pytest.mark.browser


def test_a_token_is_minted_by_keyboard_and_shown_once(console: Console) -> None:
    page = console.page
    console.sign_in(page, "guardian")
    page.goto(f"{console.url}/admin/tokens/new/?agent={console.world.kept.pk}")
    page.focus("input[value=agent]")
    page.keyboard.press("Space")
    page.focus("[name=label]")
    page.keyboard.type("night job")
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('Copy this token now')")
    text = page.inner_text("#secret")
    assert re.fullmatch(r"plr_agt_\w{12}_\w{49}", text)
    look_at(page, "reveal")
    page.reload()
    page.wait_for_selector("text=is not shown again")
    assert text not in page.content()
    token = ApiToken.objects.get(label="night job")
    assert token.principal_agent_id == console.world.kept.pk
    assert keeps(text) == []
    assert console.complaints == []


def test_people_are_governed_without_javascript(console: Console, chromium: Browser) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    console.sign_in(page, "guardian")
    page.goto(f"{console.url}/admin/users/")
    page.click("a.lead:has-text('keeper')")
    page.click("summary:has-text('Disable')")
    page.fill("#disable-reason", "On leave.")
    page.click("button:has-text('Disable')")
    page.wait_for_selector("text=This person is disabled.")
    assert not User.objects.get(username="keeper").is_active
    page.goto(f"{console.url}/admin/users/new/")
    page.fill("[name=username]", "ada")
    page.click("text=Create and show the link")
    assert "/admin/setup/" in page.inner_text("#secret")
    context.close()


def test_forms_that_come_back_stand_open_in_each_size(console: Console) -> None:
    page = console.page
    User.objects.filter(username="keeper").update(display_name=HOSTILE)
    User.objects.filter(username="guardian").update(display_name="W" * 120)
    console.sign_in(page, "guardian")
    page.goto(f"{console.url}/admin/users/{console.world.keeper.pk}/")
    page.click("summary:has-text('Change name or e-mail')")
    page.fill("#change-display_name", "Keeper")
    page.fill("#change-email", "x@y")
    page.click("button:has-text('Change name or e-mail')")
    page.wait_for_selector("#change-email-error")
    assert page.get_attribute("#change-email", "aria-invalid") == "true"
    look_at(page, "user-error")
    assert [one for one in console.complaints if "422" not in one] == []


def test_a_workspace_is_chosen_by_keyboard(console: Console) -> None:
    switch_on("team_mode")
    now = utc_now()
    Workspace.objects.create(id=new_id("wsp", now), slug="research", name=HOSTILE, created_at=now)
    page = console.page
    console.sign_in(page, "guardian")
    page.focus(".menu.place summary")
    page.keyboard.press("Enter")
    look_at(page, "switch")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(".menu.place summary:has-text('gpj.exe')")
    page.goto(f"{console.url}/admin/workspaces/")
    look_at(page, "workspaces-two")
    page.goto(f"{console.url}/admin/workspaces/{console.world.workspace.pk}/")
    look_at(page, "workspace-teams")
    assert console.complaints == []


def test_a_code_is_asked_for_in_the_form_it_is_due_in(console: Console) -> None:
    page = console.page
    console.sign_in(page, "guardian")
    ConsoleSession.objects.update(mfa_at=None)
    page.goto(f"{console.url}/admin/users/{console.world.keeper.pk}/")
    page.click("summary:has-text('Give a role')")
    page.select_option("#grant-role", "auditor")
    look_at(page, "user-code")
    assert page.locator("#grant-code").get_attribute("required") is not None
