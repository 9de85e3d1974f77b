"""Deciding in Debian's Chromium: by keyboard, without script, by two people at once, and a live inbox."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.test import override_settings
from playwright.sync_api import Browser, Page, expect

from approvals.models import Review
from identity.models import Agent, ConsoleSession, TotpFactor
from kernel.clock import utc_now
from sandbox.models import Execution
from tests.governance.admin.looking import look_at
from tests.governance.admin.test_browser import (
    Console,
    state_of,
)
from tests.governance.admin.test_deciding import request_of
from tests.governance.admin.test_pages import CORPUS
from tests.governance.admin.world import World, code_now, count_words, make_world, propose, write_file
from tests.support_fixtures import StartProcess, chromium as chromium, web_process as web_process

pytestmark = pytest.mark.browser
FOCUSED = "document.activeElement.value || document.activeElement.name || document.activeElement.id"


@pytest.fixture
def console(transactional_db: None, web_process: StartProcess, chromium: Browser) -> Iterator[Console]:
    hashers = ["django.contrib.auth.hashers.ScryptPasswordHasher"]  # as the server has them
    with override_settings(PASSWORD_HASHERS=hashers):
        world = make_world()
    waiting = write_file(world.agent, content="line\n" * 40)
    console = Console(web_process().url, world, waiting, waiting, chromium.new_page())
    console.listen(console.page)
    yield console
    console.page.close()


def url_of(console: Console) -> str:
    return f"{console.url}/admin/approvals/{request_of(console.waiting)}/"


def test_an_approver_decides_with_the_keyboard_alone(console: Console) -> None:
    page = console.page
    console.sign_in(page, "approver")
    _let_codes_be_due_again()
    page.goto(f"{console.url}/admin/approvals/")
    for _ in range(10):
        page.keyboard.press("j")
        if page.evaluate("document.activeElement.href") == url_of(console):
            break
    page.keyboard.press("Enter")
    page.wait_for_url(url_of(console))
    allow = page.locator("button[value=allow]")
    expect(allow).to_be_disabled()
    expect(allow).to_be_enabled()
    _keys_move_and_decide_nothing(page)
    page.keyboard.press("c")
    page.keyboard.type("By keyboard: a d 1 2 x")
    page.keyboard.press("Tab")
    expect(page.locator("[name=code]")).to_be_focused()
    page.keyboard.type(code_now())
    page.keyboard.press("Enter")
    page.wait_for_timeout(200)
    assert state_of(console.waiting) == "awaiting_approval"
    order = []
    for _ in range(3):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.name + document.activeElement.value"))
    assert order == ["end_run1", "verdictdeny", "verdictallow"]
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    boxes = [page.locator(f"button[value={one}]").bounding_box() for one in ("deny", "allow")]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[1]["x"] - boxes[0]["x"] - boxes[0]["width"] >= 24
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_contain_text("Allowed. The call goes on", timeout=30_000)
    assert state_of(console.waiting) == "queued"
    assert console.complaints == []


def _let_codes_be_due_again() -> None:
    """Make the sign-in as old as if the person had come an hour ago."""
    ConsoleSession.objects.update(mfa_at=utc_now() - timedelta(hours=1))
    TotpFactor.objects.update(last_t=-1)


def _keys_move_and_decide_nothing(page: Page) -> None:
    page.keyboard.press("a")
    assert page.evaluate(FOCUSED) == "allow"
    page.keyboard.press("d")
    assert page.evaluate(FOCUSED) == "deny"
    page.keyboard.press("2")
    assert page.locator("[name=scope][value=session]").is_checked()
    page.keyboard.press("4")
    assert page.locator("[name=scope][value=session]").is_checked()
    page.keyboard.press("1")
    assert page.locator("[name=scope][value=once]").is_checked()
    page.keyboard.press("x")
    assert page.locator("#facts details:not([open])").count() == 0
    page.keyboard.press("?")
    assert page.locator("dialog[open]").count() == 1
    page.keyboard.press("Escape")


def test_everything_works_without_script(console: Console, chromium: Browser) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    console.sign_in(page, "approver")
    page.goto(url_of(console))
    assert page.locator(".when-reach").is_hidden()
    page.check("[name=scope][value=session]")
    assert page.locator(".when-reach").is_visible()
    page.click("label[for=view-raw]")
    assert page.locator(".pane.raw").is_visible()
    assert page.locator(".pane.form").is_hidden()
    page.fill("[name=code]", code_now())
    page.press("[name=code]", "Enter")
    assert state_of(console.waiting) == "awaiting_approval"
    page.click("button[value=deny]")
    page.wait_for_selector("text=a denial needs a comment")
    assert page.locator("[name=scope][value=session]").is_checked()
    page.fill("textarea[name=comment]", "Not without a ticket.")
    page.click("button[value=deny]")
    page.wait_for_selector("text=Denied. The call does not run.")
    page.locator("summary", has_text="approver").click()
    page.click("text=Sign out")
    page.wait_for_selector("h1:has-text('Sign in')")
    context.close()
    assert state_of(console.waiting) == "denied"


def test_of_two_browsers_that_decide_at_once_one_wins_and_the_other_is_told_who(
    console: Console, chromium: Browser
) -> None:
    waiting = count_words(console.world.agent)
    pages = []
    for name in ("approver", "second-approver"):
        page = chromium.new_context().new_page()
        console.sign_in(page, name)
        page.goto(f"{console.url}/admin/approvals/{request_of(waiting)}/")
        expect(page.locator("button[value=allow]")).to_be_enabled()
        pages.append(page)
    for page in pages:
        page.evaluate("setTimeout(() => document.querySelector('button[value=allow]').click(), 300)")
    for page in pages:
        page.wait_for_selector("text=/Allowed. The call goes on|Your answer came after that/")
    told = [page.inner_text("main") for page in pages]
    lost = [text for text in told if "Your answer came after that and changed nothing." in text]
    assert len(lost) == 1
    assert "approver allowed this" in lost[0]
    assert Review.objects.filter(request_id=request_of(waiting)).count() == 1
    assert Execution.objects.filter(call_id=waiting.call.pk).count() == 1
    for page in pages:
        page.context.close()
    _the_inbox_is_live(console, chromium)
    _hostile_text_is_looked_at(console)


def _the_inbox_is_live(console: Console, chromium: Browser) -> None:
    """A new request is offered without moving a row; an open page learns of the end."""
    page = console.page
    page.clock.install()
    console.sign_in(page, "keeper")
    page.goto(f"{console.url}/admin/approvals/")
    rows = page.locator("tr[data-id]")
    before, count = rows.first.bounding_box(), rows.count()
    write_file(console.world.agent, path="notes/new.md")
    page.clock.fast_forward(11_000)
    page.wait_for_selector("text=1 new")
    assert rows.count() == count
    assert rows.first.bounding_box() == before
    page.click("#live-notice button")
    assert rows.count() == count + 1
    page.goto(url_of(console))
    other = chromium.new_context().new_page()
    console.sign_in(other, "admin")
    other.goto(url_of(console))
    other.fill("textarea[name=comment]", "Not now.")
    expect(other.locator("button[value=deny]")).to_be_enabled()
    other.click("button[value=deny]")
    other.wait_for_selector("text=Denied. The call does not run.")
    other.context.close()
    page.clock.fast_forward(11_000)
    page.wait_for_selector("text=admin denied this")
    expect(page.locator("button[value=allow]")).to_be_disabled()
    assert console.complaints == []


def _hostile_text_is_looked_at(console: Console) -> None:
    world: World = console.world
    Agent.objects.filter(pk=world.agent.pk).update(name=CORPUS[1][:80])
    waiting = write_file(world.agent, path="notes/b.md", content=" ".join(CORPUS))
    words: dict[str, object] = {"command": "ls", "args": [*CORPUS[:6], "--x"], "cwd": "a/b"}
    command = propose(world.agent, "process.run", words)
    for name, view in {"approval-hostile": waiting, "approval-command": command}.items():
        _look_at(console, name, f"/admin/approvals/{request_of(view)}/")
    _look_at(console, "approvals-pending", "/admin/approvals/?tab=pending")
    _look_at(console, "approval-edit", f"/admin/approvals/{request_of(waiting)}/edit/")
    assert console.complaints == []


def _look_at(console: Console, name: str, path: str) -> None:
    console.page.goto(f"{console.url}{path}")
    look_at(console.page, name)
