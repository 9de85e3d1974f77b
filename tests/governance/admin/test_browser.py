"""The console in Debian's Chromium, on the real server, with every page looked at in each size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from django.test import override_settings
from playwright.sync_api import Browser, Page

from governance.journal.models import JournalEvent
from governance.models import ToolCall
from governance.selectors import CallView, view_of
from identity.models import ApiToken, Workspace
from identity.roles import WorkspaceRole
from tests.cast import PASSWORD, enrol, make_user
from tests.governance.admin.looking import look_at
from tests.governance.admin.world import World, code_now, count_words, make_world, propose, write_file
from tests.support_fixtures import StartProcess, chromium as chromium, web_process as web_process

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)> \u202egpj.exe"
WATCH = """
document.addEventListener("securitypolicyviolation",
  (event) => console.error("CSP " + event.violatedDirective + " " + event.blockedURI));
"""


@dataclass(slots=True)
class Console:
    """A running server with something in it, and a browser page that notes every complaint."""

    url: str
    world: World
    waiting: CallView
    refused: CallView
    page: Page
    complaints: list[str] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        page.add_init_script(WATCH)
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url} {error}"))
        page.on("dialog", lambda dialog: self.complaints.append(f"{page.url} dialog {dialog.message}"))
        page.on(
            "console",
            lambda said: (
                self.complaints.append(f"{page.url} {said.text}")
                if said.type in ("error", "warning")
                else None
            ),
        )

    def sign_in(self, page: Page, name: str) -> None:
        page.goto(f"{self.url}/admin/")
        page.fill("[name=username]", name)
        page.fill("[name=password]", PASSWORD)
        page.fill("[name=code]", code_now())
        page.click("main button[type=submit]")
        page.wait_for_url(f"{self.url}/admin/")


@pytest.fixture
def console(transactional_db: None, web_process: StartProcess, chromium: Browser) -> Iterator[Console]:
    hashers = ["django.contrib.auth.hashers.ScryptPasswordHasher"]  # as the server has them
    with override_settings(PASSWORD_HASHERS=hashers):
        world = make_world()
        instance = Workspace.objects.get(slug="instance")
        enrol(make_user("guardian", WorkspaceRole.OWNER, workspace=instance))
    waiting = write_file(world.agent, content="line\n" * 40 + HOSTILE)
    refused = propose(world.agent, HOSTILE, {"text": "word " * 300, HOSTILE: [HOSTILE]}, purpose=HOSTILE)
    count_words(world.kept)
    console = Console(web_process().url, world, waiting, refused, chromium.new_page())
    console.listen(console.page)
    yield console
    console.page.close()


def state_of(view: CallView) -> str:
    return view_of(ToolCall.objects.get(pk=view.call.pk)).state.value


def test_every_page_fits_in_each_size_and_colour_without_a_complaint(console: Console) -> None:
    console.page.goto(f"{console.url}/admin/login/")
    _look_at(console, "login", "/admin/login/")
    console.sign_in(console.page, "guardian")
    for name, path in _pages(console).items():
        _look_at(console, name, path)
    assert console.complaints == []


def _pages(console: Console) -> dict[str, str]:
    waiting, refused = console.waiting.call, console.refused.call
    world = console.world
    token = ApiToken.objects.filter(principal_agent=world.agent).values_list("pk", flat=True)[0]
    event = JournalEvent.objects.filter(call_id=refused.pk).values_list("pk", flat=True)[0]
    lists = (
        "approvals", "approvals/noise", "approvals/break-glass", "grants", "grants/denials", "webhooks",
        "webhooks/new", "freezes", "calls", "runs", "tools", "policy", "journal", "agents", "executions",
        "users", "workspaces", "tokens", "my-tokens",
    )  # fmt: skip
    return {
        "home": "/admin/",
        **{name.replace("/", "-"): f"/admin/{name}/" for name in lists},
        "approval": f"/admin/approvals/{waiting.approval_id}/",
        "journal-tree": f"/admin/journal/?run={refused.run_id}",
        "journal-event": f"/admin/journal/{event}/?verify=now",
        "journal-integrity": "/admin/journal/integrity/",
        "call-waiting": f"/admin/calls/{waiting.pk}/",
        "call-denied": f"/admin/calls/{refused.pk}/",
        "run": f"/admin/runs/{refused.run_id}/",
        "user": f"/admin/users/{world.keeper.pk}/",
        "user-new": "/admin/users/new/",
        "agent": f"/admin/agents/{world.agent.pk}/",
        "agent-new": "/admin/agents/new/",
        "workspace": f"/admin/workspaces/{world.workspace.pk}/",
        "workspace-new": "/admin/workspaces/new/",
        "permissions": f"/admin/workspaces/{world.workspace.pk}/permissions/?principal={world.agent.pk}",
        "token": f"/admin/tokens/{token}/",
        "token-new": "/admin/tokens/new/",
        "my-token-new": "/admin/my-tokens/new/",
    }


def _look_at(console: Console, name: str, path: str) -> None:
    answer = console.page.goto(f"{console.url}{path}")
    assert answer is not None
    assert answer.status == 200, path
    look_at(console.page, name)
