"""Every page as every kind of person, with hostile content, and at its cost in queries."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from django.contrib import admin
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from governance.admin.site import PAGES, site
from governance.admin.verbs import NEEDS
from governance.journal.models import JournalEvent
from governance.journal.sealing import seal
from governance.models import Run, ToolCall
from governance.notifications.models import WebhookEndpoint
from governance.operations import webhooks
from identity.models import Agent, ApiToken
from identity.roles import MATRIX, Permission, WorkspaceRole
from kernel.clock import utc_now
from tests.governance.admin.answering import acting, granted
from tests.governance.admin.world import World, count_words, propose, sign_in, write_file
from tests.policy.lifecycles import draft as draft_set, person, simulated
from tests.support_rules import template_faults

ROLES = {
    "owner": WorkspaceRole.OWNER,
    "admin": WorkspaceRole.ADMIN,
    "approver": WorkspaceRole.APPROVER,
    "operator": WorkspaceRole.OPERATOR,
    "auditor": WorkspaceRole.AUDITOR,
    "viewer": WorkspaceRole.VIEWER,
}
LISTS = [
    route for route, view, _ in PAGES if ":" not in route and not hasattr(view, NEEDS) and route != "theme/"
]
SCRIPT = "<script>alert(1)</script>"
CORPUS = [
    SCRIPT,
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "</pre><iframe src=javascript:alert(1)>",
    "{{ 7*7 }}{% debug %}",
    "javascript:alert(1)",
    "<style>*{display:none}</style>",
    "</textarea><script>alert(1)</script>",
    "a\u202egpj.exe\u202c",
    "zero\u200bwidth",
    "\x1b]0;title\x07",
    "<a href='https://evil.example'>click</a>",
]


class Elements(HTMLParser):
    """What a browser would make of a page: only what is not ours is kept."""

    OURS = frozenset({"/static/palyra/console.js"})

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []

    @classmethod
    def faults_of(cls, html: str) -> list[str]:
        parser = cls()
        parser.feed(html)
        return parser.faults

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("style", "iframe", "img", "object", "base") or (
            tag == "script" and given.get("src") not in self.OURS
        ):
            self.faults.append(tag)
        for name, value in given.items():
            leads_out = name in ("href", "src", "action") and not (value or "").startswith(("/", "#", "?"))
            if name.startswith("on") or name == "style" or (leads_out and value):
                self.faults.append(f"{tag} {name}={value}")


def paths_of(world: World) -> dict[str, str]:
    """Return every page of the table as a path that exists, by its route."""
    view = count_words(world.agent)
    rules = draft_set(person(world.owner))
    simulated(rules)
    seal(now=utc_now())
    ids = {
        "event_id": JournalEvent.objects.filter(call_id=view.call.pk).values_list("pk", flat=True)[0],
        "set_id": rules.pk,
        "file": rules.files.values_list("name", flat=True)[0],
        "number": "1",
        "request_id": view.call.approval_id or "",
        "webhook_id": webhook_of(world).pk,
        "grant_id": granted(world, write_file(world.kept, path="notes/granted.md")).pk,
        "call_id": view.call.pk,
        "run_id": view.call.run_id,
        "user_id": world.keeper.pk,
        "agent_id": world.agent.pk,
        "session_id": world.agent.pk,
        "workspace_id": world.workspace.pk,
        "key": "compat_api",
        "tool": "fs.write",
        "name": "fs.write",
        "preset_id": "lockdown",
        "token_id": ApiToken.objects.filter(principal_agent=world.agent).values_list("pk", flat=True)[0],
    }
    return {
        route: "/admin/" + re.sub(r"<\w+:(\w+)>", lambda found: ids[found[1]], route)
        for route, view, _ in PAGES
        if not route.endswith("cancel/") and not hasattr(view, NEEDS)
    }


def webhook_of(world: World) -> WebhookEndpoint:
    """Return an endpoint of the workspace. Nothing is sent to it."""
    told = webhooks.create(
        principal=acting(world, world.owner),
        url="https://hooks.example.com/",
        event_types=["*"],
        now=utc_now(),
    )
    return told.endpoint


@pytest.mark.parametrize("name", sorted(ROLES))
def test_each_role_sees_exactly_the_pages_of_its_permissions(world: World, name: str) -> None:
    client = sign_in(world.people[name])
    seen = {route: client.get(path).status_code for route, path in paths_of(world).items()}
    permissions = {route: view.permission for route, view, _ in PAGES}
    expected = {route: 200 if _holds(ROLES[name], permissions[route]) else 403 for route in seen}
    if not _holds(ROLES[name], Permission.TOKENS_READ):
        expected["tokens/<palyra_id:token_id>/"] = 404
    assert seen == expected | {"theme/": 302}


def _holds(role: WorkspaceRole, permission: Permission | None) -> bool:
    return permission is None or role in MATRIX[permission]


def test_the_table_names_a_permission_for_every_page_that_is_not_for_everybody() -> None:
    open_to_all = {route for route, view, _ in PAGES if view.permission is None}
    assert {route for route in open_to_all if not route.startswith("account/")} == {
        "", "theme/", "switch/", "my-tokens/", "my-tokens/new/", "tokens/<palyra_id:token_id>/",
        "tokens/<palyra_id:token_id>/rotate/", "tokens/<palyra_id:token_id>/revoke/",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["stranger", "nobody", "unverified"])
def test_whoever_is_not_let_in_sees_the_door_and_nothing_else(world: World, name: str) -> None:
    client = Client()
    if name == "stranger":
        client = sign_in(world.stranger)
    elif name == "unverified":
        client = sign_in(world.owner, verified=False)
    for path in [*paths_of(world).values(), "/admin/nothing/"]:
        answer = client.get(path)
        assert (answer.status_code, answer["Location"].partition("?")[0]) == (302, "/admin/login/")
    assert b"demo-agent" not in client.get("/admin/login/").content


@pytest.mark.parametrize("name", sorted(ROLES))
def test_the_rail_lists_what_may_be_opened(world: World, name: str) -> None:
    client = sign_in(world.people[name])
    html = client.get("/admin/").content.decode().partition('<nav class="rail"')[2].partition("</nav>")[0]
    for path in re.findall(r'<a href="([^"]+)"', html):
        assert client.get(path).status_code == 200
    assert ("/admin/journal/" in html) == (name in ("owner", "admin", "auditor"))


def test_a_page_without_permission_says_which_one_is_missing(world: World) -> None:
    answer = sign_in(world.viewer).get("/admin/approvals/")
    assert answer.status_code == 403
    assert b"approvals.read" in answer.content


@pytest.mark.parametrize(
    "path",
    [
        "/admin/nothing/", "/admin/calls/call_01ARZ3NDEKTSV4RRFFQ69G5FAV/", "/admin/calls/../",
        "/admin/runs/run_01ARZ3NDEKTSV4RRFFQ69G5FAV/", "/admin/approvals/apr_01ARZ3NDEKTSV4RRFFQ69G5FAV/",
        "/admin/approvals/1%00/", "/admin/calls", "/admin/jsi18n/", "/admin/identity/user/", "/admin/r/1/1/",
    ],
)  # fmt: skip
def test_what_does_not_exist_is_a_calm_404(world: World, path: str) -> None:
    answer = sign_in(world.owner).get(path)
    assert answer.status_code == 404
    assert b"Traceback" not in answer.content


def test_nothing_is_registered_on_any_stock_site() -> None:
    assert admin.site._registry == {}
    assert site._registry == {}


@pytest.mark.parametrize("scheme", ["light", "dark", ""])
def test_the_colours_are_remembered_for_the_session(world: World, scheme: str) -> None:
    client = sign_in(world.viewer)
    answer = client.post("/admin/theme/", {"theme": scheme, "next": "/admin/calls/"})
    assert answer["Location"] == "/admin/calls/"
    html = client.get("/admin/").content.decode()
    assert (f'class="theme-{scheme}"' in html) == bool(scheme)


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example/", "/admin/\\evil", "javascript:1", "/api/", ""]
)
def test_the_colours_lead_nowhere_else(world: World, target: str) -> None:
    answer = sign_in(world.viewer).post("/admin/theme/", {"theme": "odd", "next": target})
    assert answer["Location"] in ("/admin/", "/admin/%5Cevil")


def test_rendered_pages_hold_no_inline_script_style_or_handler(world: World) -> None:
    client = sign_in(world.owner)
    write_file(world.agent)
    for path in [*paths_of(world).values(), "/admin/approvals/?tab=decided", "/admin/nothing/"]:
        answer = client.get(path, follow=True)
        if answer["Content-Type"].startswith("text/html"):
            assert template_faults(answer.content.decode()) == [], path
    assert template_faults(Client().get("/admin/login/").content.decode()) == []


@pytest.mark.parametrize("text", CORPUS)
def test_hostile_text_is_shown_and_never_obeyed(world: World, text: str) -> None:
    Agent.objects.filter(pk=world.agent.pk).update(name=text[:80], purpose=text)
    view = write_file(world.agent, path="notes/a.md", content=text)
    refused = propose(world.agent, text.replace("\x1b", "")[:60], {text: text}, purpose=text)
    client = sign_in(world.owner)
    for path in (
        "/admin/", "/admin/agents/", "/admin/approvals/", f"/admin/approvals/{view.call.approval_id}/",
        f"/admin/calls/{view.call.pk}/", f"/admin/calls/{refused.call.pk}/", "/admin/calls/", "/admin/runs/",
        f"/admin/runs/{refused.call.run_id}/", "/admin/journal/",
    ):  # fmt: skip
        answer = client.get(path)
        html = answer.content.decode()
        assert answer.status_code == 200
        assert Elements.faults_of(html) == [], path
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\x1b\x07]", html), path
        if re.search(r"[<>\"']", text):
            assert text not in html, path
    assert "{{" not in text or "{{ 7*7 }}" in client.get("/admin/agents/").content.decode()


def test_a_hostile_comment_stays_text(world: World) -> None:
    view = count_words(world.agent)
    client = sign_in(world.approver)
    path = f"/admin/approvals/{view.call.approval_id}/"
    hidden = dict(
        re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', client.get(path).content.decode())
    )
    client.post(path, hidden | {"verdict": "deny", "comment": SCRIPT + "\u202e"})
    for page in (path, f"/admin/calls/{view.call.pk}/"):
        html = client.get(page).content.decode()
        assert "&lt;script&gt;alert(1)&lt;/script&gt;⟦U+202E⟧" in html
        assert SCRIPT not in html


@pytest.mark.parametrize(
    "query",
    ["?state=odd&before=x&tool=%00&o=1.2.3&q=x&tab=odd",
     "?after=call_1&risk=%ff&type='%22&agent=" + "a" * 5000,
     "?before=call_01ARZ3NDEKTSV4RRFFQ69G5FAV&after=x"],
)  # fmt: skip
def test_odd_filters_are_ignored(world: World, query: str) -> None:
    client = sign_in(world.owner)
    for route in LISTS:
        assert client.get(f"/admin/{route}{query}").status_code == 200


def test_filters_find_what_they_name(world: World) -> None:
    waiting, refused = count_words(world.agent), propose(world.kept, "no.such.tool", {})
    client = sign_in(world.owner)

    def shown(query: str) -> set[str]:
        html = client.get(f"/admin/calls/{query}").content.decode()
        return {one for one in (waiting.call.pk, refused.call.pk) if one in html}

    assert shown("") == {waiting.call.pk, refused.call.pk}
    assert shown("?state=awaiting_approval") == {waiting.call.pk}
    assert shown("?state=denied") == {refused.call.pk}
    assert shown("?agent=kept") == {refused.call.pk}
    assert shown("?tool=demo.wc") == {waiting.call.pk}
    assert shown("?reason=schema.tool_unknown") == {refused.call.pk}


def test_lists_are_walked_by_key_in_both_directions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("governance.admin.paging.PAGE_SIZE", 2)
    made = [propose(world.agent, "no.such.tool", {"n": n}).call.pk for n in range(5)][::-1]
    client = sign_in(world.owner)

    def read(query: str) -> tuple[list[str], dict[str, str]]:
        html = client.get(f"/admin/calls/{query}").content.decode()
        links = {
            rel: href.replace("&amp;", "&") for href, rel in re.findall(r'href="(\?[^"]+)" rel="(\w+)"', html)
        }
        return list(dict.fromkeys(re.findall(r'data-copy="(call_\w+)"', html))), links

    first, links = read("?tool=no.such")
    assert (first, set(links)) == (made[:2], {"next"})
    second, links = read(links["next"])
    assert (second, set(links)) == (made[2:4], {"next", "prev"})
    last, links_of_last = read(links["next"])
    assert (last, set(links_of_last)) == (made[4:], {"prev"})
    assert read(links["prev"])[0] == made[:2]


@pytest.mark.parametrize("route", LISTS)
def test_no_list_counts_or_asks_once_per_row(world: World, route: str) -> None:
    client = sign_in(world.owner)
    for n in range(3):
        write_file(world.agent, path=f"first/{n}.md")
        count_words(world.agent)
    few = _queries(client, route)
    for n in range(6):
        write_file(world.agent, path=f"notes/{n}.md")
    many = _queries(client, route)
    assert len(many) <= len(few)
    assert not [text for text in many if re.match(r"SELECT COUNT\(\*\)", text)]


def _queries(client: Client, route: str) -> list[str]:
    client.get(f"/admin/{route}")
    with CaptureQueriesContext(
        connection,
    ) as context:
        client.get(f"/admin/{route}")
    return [query["sql"] for query in context.captured_queries]


def test_home_counts_what_the_database_holds(world: World) -> None:
    propose(world.agent, "no.such.tool", {})
    count_words(world.agent)
    html = sign_in(world.approver).get("/admin/").content.decode()
    rows = re.findall(
        r"<tr><th scope=\"row\">\d\d:00</th><td>(\d+)</td><td>(\d+)</td><td>(\d+)</td></tr>", html
    )
    assert len(rows) == 24
    assert [sum(int(row[kind]) for row in rows) for kind in range(3)] == [0, 1, 1]
    assert "?reason=schema.tool_unknown" in html
    assert "demo-agent wants to run demo.wc" in html


def test_only_what_the_visitor_may_answer_waits_for_them(world: World) -> None:
    own, other = count_words(world.kept), write_file(world.agent)
    html = sign_in(world.keeper).get("/admin/approvals/").content.decode()
    assert other.call.approval_id is not None
    assert other.call.approval_id in html
    assert (own.call.approval_id or "") not in html
    html = sign_in(world.keeper).get("/admin/approvals/?tab=pending").content.decode()
    assert html.index(other.call.approval_id) < html.index(own.call.approval_id or "")
    assert "You own this agent" in html


def test_the_call_page_tells_the_whole_path(world: World) -> None:
    view = write_file(world.agent)
    html = sign_in(world.auditor).get(f"/admin/calls/{view.call.pk}/").content.decode()
    gates = re.findall(r'<li class="(\w+)">.*?<span>(\w+)<span', html)
    assert [name for _, name in gates] == [
        "Authenticate", "Run", "Schema", "Skill", "Posture", "Backend", "Policy", "Budget", "Approval",
    ]  # fmt: skip
    assert [verdict for verdict, _ in gates].count("ask") >= 1
    assert view.call.action_digest in html
    denied = propose(world.agent, "no.such.tool", {})
    html = sign_in(world.auditor).get(f"/admin/calls/{denied.call.pk}/").content.decode()
    assert "Attested" in html
    assert html.count("not reached") == 6


def test_the_policy_page_can_be_linked_to_by_rule(world: World) -> None:
    view = write_file(world.agent)
    client = sign_in(world.auditor)
    links = re.findall(
        r"#policy-([\w.-]+)", client.get(f"/admin/approvals/{view.call.approval_id}/").content.decode()
    )
    assert links
    html = client.get("/admin/policy/active/").content.decode()
    assert all(f'id="policy-{rule}"' in html for rule in links)


def test_the_journal_of_another_workspace_stays_closed_to_its_readers(world: World) -> None:
    elsewhere = propose(world.agent, "no.such.tool", {}).call
    Run.objects.filter(pk=elsewhere.run_id).update(workspace_id="wsp_elsewhere")
    ToolCall.objects.filter(pk=elsewhere.pk).update(workspace_id="wsp_elsewhere")
    event = JournalEvent.objects.filter(call_id=elsewhere.pk).values_list("pk", flat=True)[0]
    path = f"/admin/journal/?run={elsewhere.run_id}"
    owner, auditor = sign_in(world.owner), sign_in(world.auditor)
    assert event in owner.get(path).content.decode()
    assert "/admin/journal/evt_" not in auditor.get(path).content.decode()
    for path in (f"/admin/journal/{event}/", f"/admin/journal/{event}/proof/"):
        assert auditor.get(path).status_code == 404


def test_a_database_that_is_down_gives_a_calm_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise OperationalError("server closed the connection at 10.0.0.5")

    monkeypatch.setattr("governance.admin.access.places_of", broken)
    answer = sign_in(world.owner).get("/admin/")
    assert answer.status_code == 503
    assert b"10.0.0.5" not in answer.content
    assert b"req_" in answer.content
