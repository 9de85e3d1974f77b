"""The approval pages: the inbox with its live part, and one request with its facts."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
import time_machine

from approvals.models import ApprovalRequest, Grant
from governance import pipeline
from governance.models import Run
from governance.proposals import Proposal
from kernel.clock import utc_now
from tests.governance.admin.approving import INBOX, LIVE, answer_by, count, path_of, patterns_of, rows
from tests.governance.admin.posting import FRESH, page, post, text_of
from tests.governance.admin.test_deciding import Form, request_of, state_of
from tests.governance.admin.world import World, count_words, principal_of, sign_in, write_file

# The inbox

FREEZE = {"scope": "global", "reason": "Look at the agents first.", "kill_running": ""}


def test_the_highest_risk_comes_first_and_each_row_says_who_wants_what_and_why(world: World) -> None:
    medium, high = count_words(world.agent), write_file(world.agent)
    html = page(sign_in(world.approver), INBOX)
    assert rows(html) == [request_of(high), request_of(medium)]
    row = html.partition(f'data-id="{request_of(high)}"')[2].partition("</tr>")[0]
    for words in ("demo-agent wants to run fs.write", "notes/a.md", "needs a person", "Demo owner", "0 of 1",
                  'aria-label="high risk"', "min 59 s left"):  # fmt: skip
        assert words in row or words == "min 59 s left", words
    assert re.search(r'data-left="59\d\.\d" data-whole="600.0"', row)


def test_filters_keep_what_they_name_and_nothing_else(world: World) -> None:
    high, medium, kept = write_file(world.agent), count_words(world.agent), count_words(world.kept)
    client = sign_in(world.approver)

    def found(query: str) -> set[str]:
        return set(rows(page(client, f"{INBOX}?tab=pending&{query}")))

    ids = {name: request_of(view) for name, view in (("high", high), ("medium", medium), ("kept", kept))}
    assert found("risk=high") == {ids["high"]}
    assert found("agent=kept") == {ids["kept"]}
    assert found("owner=keeper") == {ids["kept"]}
    assert found("tool=demo") == {ids["medium"], ids["kept"]}
    assert found(f"run={high.call.run_id}") == {ids["high"]}
    assert found("subject=tool") == set(ids.values())
    assert found("subject=erasure") == found("run=run_1") == set()


def test_requests_for_the_same_action_are_folded_into_the_first(world: World) -> None:
    views = [count_words(world.agent) for _ in range(3)]
    html = page(sign_in(world.approver), INBOX)
    assert rows(html) == [request_of(views[0])]
    assert "\N{MULTIPLICATION SIGN}3" in html
    assert all(request_of(view) in html for view in views)


def test_what_runs_out_of_time_leaves_with_a_note(world: World) -> None:
    view = count_words(world.agent)
    client = sign_in(world.approver)
    with time_machine.travel(utc_now() + timedelta(minutes=11), tick=True):
        html = page(client, INBOX)
    assert rows(html) == []
    assert "Ran out of time in the last 10 minutes" in html
    assert re.search(rf"{request_of(view)}.*?This expired \d+ s ago|This expired 1 min ago", html, re.DOTALL)
    with time_machine.travel(utc_now() + timedelta(minutes=25), tick=True):
        assert "Ran out of time" not in page(client, INBOX)


def test_the_live_part_is_sent_again_only_when_something_changed(world: World) -> None:
    count_words(world.agent)
    client = sign_in(world.approver)
    first = client.get(LIVE)
    assert "<html" not in text_of(first)
    assert client.get(LIVE, HTTP_IF_NONE_MATCH=first["ETag"]).status_code == 304
    added = write_file(world.agent)
    second = client.get(LIVE, HTTP_IF_NONE_MATCH=first["ETag"])
    assert (second.status_code, request_of(added) in text_of(second)) == (200, True)
    assert second["ETag"] != first["ETag"]
    assert client.get(f"{LIVE}?risk=low", HTTP_IF_NONE_MATCH=second["ETag"]).status_code == 200


def test_a_row_that_left_is_told_how_it_ended_to_who_may_see_it(world: World) -> None:
    view = count_words(world.agent)
    answer_by(world, view, "deny", comment="Not today.")
    html = page(sign_in(world.second_approver), f"{LIVE}?gone={request_of(view)},apr_x,%00")
    assert re.search(rf'data-gone="{request_of(view)}">approver denied this', html)
    own = count_words(world.kept)
    ApprovalRequest.objects.filter(pk=request_of(own)).update(workspace_id="wsp_elsewhere")
    assert "data-gone" not in page(sign_in(world.second_approver), f"{LIVE}?gone={request_of(own)}")


def test_what_waits_is_walked_in_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("governance.admin.approvals.SHOWN", 2)
    count_words(world.kept)
    ids = [request_of(write_file(world.agent, path=f"notes/{n}.md")) for n in range(3)]
    client = sign_in(world.keeper)
    html = page(client, f"{INBOX}?tool=fs")
    assert rows(html) == ids[:2]
    more = re.search(r'href="([?][^"]+)" rel="next"', html)
    assert more is not None
    assert rows(page(client, INBOX + unescape(more[1]))) == ids[2:]
    assert rows(page(client, f"{INBOX}?from=99999")) == []
    assert rows(page(client, f"{INBOX}?from=-1")) == ids[:2]


def test_the_inbox_asks_as_often_for_many_as_for_few(
    world: World, django_assert_max_num_queries: Any
) -> None:
    for number in range(12):
        write_file(world.agent, path=f"notes/{number}.md")
    client = sign_in(world.approver)
    client.get(LIVE)
    with django_assert_max_num_queries(30):
        client.get(LIVE)


# One request


def test_the_page_tells_who_wants_what_and_why_before_anything_else(world: World) -> None:
    view = write_file(world.agent, content="secret plan")
    html = page(sign_in(world.approver), path_of(view))
    head = html.partition('<header class="head ask">')[2].partition("</header>")[0]
    for words in ("demo-agent wants to run <code>fs.write</code>", "notes/a.md", "needs a person",
                  'aria-label="high risk"', "It writes files.", "0 of 1 allows"):  # fmt: skip
        assert words in head, words
    facts = html.partition('id="facts"')[2].partition("<aside")[0]
    titles = re.findall(r"<h2>([^<]+)</h2>", facts)
    assert titles == [
        "What",
        "Why Palyra asks",
        "Where it runs",
        "Effect on budgets",
        "Who",
        "Similar questions",
    ]
    assert "baseline.cedar:" in facts
    assert re.search(r'href="/admin/policy/active/#policy-deny_sensitive_without_approval"', facts)
    assert "An allow would leave 31 of 32 calls in this run." in facts
    assert facts.count('<li class="') >= 9
    assert "Not enforced" in facts
    assert "Approval requested" in facts


def test_an_approver_without_the_rules_gets_no_link_to_them(world: World) -> None:
    view = write_file(world.agent)
    html = page(sign_in(world.operator), path_of(view))
    assert "Your roles do not include deciding this request." in html
    assert re.search(r"<fieldset class=\"bare\" disabled", html)


def test_arguments_are_compared_with_what_was_allowed_last(world: World) -> None:
    first = write_file(world.agent, content="one\ntwo\n")
    answer_by(world, first)
    html = page(sign_in(world.approver), path_of(write_file(world.agent, content="one\nTWO\n")))
    pane = html.partition('class="body pane diff"')[2].partition('class="body pane raw"')[0]
    assert request_of(first) in pane
    assert '<span class="sr">removed: </span>two' in pane
    assert '<span class="sr">added: </span>TWO' in pane
    assert "1 unchanged" in pane
    assert "No person has allowed this agent the same before" in page(
        sign_in(world.approver), path_of(count_words(world.kept))
    )


def test_past_answers_stand_with_what_became_of_them(world: World) -> None:
    allowed, denied = count(world.agent, "notes/a.txt"), count(world.agent, "notes/b.txt")
    answer_by(world, allowed)
    answer_by(world, denied, "deny", comment="Not that one.")
    html = page(sign_in(world.second_approver), path_of(count_words(world.agent)))
    past = html.partition("Similar questions</h2>")[2]
    assert "2 in 30 days: 1 allowed, 1 denied, 0 expired (50 % allowed)" in past
    assert "Not that one." in past
    assert "Queued" in past


def test_scopes_that_are_not_offered_say_why(world: World) -> None:
    high = page(sign_in(world.approver), path_of(write_file(world.agent)))
    assert re.search(r'value="always" data-digit="4" disabled>.*?Not offered at this risk', high, re.DOTALL)
    medium = page(sign_in(world.approver), path_of(count_words(world.agent)))
    assert re.findall(r'name="scope" value="(\w+)" data-digit="(\d)"( disabled)?', medium) == [
        ("once", "1", ""), ("session", "2", ""), ("temporary", "3", ""), ("always", "4", "")
    ]  # fmt: skip
    assert re.findall(r'name="ttl" value="(\w+)"', high) == ["1h", "8h", "own"]
    assert re.findall(r'name="ttl" value="(\w+)"', medium) == ["1h", "8h", "24h", "own"]


def test_an_allow_may_reach_further_by_a_pattern_told_in_words(world: World) -> None:
    answer_by(world, write_file(world.agent, path="notes/week/1.md"))
    answer_by(world, write_file(world.agent, path="other/x.md"), "deny", comment="Not there.")
    view = write_file(world.agent, path="notes/week/2.md")
    form = Form(sign_in(world.approver, code_age=FRESH), request_of(view))
    offered = patterns_of(form.html)
    assert json.loads(offered[0]) == {"v": 1, "constraints": [], "rest": "equal"}
    assert "covers 0 of the last 2 asks, 0 denied ones" in form.html
    assert "What it would and would not cover" in form.html
    wide = next(one for one in offered if "path_prefix" in one)
    form.send(scope="session", pattern=wide)
    assert form.status == 302
    grant = Grant.objects.get(request_id=request_of(view))
    assert (grant.scope, grant.pattern) == ("session", json.loads(wide))
    near = page(sign_in(world.approver), path_of(write_file(world.agent, path="elsewhere/z.md")))
    assert "Grants that nearly cover it" in near
    assert "given for another session" in near


def test_a_pattern_is_only_narrowed_by_hand(world: World) -> None:
    view = write_file(world.agent, path="src/app/x.py")
    form = Form(sign_in(world.approver, code_age=FRESH), request_of(view))
    exact = patterns_of(form.html)[0]
    wider = {
        "v": 1,
        "constraints": [{"pointer": "/path", "op": "path_prefix", "value": "src"}],
        "rest": "equal",
    }
    html = form.send(scope="session", pattern=exact, narrowed=json.dumps(wider))
    assert form.status == 422
    assert "only narrowed" in html
    assert "path_prefix" in html
    assert re.search(r'value="session"[^>]* checked', html)
    assert state_of(view) == "awaiting_approval"
    again = Form(form.client, request_of(view))
    narrow = next(one for one in patterns_of(again.html) if "path_prefix" in one)
    again.send(scope="session", pattern=narrow, narrowed=exact)
    assert (again.status, Grant.objects.get(request_id=request_of(view)).breadth) == (302, 0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"scope": "temporary", "ttl": "own", "ttl_number": "31", "ttl_unit": "d"}, "30 d"),
        ({"scope": "temporary", "ttl": "own", "ttl_number": "x"}, "Say for how long"),
        ({"scope": "forever"}, "There is no such scope"),
        ({"scope": "session", "pattern": "[1]"}, "This is no pattern"),
        ({"scope": "session", "pattern": '{"v":9}'}, "A pattern has"),
        ({"scope": "always"}, "character"),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_what_was_typed_stays(
    world: World, values: dict[str, str], words: str
) -> None:
    view = count_words(world.agent)
    form = Form(sign_in(world.approver), request_of(view))
    comment = "" if values["scope"] == "always" else "I typed this."
    html = form.send(comment=comment, **values)
    assert form.status == 422
    errors = " ".join(re.findall(r'<p class="error"[^>]*>([^<]+)<', html))
    assert words in errors or words == "30 d", errors
    assert errors
    assert comment in html
    assert state_of(view) == "awaiting_approval"


def test_a_temporary_allow_lasts_as_long_as_was_typed(world: World) -> None:
    view = count_words(world.agent)
    form = Form(sign_in(world.approver), request_of(view))
    form.send(scope="temporary", ttl="own", ttl_number="90", ttl_unit="min")
    grant = Grant.objects.get(request_id=request_of(view))
    assert (grant.scope, grant.expires_at - grant.not_before) == ("temporary", timedelta(minutes=90))


def test_a_deny_may_end_the_whole_run(world: World) -> None:
    view = count_words(world.agent)
    form = Form(sign_in(world.approver), request_of(view))
    form.send("deny", comment="Stop all of it.", end_run="1", scope="session")
    assert form.status == 302
    assert Run.objects.get(pk=view.call.run_id).state == "cancelled"
    other = count(world.agent, "README.txt")
    form = Form(form.client, request_of(other))
    form.send("allow", end_run="1")
    assert Run.objects.get(pk=other.call.run_id).state == "open"


def test_a_freeze_keeps_an_allow_from_being_pressed_and_from_counting(world: World) -> None:
    view = count_words(world.agent)
    client = sign_in(world.approver, code_age=FRESH)
    before = Form(client, request_of(view))
    assert post(sign_in(world.owner, code_age=FRESH), "/admin/freezes/set/", **FREEZE).status_code == 302
    form = Form(client, request_of(view))
    assert re.search(r'<button[^>]*value="allow" disabled>', form.html)
    assert re.search(r'<button[^>]*value="deny" data-verdict>', form.html)
    assert "denying still works" in form.html
    assert "nothing may be allowed until it is lifted" in before.send()
    assert (before.status, state_of(view)) == (403, "awaiting_approval")
    form.send("deny", comment="Frozen anyway.")
    assert (form.status, state_of(view)) == (302, "denied")


def test_the_state_of_an_open_page_is_told_once_it_moves(world: World) -> None:
    view = count_words(world.agent)
    client, path = sign_in(world.second_approver), path_of(view) + "state/"
    first = client.get(path)
    assert "data-ended" not in text_of(first)
    assert client.get(path, HTTP_IF_NONE_MATCH=first["ETag"]).status_code == 304
    answer_by(world, view, "deny", comment="No.")
    moved = client.get(path, HTTP_IF_NONE_MATCH=first["ETag"])
    assert "approver denied this" in text_of(moved)
    assert "data-ended" in text_of(moved)


def test_a_call_that_came_meanwhile_is_marked_and_asks_to_decide_again(world: World) -> None:
    view = count_words(world.agent)
    form = Form(sign_in(world.approver), request_of(view))
    twin = Proposal(run_id=view.call.run_id, tool="demo.wc", input=view.call.input)
    joined = pipeline.submit(proposal=twin, principal=principal_of(world.agent), now=utc_now())
    assert joined.call.approval_id == request_of(view)
    html = form.send(comment="Looked at one.")
    assert form.status == 412
    assert "What is new is marked; decide once more." in html
    assert html.count("New since you looked") == 1
    assert (
        "New since you looked" in html.partition(f"/admin/calls/{joined.call.pk}/")[2].partition("</div>")[0]
    )
    assert "Looked at one." in html
    assert state_of(view) == "awaiting_approval"
    assert "New since" not in page(form.client, path_of(view))
    Form(form.client, request_of(view)).send()
    assert [state_of(one) for one in (view, joined)] == ["queued", "queued"]


def test_opening_the_page_counts_as_seen_for_who_may_answer(world: World) -> None:
    view = count_words(world.agent)
    page(sign_in(world.auditor), path_of(view))
    assert ApprovalRequest.objects.get(pk=request_of(view)).seen_at is None
    page(sign_in(world.approver), path_of(view))
    assert ApprovalRequest.objects.get(pk=request_of(view)).seen_at is not None
