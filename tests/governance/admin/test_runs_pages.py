"""The pages of runs: what each does, its story, and the verbs on it and on its ambiguous calls."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
import time_machine
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from governance import closing
from governance.journal.ledger import record
from governance.journal.models import JournalEvent
from governance.models import Run, ToolCall
from governance.operations import runs
from governance.selectors import CallView
from kernel.clock import utc_now
from kernel.record import system_actor
from sandbox import services as sandbox
from tests.governance.admin.posting import FRESH, form_on, page, post, text_of
from tests.governance.admin.world import World, code_now, count_words, principal_of, propose, sign_in

RUNS = "/admin/runs/"


def path_of(view: CallView) -> str:
    return f"{RUNS}{view.call.run_id}/"


def row_of(html: str, run_id: str) -> str:
    return next(row for row in html.split("<tr>") if f"{RUNS}{run_id}/" in row)


def lost(view: CallView) -> None:
    """Have a worker take the call and die."""
    actor, now = system_actor("sweeper"), utc_now()
    execution_id = view.call.execution_id or ""
    with transaction.atomic():
        sandbox.claim_execution(
            execution_id=execution_id, worker_id="w", boot_id="b", actor=actor, now=now, record=record
        )
        closing.close_lost(execution_id, actor, now, proven_dead=True)


def test_the_list_says_what_each_run_does(world: World) -> None:
    waiting, queued = count_words(world.agent), propose(world.agent, "demo.ls", {})
    idle = propose(world.kept, "no.such.tool", {})
    frozen = propose(world.agent, "demo.ls", {})
    post(sign_in(world.owner, code_age=FRESH), "/admin/freezes/set/", scope="run",
         scope_id=frozen.call.run_id, reason="the agent runs wild")  # fmt: skip
    client = sign_in(world.viewer)
    html = page(client, RUNS)
    assert "Frozen" in row_of(html, frozen.call.run_id)
    assert "Waiting for a person" in row_of(html, waiting.call.run_id)
    assert "Running" in row_of(html, queued.call.run_id)
    assert "Idle" in row_of(html, idle.call.run_id)
    assert idle.call.run_id not in page(client, f"{RUNS}?agent=demo")
    runs.cancel_run(run_id=idle.call.run_id, principal=principal_of(world.kept), reason="done", now=utc_now())
    assert set(re.findall(r'href="/admin/runs/(run_\w+)/"', page(client, f"{RUNS}?state=cancelled"))) == {
        idle.call.run_id
    }
    with time_machine.travel(utc_now() + timedelta(hours=2), tick=False):
        client = sign_in(world.viewer)
        assert "No runs here" in page(client, f"{RUNS}?since=hour")
        assert waiting.call.run_id in page(client, f"{RUNS}?since=day")


def test_a_run_tells_its_story_under_the_names_of_its_stream(world: World) -> None:
    view = count_words(world.agent)
    html = page(sign_in(world.auditor), path_of(view))
    names = re.findall(r"<code>(\w+)</code></p></div></li>", html)
    assert names[::-1][:2] == ["run_status", "tool_proposal"]
    assert {"tool_decision", "approval_request"} <= set(names)
    numbers = [int(one) for one in re.findall(r'<p class="sub">(\d+) <code>', html)]
    assert numbers == list(range(len(numbers), 0, -1))
    assert f'href="/admin/approvals/{view.call.approval_id}/"' in html
    assert f'href="/admin/calls/{view.call.pk}/"' in html
    assert "data-live=" in html
    assert '<noscript><meta http-equiv="refresh"' in html


def test_who_reads_no_approvals_sees_no_questions_of_the_run(world: World) -> None:
    view = count_words(world.agent)
    html = page(sign_in(world.viewer), path_of(view))
    assert "Questions to people" not in html
    assert (view.call.approval_id or "-") not in html


def test_earlier_events_are_reached_by_number(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("governance.admin.runs.MOST_EVENTS", 2)
    path, client = path_of(count_words(world.agent)), sign_in(world.auditor)
    seen: list[int] = []
    link = ""
    while link is not None:
        html = page(client, path + link)
        seen += [int(one) for one in re.findall(r'<p class="sub">(\d+) <code>', html)]
        found = re.search(r'href="(\?upto=\d+)"', html)
        link = found[1] if found else None  # type: ignore[assignment]  # the end of the walk
    assert seen == list(range(seen[0], 0, -1))
    for odd in ("?upto=x", "?upto=-1", "?upto=" + "9" * 30, "?upto=%00", "?upto=0", "?upto=٣"):
        assert client.get(path + odd).status_code == 200


def test_a_run_is_cancelled_with_a_reason_and_once(world: World) -> None:
    view = count_words(world.agent)
    client, path = sign_in(world.admin), path_of(view)
    form = form_on(client, path, f"{path}cancel/")
    empty = form.send(reason=" ")
    assert (empty.status_code, "Say why, in at least 3 characters." in text_of(empty)) == (422, True)
    assert Run.objects.get(pk=view.call.run_id).state == "open"
    form = form_on(client, path, f"{path}cancel/")
    assert [form.send(reason="no more of it").status_code for _ in range(2)] == [302, 302]
    assert JournalEvent.objects.filter(type="run.closed", run_id=view.call.run_id).count() == 1
    html = page(client, path)
    assert html.count("The run has ended.") == 2
    assert "http-equiv" not in html


def test_only_its_own_people_complete_a_run_and_only_when_all_has_ended(world: World) -> None:
    view = count_words(world.kept)
    path = path_of(view)
    assert "Only who the run belongs to" in page(sign_in(world.admin), path)
    assert "Your roles do not include runs.create" in page(sign_in(world.approver), path)
    assert post(sign_in(world.admin), f"{path}complete/").status_code == 403
    keeper = sign_in(world.keeper)
    assert "1 of its calls have not ended." in page(keeper, path)
    forged = post(keeper, f"{path}complete/")
    assert forged.status_code == 409
    assert post(sign_in(world.approver), f"{path}complete/").status_code == 403
    assert Run.objects.get(pk=view.call.run_id).state == "open"
    keeper.post(f"/admin/calls/{view.call.pk}/cancel/")
    assert form_on(keeper, path, f"{path}complete/").send().status_code == 302
    assert Run.objects.get(pk=view.call.run_id).state == "completed"


def test_who_may_not_stop_a_run_is_told_and_refused(world: World) -> None:
    view = count_words(world.agent)
    client, path = sign_in(world.auditor), path_of(view)
    assert "Your roles do not include runs.cancel_any" in page(client, path)
    assert post(client, f"{path}cancel/", reason="no more of it").status_code == 403
    assert Run.objects.get(pk=view.call.run_id).state == "open"
    assert JournalEvent.objects.filter(type="request.refused", subject=view.call.run_id).count() == 1


def test_a_run_of_another_workspace_does_not_exist(world: World) -> None:
    view = count_words(world.agent)
    Run.objects.filter(pk=view.call.run_id).update(workspace_id="wsp_elsewhere")
    client, path = sign_in(world.approver), path_of(view)
    assert client.get(path).status_code == 404
    assert post(client, f"{path}cancel/", reason="no more of it").status_code == 404
    assert post(client, f"{path}complete/").status_code == 404
    assert Run.objects.get(pk=view.call.run_id).state == "open"


def test_what_became_of_an_ambiguous_call_takes_a_code_and_a_note(world: World) -> None:
    view = propose(world.agent, "demo.ls", {})
    lost(view)
    path, client = f"/admin/calls/{view.call.pk}/", sign_in(world.approver)
    form = form_on(client, path, f"{path}resolve/")
    assert 'name="code"' in form.html
    typed = {"outcome": "succeeded", "note": "the file is there"}
    assert form.send(**typed).status_code == 401
    for wrong in ({"outcome": "maybe"}, {"note": "short"}, {"note": "x" * 2001}):
        answer = form_on(client, path, f"{path}resolve/").send(**typed | wrong)
        assert answer.status_code == 422, wrong
    assert ToolCall.objects.get(pk=view.call.pk).finding is None
    assert form_on(client, path, f"{path}resolve/").send(**typed, code=code_now()).status_code == 302
    html = page(client, path)
    for words in ("<strong>Succeeded</strong>, says approver", "the file is there", "Ambiguous"):
        assert words in html, words
    assert f"{path}resolve/" not in html
    again = post(sign_in(world.owner, code_age=FRESH), f"{path}resolve/", **typed)
    assert again.status_code == 409


def test_only_an_ambiguous_call_has_that_form_and_only_for_who_may(world: World) -> None:
    view = propose(world.agent, "demo.ls", {})
    path, approver = f"/admin/calls/{view.call.pk}/", sign_in(world.approver, code_age=FRESH)
    typed = {"outcome": "failed", "note": "it never arrived"}
    assert "What became of it" not in page(approver, path)
    assert post(approver, f"{path}resolve/", **typed).status_code == 409
    lost(view)
    auditor = sign_in(world.auditor, code_age=FRESH)
    assert "Your roles do not include runs.cancel_any" in page(auditor, path)
    assert post(auditor, f"{path}resolve/", **typed).status_code == 403
    assert ToolCall.objects.get(pk=view.call.pk).finding is None


def test_the_list_asks_as_often_for_many_as_for_few(world: World) -> None:
    client = sign_in(world.viewer)

    def queries() -> int:
        page(client, RUNS)
        with CaptureQueriesContext(connection) as context:
            page(client, RUNS)
        return len(context.captured_queries)

    count_words(world.agent)
    few = queries()
    for _ in range(4):
        count_words(world.kept)
    assert queries() == few
