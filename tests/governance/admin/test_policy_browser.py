"""A set of rules from its draft into force and back, in Debian's Chromium, with and without JavaScript."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from django.test import override_settings
from playwright.sync_api import Browser, Page

from approvals.models import ApprovalRequest
from identity.models import TotpFactor, Workspace
from identity.roles import WorkspaceRole
from policy.models import PolicySet
from policy.set_selectors import active_set
from tests.cast import PASSWORD, enrol, make_user
from tests.governance.admin.looking import look_at
from tests.governance.admin.test_browser import WATCH
from tests.governance.admin.world import World, code_now, make_world, propose, write_file
from tests.policy.lifecycles import NO_FTP
from tests.support_fixtures import StartProcess, chromium as chromium, web_process as web_process

pytestmark = pytest.mark.browser

BROKEN = NO_FTP.replace("url_scheme", "urll_scheme")
NO_ECHO = """@id("no_echo")
forbid (principal, action == Palyra::Action::"tool.execute:echo", resource);
"""
REASON = "the network team asked for it"


@dataclass(slots=True)
class Desk:
    """A running server and what browsers complained about."""

    url: str
    world: World
    chromium: Browser
    complaints: list[str] = field(default_factory=list)

    def sit_down(self, name: str, *, script: bool = True) -> Page:
        page = self.chromium.new_context(java_script_enabled=script).new_page()
        page.add_init_script(WATCH)
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url} {error}"))
        page.on(
            "console",
            lambda said: self.complaints.append(f"{page.url} {said.text}") if said.type == "error" else None,
        )
        page.goto(f"{self.url}/admin/policy/")
        page.fill("[name=username]", name)
        page.fill("[name=password]", PASSWORD)
        page.fill("[name=code]", code_now())
        page.click("main button[type=submit]")
        page.wait_for_url(f"{self.url}/admin/policy/")
        return page


@pytest.fixture
def desk(transactional_db: None, web_process: StartProcess, chromium: Browser) -> Desk:
    hashers = ["django.contrib.auth.hashers.ScryptPasswordHasher"]  # as the server has them
    with override_settings(PASSWORD_HASHERS=hashers):
        world, instance = make_world(), Workspace.objects.get(slug="instance")
        for name in ("author", "second"):
            enrol(make_user(name, WorkspaceRole.OWNER, workspace=instance))
    for text in ("one", "two"):
        propose(world.agent, "echo", {"text": text})
    write_file(world.agent)
    return Desk(web_process().url, world, chromium)


def fresh_code() -> str:
    """Return the code of this moment, although somebody used it to sign in: time is no matter here."""
    TotpFactor.objects.update(last_t=-1)
    return code_now()


def drafted(page: Page, name: str) -> None:
    page.click("summary:has-text('New draft')")
    page.fill("#draft-name", name)
    page.click("form[action$='/policy/new/'] button")
    page.wait_for_selector("text=is a draft now")
    page.click("summary:has-text('Add a file')")
    page.fill("#add-file", "custom.cedar")
    page.click("form[action$='/add/'] button")
    page.wait_for_selector("text=custom.cedar is added")


def edit(page: Page, text: str, then: str) -> None:
    page.fill("#policy-text", text)
    page.click(f"button:text-is('{then}')")


def in_force() -> int:
    active = active_set()
    return active.version if active else 0


def test_rules_go_from_a_draft_into_force_and_back(desk: Desk) -> None:
    page = desk.sit_down("author")
    look_at(page, "policy-sets")
    drafted(page, "No FTP, no echo")
    edit(page, BROKEN, "Save and validate")
    page.wait_for_selector("text=1 finding keeps the set from being valid")
    look_at(page, "policy-editor")
    page.click("text=line 4, col 43")
    assert page.evaluate("document.querySelector(':target').textContent").endswith('urll_scheme == "ftp" };')
    _indent_by_keyboard(page)
    edit(page, NO_FTP + NO_ECHO, "Save and validate")
    page.wait_for_selector("text=does not change any more")
    look_at(page, "policy-set")
    page.click("summary:has-text('Simulate')")
    page.click("form[action$='/simulate/'] button")
    page.wait_for_selector("text=Decisions that change")
    look_at(page, "policy-simulation")
    page.goto(page.url.partition("simulations")[0] + "diff/")
    look_at(page, "policy-diff")
    page.goto(page.url.replace("/diff/", "/activate/"))
    look_at(page, "policy-activate")
    page.fill("#activate-loosened", "0")
    page.fill("#activate-reason", REASON)
    page.click("button:text-is('Ask for it')")
    page.wait_for_selector("text=A second person is asked")
    assert in_force() == 1
    _second_person_allows(desk)
    assert in_force() == 2
    _go_back(desk, page)
    assert in_force() == 3
    page.goto(f"{desk.url}/admin/policy/")
    look_at(page, "policy-sets-after")
    assert desk.complaints == []


def _indent_by_keyboard(page: Page) -> None:
    page.fill("#policy-text", "")
    page.focus("#policy-text")
    page.keyboard.press("Tab")
    page.keyboard.type("x")
    assert page.input_value("#policy-text") == "  x"
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Save draft"
    page.focus("#policy-text")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.id") != "policy-text"


def _second_person_allows(desk: Desk) -> None:
    page = desk.sit_down("second")
    asked = ApprovalRequest.objects.get(subject_type="policy_activation")
    page.goto(f"{desk.url}/admin/approvals/{asked.pk}/")
    page.wait_for_selector('text=+@id("no_ftp")')
    look_at(page, "policy-approval")
    page.fill("textarea[name=comment]", "looked at the lines")
    if page.locator("input[name=code]").count():
        page.fill("input[name=code]", fresh_code())
    page.click("button[name=verdict][value=allow]")
    page.wait_for_selector("text=The rules are in force.")


def _go_back(desk: Desk, page: Page) -> None:
    first = PolicySet.objects.get(version=1)
    page.goto(f"{desk.url}/admin/policy/{first.pk}/rollback/")
    page.wait_for_selector("text=One person is enough")
    look_at(page, "policy-rollback")
    page.fill("#rollback-reason", REASON)
    if page.locator("input[name=code]").count():
        page.fill("input[name=code]", fresh_code())
    page.click("button:text-is('Go back')")
    page.wait_for_selector("text=is in force from the next decision on")


def test_a_policy_is_edited_and_tried_without_javascript_however_large(desk: Desk) -> None:
    page = desk.sit_down("author", script=False)
    drafted(page, "Without a script")
    row = PolicySet.objects.latest("version")
    edit(page, BROKEN, "Save and validate")
    page.click("text=line 4, col 43")
    large = NO_ECHO + f"// {'a long comment ' * 200}\n" * 500
    assert len(large) > 1_048_576
    page.locator("#policy-text").evaluate("(area, text) => { area.value = text; }", large)
    page.click("button:text-is('Save and simulate')")
    page.wait_for_selector("text=Decisions that change", timeout=60_000)
    assert row.files.get(name="custom.cedar").text == large
    page.goto(f"{desk.url}/admin/policy/{row.pk}/")
    page.click("summary:has-text('Validate')")
    page.click("form[action$='/validate/'] button")
    page.wait_for_selector("text=is validated and does not change any more", timeout=60_000)
    assert PolicySet.objects.get(pk=row.pk).state == "validated"
