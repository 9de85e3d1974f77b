"""The noise of a week: who asked most, and which patterns would have spared it without covering a no."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from approvals.models import ApprovalRequest
from governance import grants, noise as week
from governance.noise import Noise, noise
from kernel.clock import utc_now
from tests.governance.admin.answering import acting, answered, denied
from tests.governance.admin.approving import count
from tests.governance.admin.posting import page
from tests.governance.admin.world import World, propose, sign_in, write_file

PAGE = "/admin/approvals/noise/"


def found(world: World) -> dict[str, Noise]:
    return {one.tool: one for one in noise(acting(world, world.approver), utc_now()).rows}


def allowed(world: World, *paths: str) -> None:
    for path in paths:
        answered(world, count(world.agent, path), scope="once")


def test_a_pattern_is_told_with_what_it_would_have_spared(world: World) -> None:
    allowed(world, "notes/a.txt", "notes/b.txt", "notes/c.txt", "src/d.txt")
    one = found(world)["demo.wc"]
    assert (one.asks, one.allowed, one.denied, one.looked_at) == (4, 4, 0, 4)
    told = {saving.sentence: saving.matched for saving in one.savings}
    assert told == {"demo.wc /usr/bin/wc under notes, all else the same": 3}
    html = page(sign_in(world.approver), PAGE)
    for words in ("demo-agent asks for", "4 questions: 4 allowed, 0 denied", "would spare 3 of 4, 0 denied"):
        assert words in html, words
    assert "/admin/approvals/?tab=pending&amp;agent=demo-agent&amp;tool=demo.wc" in html


def test_what_would_cover_a_no_is_never_told(world: World) -> None:
    allowed(world, "notes/a.txt", "notes/b.txt")
    denied(world, count(world.agent, "notes/secret.txt"))
    one = found(world)["demo.wc"]
    assert (one.asks, one.denied) == (3, 1)
    assert one.savings == ()
    assert "too little in common" in page(sign_in(world.approver), PAGE)


def test_a_no_counts_for_thirty_days_beyond_the_week(world: World) -> None:
    denied(world, count(world.agent, "notes/secret.txt"))
    ApprovalRequest.objects.update(requested_at=utc_now() - timedelta(days=20))
    allowed(world, "notes/a.txt", "notes/b.txt", "notes/c.txt")
    assert (found(world)["demo.wc"].asks, found(world)["demo.wc"].savings) == (3, ())
    ApprovalRequest.objects.filter(status="denied").update(requested_at=utc_now() - timedelta(days=31))
    assert found(world)["demo.wc"].savings != ()


def test_more_denials_than_can_be_compared_with_tell_no_pattern(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed(world, "notes/a.txt", "notes/b.txt", "notes/c.txt")
    denied(world, count(world.agent, "other/x.txt"))
    assert found(world)["demo.wc"].savings != ()
    monkeypatch.setattr(week, "MOST_DENIED", 0)
    assert found(world)["demo.wc"].savings == ()


def test_of_large_calls_no_more_is_compared_than_a_person_can_wait_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed(world, "notes/a.txt", "notes/b.txt", "notes/c.txt")
    denied(world, count(world.agent, "other/" + "x" * 90))
    assert found(world)["demo.wc"].looked_at == 4
    monkeypatch.setattr(grants, "MOST_COMPARED", 80)
    told = found(world)["demo.wc"]
    assert told.looked_at == 3
    assert (told.savings, told.why_none[:15]) == ((), "What was denied")


def test_a_question_that_waits_is_where_the_pattern_is_chosen(world: World) -> None:
    allowed(world, "notes/a.txt", "notes/b.txt", "notes/c.txt")
    waiting = count(world.agent, "notes/d.txt")
    assert f'href="/admin/approvals/{waiting.call.approval_id}/"' in page(sign_in(world.approver), PAGE)


def test_the_same_call_again_and_again_is_told_as_one(world: World) -> None:
    for _ in range(3):
        answered(world, write_file(world.agent, path="notes/a.md"), scope="once")
    told = [saving.sentence for saving in found(world)["fs.write"].savings]
    assert any(one.startswith("Exactly one call, again and again") for one in told)


def test_what_nobody_allowed_has_no_pattern_and_says_why(world: World) -> None:
    for number in range(3):
        write_file(world.kept, path=f"notes/{number}.md")
    assert found(world)["fs.write"].why_none.startswith("Nothing of it was allowed")
    ApprovalRequest.objects.update(risk="critical", status="allowed", resolved_at=utc_now())
    assert found(world)["fs.write"].savings == ()


def test_a_tool_that_changed_since_has_no_pattern(world: World) -> None:
    allowed(world, "notes/a.txt", "notes/b.txt", "notes/c.txt")
    ApprovalRequest.objects.update(tool_definition_hash="sha256:" + "0" * 64)
    assert "another definition" in found(world)["demo.wc"].why_none


def test_a_few_questions_and_old_ones_are_no_noise(world: World) -> None:
    allowed(world, "notes/a.txt", "notes/b.txt")
    assert found(world) == {}
    assert "No noise this week" in page(sign_in(world.approver), PAGE)
    allowed(world, "notes/c.txt")
    assert set(found(world)) == {"demo.wc"}
    with time_machine.travel(utc_now() + timedelta(days=8), tick=False):
        assert found(world) == {}


def test_nothing_of_another_workspace_is_counted(world: World) -> None:
    allowed(world, "notes/a.txt", "notes/b.txt", "notes/c.txt")
    ApprovalRequest.objects.update(workspace_id="wsp_elsewhere")
    assert found(world) == {}
    assert sign_in(world.viewer).get(PAGE).status_code == 403


def test_hostile_words_and_secrets_are_not_shown(world: World) -> None:
    for number in range(3):
        path = f"notes/sk-ant-api03-{'A' * 40}/<script>\u202e{number}.md"
        view = propose(world.agent, "fs.write", {"path": path, "content": f"{number}"})
        if view.state == "awaiting_approval":
            answered(world, view, scope="once")
    html = page(sign_in(world.approver), PAGE)
    assert "<script>\u202e" not in html
    assert "A" * 40 not in html


def test_the_week_is_read_in_as_many_queries_for_many_as_for_few(world: World) -> None:
    who = acting(world, world.approver)

    def queries() -> int:
        noise(who, utc_now())
        with CaptureQueriesContext(connection) as context:
            noise(who, utc_now())
        return len(context.captured_queries)

    allowed(world, "notes/a.txt", "notes/b.txt", "notes/c.txt")
    few = queries()
    allowed(world, *(f"src/{number}.txt" for number in range(4)))
    assert queries() == few <= 20
