"""What else stands on the approval pages: whole arguments, other questions, hostile text, and every verb."""

from __future__ import annotations

import re
from html import unescape
from shlex import quote

import pytest
from django.test import Client
from django.utils.html import escape

from approvals.models import ApprovalRequest, BreakGlassReview, Grant, Review
from governance.models import Run, ToolCall
from governance.operations import allowances, runs
from identity.models import Agent, TotpFactor
from kernel.clock import utc_now
from tests.governance.admin.approving import INBOX, LIVE, TOGETHER, answer_by, count, path_of
from tests.governance.admin.posting import (
    FRESH,
    event_ids,
    events_since,
    form_on,
    page,
    post,
    switch_on,
    text_of,
)
from tests.governance.admin.test_deciding import Form, request_of, state_of
from tests.governance.admin.test_pages import Elements
from tests.governance.admin.world import (
    World,
    code_now,
    count_words,
    principal_of,
    propose,
    sign_in,
    write_file,
)

# A whole argument


def test_a_long_argument_is_shown_whole_on_a_page_of_its_own_with_secrets_masked(world: World) -> None:
    key = "ghp_" + "a1B2" * 9
    view = write_file(world.agent, content="begin " + "x" * 5000 + f" {key} \u202eend")
    client = sign_in(world.approver)
    assert "Show all (5 KiB)" in page(client, path_of(view))
    html = page(client, path_of(view) + "argument/?name=content")
    assert "⟦U+202E⟧end" in html
    assert "x" * 5000 in html
    assert key not in html
    whole = client.get(path_of(view) + "argument/?name=content&download=1")
    assert whole["Content-Disposition"].startswith("attachment")
    assert key.encode() not in whole.content
    assert client.get(path_of(view) + "argument/?name=nothing").status_code == 404


def test_an_argument_that_no_page_bears_is_handed_out_as_a_file(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("governance.admin.approval_argument.LARGEST_SHOWN", 100)
    view = write_file(world.agent, content="<script>" * 40)
    answer = sign_in(world.approver).get(path_of(view) + "argument/?name=content")
    assert answer["Content-Type"].startswith("text/plain")
    assert answer["Content-Disposition"].startswith("attachment")


# Other questions than about a call


def test_a_raise_of_the_budget_says_how_many_calls_there_would_be(world: World) -> None:
    actor = principal_of(world.agent)
    run = runs.open_run(principal=actor, wishes={"max_calls": 8}, now=utc_now())
    asked = allowances.request_raise(
        run_id=run.id, max_calls=12, reason="The <b>list</b> is long.", principal=actor, now=utc_now()
    )
    client = sign_in(world.approver)
    form = Form(client, asked.pk)
    assert "demo-agent wants more <code>calls</code>" in form.html
    assert "0 of 8 are used; an allow makes it 12." in form.html
    assert "The &lt;b&gt;list&lt;/b&gt; is long." in form.html
    assert "Where it runs" not in form.html
    assert 'name="pattern"' not in form.html
    assert "Change the arguments" not in form.html
    assert "Allowed. The run may make more calls." in form.send()
    assert Run.objects.get(pk=run.id).max_calls == 12


# Hostile text

CORPUS = (
    "<script>alert(1)</script>", "<ScRiPt src=//evil.test/x.js></ScRiPt>", "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>", "<svg><script>alert(1)</script></svg>", "<body onload=alert(1)>",
    "<iframe src=javascript:alert(1)>", "<object data=javascript:alert(1)>", "<embed src=//evil.test>",
    "<a href=javascript:alert(1)>x</a>", "<a href='https://evil.test'>x</a>", "<form action=//evil.test>",
    "<input autofocus onfocus=alert(1)>", "<button formaction=javascript:alert(1)>", "<base href=//e.test/>",
    "<meta http-equiv=refresh content=0;url=//evil.test>", "<link rel=stylesheet href=//evil.test>",
    "<style>*{display:none}</style>", "<div style=position:fixed>", "<math><img src=x onerror=alert(1)>",
    "<details open ontoggle=alert(1)>", "<video><source onerror=alert(1)>", "<template><script>1</script>",
    '"><script>alert(1)</script>', "'><img src=x onerror=alert(1)>", '" onmouseover="alert(1)',
    "' onfocus='alert(1)' x='", "</textarea><script>alert(1)</script>", "</title><script>alert(1)</script>",
    "</pre></code><script>alert(1)</script>", "<!--<img src=--><img src=x onerror=alert(1)//>", "]]><script>",
    "{{ 7*7 }}{% debug %}", "${alert(1)}`", "javascript:alert(1)", "data:text/html,<script>alert(1)</script>",
    "&lt;script&gt;alert(1)&lt;/script&gt;", "\u202egpj.exe\u202c<script>", "\x1b[2J\x07<script>",
    "\ufeff<scr\u200bipt>",
)  # fmt: skip


def test_forty_hostile_texts_are_shown_and_never_obeyed(world: World) -> None:
    """All of them at once as arguments by name and by value, then as purpose, agent, comment and pattern."""
    assert len(CORPUS) == 40
    view = propose(
        world.agent, "process.run", {"command": "ls", "args": [one for one in CORPUS if "\x1b" not in one]},
        purpose=" ".join(CORPUS)[:500],
    )  # fmt: skip
    patch = "--- a/<b>\n+++ b/<b>\n@@ -1 +1,40 @@\n-<i>\n" + "".join(f"+{one}\n" for one in CORPUS)
    text = write_file(world.agent, path="notes/<img src=x>/a.md", content=patch)
    address = write_file(world.agent, content=f"https://evil.test/{CORPUS[0]}?{CORPUS[3]}#{CORPUS[33]}")
    Agent.objects.filter(pk=world.agent.pk).update(name=CORPUS[2])
    client = sign_in(world.approver, code_age=FRESH)
    form = Form(client, request_of(text))
    form.send(comment=CORPUS[23] + CORPUS[27], scope="session", narrowed='{"v":"</textarea><script>"}')
    assert form.status == 422
    form = Form(client, request_of(text))
    form.send("deny", comment=" ".join(CORPUS)[:1900])
    pages = [INBOX, f"{INBOX}?tab=pending", f"{INBOX}?tab=decided", LIVE, path_of(address)]
    for one in (view, text):
        pages += [path_of(one), path_of(one) + "state/", path_of(one) + "argument/", path_of(one) + "edit/"]
    for path in pages:
        answer = client.get(path)
        html = text_of(answer)
        assert answer.status_code == 200, path
        assert Elements.faults_of(html) == [], path
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\x1b\x07\ufeff]", html), path
    shown = page(client, path_of(view))
    assert all(escape(quote(one)) in shown for one in CORPUS[:12])


# Ways round the form

ANY_PATH = '{"v":1,"constraints":[{"pointer":"/path","op":"any"}],"rest":"equal"}'


@pytest.mark.parametrize(
    ("values", "status", "field"),
    [
        ({"scope": "always", "comment": "For good."}, 403, "scope"),
        ({"scope": "temporary", "ttl": "24h"}, 422, "ttl"),
        ({"scope": "session", "pattern": '{"v":1,"constraints":[],"rest":"any"}'}, 422, "pattern"),
        ({"scope": "session", "narrowed": ANY_PATH}, 422, "pattern"),
    ],
)  # fmt: skip
def test_what_the_page_does_not_offer_is_refused_when_it_is_forged(
    world: World, values: dict[str, str], status: int, field: str
) -> None:
    view = write_file(world.agent)
    form = Form(sign_in(world.approver, code_age=FRESH), request_of(view))
    html = form.send(**values)
    assert form.status == status, html
    part = html.partition(
        {"scope": "<legend>An allow", "ttl": "<legend>For how", "pattern": "<legend>It cov"}[field]
    )
    assert '<p class="error"' in part[2].partition("</fieldset>")[0]
    assert not Grant.objects.filter(request_id=request_of(view)).exists()
    assert state_of(view) == "awaiting_approval"


def test_what_a_schema_types_as_secret_is_on_no_page_and_survives_an_edit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = {"properties": {"path": {"type": "string"}, "content": {"type": "string", "writeOnly": True}}}
    for module in ("approval_argument", "approval_edit"):
        monkeypatch.setattr(f"governance.admin.{module}.schema_of_tool", lambda *_: schema)
    view = write_file(world.agent, content="hunter2 is the word")
    client = sign_in(world.approver, code_age=FRESH)
    for path in ("argument/", "argument/?name=content", "argument/?name=content&download=1", "edit/"):
        assert b"hunter2" not in client.get(path_of(view) + path).content, path
    form = form_on(client, path_of(view) + "edit/", path_of(view) + "edit/")
    sent = {"arg.path": "notes/z.md", "arg.content": "[masked]", "comment": "Elsewhere."}
    assert form.send(**sent).status_code == 302
    after = ToolCall.objects.get(edited_from_id=view.call.pk)
    assert after.input == {"path": "notes/z.md", "content": "hunter2 is the word"}


def test_requests_of_another_workspace_are_on_no_page_of_this_one(world: World) -> None:
    view = count_words(world.agent)
    ApprovalRequest.objects.filter(pk=request_of(view)).update(workspace_id="wsp_elsewhere")
    client = sign_in(world.approver, code_age=FRESH)
    for path in ("", "state/", "argument/", "edit/"):
        assert client.get(path_of(view) + path).status_code == 404, path
    for path in ("withdraw/", "break-glass/", ""):
        assert post(client, path_of(view) + path, verdict="allow").status_code == 404, path
    assert request_of(view) not in page(client, f"{TOGETHER}?id={request_of(view)}")
    post(client, TOGETHER, chosen=[f"{request_of(view)}:1"], verdict="allow")
    assert state_of(view) == "awaiting_approval"


# Several at once


def test_several_of_one_agent_and_tool_are_answered_with_one_code(world: World) -> None:
    views = [count(world.agent, f"notes/{n}.txt") for n in range(3)]
    ids = [request_of(view) for view in views]
    client = sign_in(world.approver)
    query = "&".join(f"id={one}" for one in ids)
    found = form_on(client, f"{TOGETHER}?{query}", TOGETHER)
    html = page(client, f"{TOGETHER}?{query}")
    assert all(f"&quot;notes/{n}.txt&quot;" in html for n in range(3))
    values = {"chosen": [f"{one}:1" for one in ids], "intent": found.hidden["intent"]}
    assert client.post(TOGETHER, values | {"verdict": "allow"}).status_code == 401
    answer = client.post(TOGETHER, values | {"verdict": "allow", "code": code_now()}, follow=True)
    assert "3 of 3 answered." in text_of(answer)
    assert [state_of(view) for view in views] == ["queued"] * 3
    assert Review.objects.filter(request_id__in=ids, scope="once", surface="console").count() == 3


def test_one_that_cannot_be_answered_keeps_no_other_waiting(world: World) -> None:
    first, second = count(world.agent, "notes/1.txt"), count(world.agent, "notes/2.txt")
    answer_by(world, first, "deny", comment="Gone already.")
    chosen = [f"{request_of(view)}:1" for view in (first, second)]
    client = sign_in(world.second_approver, code_age=FRESH)
    answer = post(client, TOGETHER, chosen=chosen, verdict="allow")
    assert answer.status_code == 302
    assert "1 of 2 answered. 1 not: The request is closed." in page(client, INBOX)
    assert state_of(second) == "queued"


@pytest.mark.parametrize("what", ["mixed", "high", "own", "none", "empty"])
def test_what_does_not_belong_together_is_not_offered(world: World, what: str) -> None:
    medium, high, kept = count_words(world.agent), write_file(world.agent), count_words(world.kept)
    named = {"mixed": [medium, kept], "high": [high], "own": [kept], "none": [], "empty": []}[what]
    client = sign_in(world.keeper if what == "own" else world.approver)
    query = "&".join(f"id={request_of(view)}" for view in named) or ("id=x" if what == "none" else "")
    html = page(client, f"{TOGETHER}?{query}")
    assert "data-decision" not in html
    assert 'class="note warn" role="alert"' in html
    answer = post(client, TOGETHER, chosen=[f"{request_of(view)}:1" for view in named], verdict="allow")
    assert answer.status_code in (302, 401, 422)
    assert all(state_of(view) == "awaiting_approval" for view in (medium, high, kept))


# Other ways


def test_a_question_is_withdrawn_once_and_runs_nothing(world: World) -> None:
    view = count_words(world.agent)
    client = sign_in(world.approver)
    form = form_on(client, path_of(view), path_of(view) + "withdraw/")
    assert form.send().status_code == 302
    assert state_of(view) == "cancelled"
    assert "This was withdrawn" in page(client, path_of(view))
    auditor = sign_in(world.auditor)
    other = count_words(world.agent)
    assert post(auditor, path_of(other) + "withdraw/").status_code == 403
    assert state_of(other) == "awaiting_approval"


def test_breaking_the_glass_is_there_for_who_may_and_takes_a_code_and_a_reason(world: World) -> None:
    view = write_file(world.kept)
    assert "Break the glass" not in page(sign_in(world.owner), path_of(view))
    switch_on("break_glass")
    assert "Break the glass" not in page(sign_in(world.approver), path_of(view))
    client = sign_in(world.owner)
    form = form_on(client, path_of(view), path_of(view) + "break-glass/")
    assert 'name="code"' in form.html
    short = form.send(comment="too short", code=code_now())
    assert short.status_code == 422
    assert "too short" in text_of(short)
    assert state_of(view) == "awaiting_approval"
    TotpFactor.objects.update(last_t=-1)
    form = form_on(client, path_of(view), path_of(view) + "break-glass/")
    done = form.send(comment="The release waits and nobody else is awake.", code=code_now())
    assert done.status_code == 302
    assert state_of(view) == "queued"
    assert "Glass broken" in page(client, path_of(view))
    assert BreakGlassReview.objects.get(request_id=request_of(view)).by == world.owner.pk


def test_edited_arguments_take_the_place_of_the_waiting_ones(world: World) -> None:
    view = count(world.agent, "notes/ideas.txt")
    client = sign_in(world.approver)
    form = form_on(client, path_of(view) + "edit/", path_of(view) + "edit/")
    assert "At this risk your change counts as your allow." in page(client, path_of(view) + "edit/")
    same = form.send(**{"arg.path": "notes/ideas.txt", "comment": "Nothing changed."})
    assert same.status_code in (409, 422)
    form = form_on(client, path_of(view) + "edit/", path_of(view) + "edit/")
    assert form.send(**{"arg.path": "README.txt", "comment": ""}).status_code == 422
    form = form_on(client, path_of(view) + "edit/", path_of(view) + "edit/")
    done = form.send(**{"arg.path": "README.txt", "comment": "The other file."})
    assert done.status_code == 302
    assert state_of(view) == "superseded"
    after = ToolCall.objects.get(edited_from_id=view.call.pk)
    assert after.input == {"path": "README.txt"}
    assert after.approval_id in done["Location"]
    assert "This was replaced by one with edited arguments" in page(client, path_of(view))


def test_a_masked_value_that_is_left_alone_keeps_its_true_value(world: World) -> None:
    key = "ghp_" + "a1B2" * 9
    view = write_file(world.agent, content=f"token {key}\nline two\n")
    client = sign_in(world.approver, code_age=FRESH)
    path = path_of(view) + "edit/"
    form = form_on(client, path, path)
    assert key not in form.html
    shown = unescape(re.search(r'name="arg.content"[^>]*>\n(.*?)</textarea>', form.html, re.DOTALL)[1])  # type: ignore[index]  # it is there
    kept = form.send(
        **{"arg.path": "notes/b.md", "arg.content": shown.replace("\n", "\r\n"), "comment": "Moved."}
    )
    assert kept.status_code == 302, text_of(kept)
    after = ToolCall.objects.get(edited_from_id=view.call.pk)
    assert after.input == {"path": "notes/b.md", "content": f"token {key}\nline two\n"}
    form = form_on(client, f"{INBOX}{after.approval_id}/edit/", f"{INBOX}{after.approval_id}/edit/")
    marked = form.send(**{"arg.content": shown + "more", "comment": "Half of it."})
    assert (marked.status_code, "type the whole value" in text_of(marked)) == (422, True)


def test_whoever_may_not_decide_may_not_edit(world: World) -> None:
    view = count_words(world.kept)
    before = event_ids()
    answer = post(
        sign_in(world.keeper),
        path_of(view) + "edit/",
        **{"arg.path": "README.txt", "comment": "Mine.", "version": "1"},
    )
    assert answer.status_code == 403
    assert "request.refused" in events_since(before)
    assert state_of(view) == "awaiting_approval"
    assert Client().get(path_of(view) + "edit/").status_code == 302
