"""Decisions through the form, as a browser posts it."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
import time_machine
from django.test import Client

from approvals.models import ApprovalRequest, Review
from governance.journal.models import JournalEvent
from governance.models import ToolCall
from governance.selectors import CallView, view_of
from kernel.clock import utc_now
from tests.governance.admin.posting import post
from tests.governance.admin.world import World, code_now, count_words, sign_in, write_file


class Form:
    """The decision form of one request as one person sees it."""

    def __init__(self, client: Client, request_id: str) -> None:
        self.client = client
        self.path = f"/admin/approvals/{request_id}/"
        self.html = client.get(self.path).content.decode()
        self.hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', self.html))

    def send(self, verdict: str = "allow", *, comment: str = "", code: str = "", **changes: str) -> str:
        """Post the form and return the page that follows; `status` is that of the post itself."""
        values = self.hidden | {"verdict": verdict, "comment": comment, "code": code} | changes
        answer = self.client.post(self.path, values)
        self.status = answer.status_code
        return (self.client.get(self.path) if answer.status_code == 302 else answer).content.decode()


def request_of(view: CallView) -> str:
    assert view.call.approval_id is not None
    return view.call.approval_id


def state_of(view: CallView) -> str:
    return view_of(ToolCall.objects.get(pk=view.call.pk)).state.value


def events(name: str) -> int:
    return JournalEvent.objects.filter(type=name).count()


def test_an_allow_of_medium_risk_queues_the_call(world: World) -> None:
    view = count_words(world.agent)
    form = Form(sign_in(world.approver), request_of(view))
    assert 'name="code"' not in form.html
    page = form.send()
    assert form.status == 302
    assert "Allowed. The call goes on" in page
    assert state_of(view) == "queued"
    assert Review.objects.get(request_id=request_of(view)).surface == "console"


def test_nothing_is_chosen_for_the_person(world: World) -> None:
    form = Form(sign_in(world.approver), request_of(count_words(world.agent)))
    assert re.findall(r'<button[^>]*name="verdict" value="(\w+)"', form.html) == ["deny", "allow"]
    assert re.findall(r'name="(\w+)" value="([^"]+)"[^>]* checked', form.html)[0] == ("scope", "once")
    first = re.search(r"<form[^>]*data-decision>.*?(<button[^>]*>)", form.html, re.DOTALL)
    assert first is not None
    assert first[1] == '<button type="submit" disabled hidden>'
    page = form.send(verdict="")
    assert form.status == 422
    assert "Choose whether to allow or to deny" in page


def test_a_denial_needs_a_comment_and_then_ends_the_call(world: World) -> None:
    view = count_words(world.agent)
    form = Form(sign_in(world.approver), request_of(view))
    assert "a denial needs a comment" in form.send("deny", comment="  ")
    assert form.status == 422
    assert state_of(view) == "awaiting_approval"
    again = Form(form.client, request_of(view))
    page = again.send("deny", comment="Not on a Friday.")
    assert "Not on a Friday." in page
    assert state_of(view) == "denied"


def test_high_risk_needs_a_fresh_code(world: World) -> None:
    view = write_file(world.agent)
    form = Form(sign_in(world.approver), request_of(view))
    assert 'name="code"' in form.html
    page = form.send()
    assert form.status == 401
    assert "code is required" in page
    assert state_of(view) == "awaiting_approval"
    assert Form(form.client, request_of(view)).send(code=code_now()).count("Allowed. The call goes on") == 1
    assert state_of(view) == "queued"


def test_a_wrong_code_decides_nothing_and_keeps_what_was_typed(world: World) -> None:
    view = write_file(world.agent)
    form = Form(sign_in(world.approver), request_of(view))
    wrong = f"{(int(code_now()) + 500_000) % 1_000_000:06d}"
    failed = events("step_up.failed")
    page = form.send(code=wrong, comment="looks fine")
    assert form.status == 401
    assert "wrong or was used before" in page
    assert "looks fine" in page
    assert events("step_up.failed") == failed + 1
    assert state_of(view) == "awaiting_approval"


def test_a_code_of_the_last_minutes_still_counts_for_high_risk(world: World) -> None:
    view = write_file(world.agent)
    form = Form(sign_in(world.approver, code_age=timedelta(minutes=2)), request_of(view))
    form.send()
    assert state_of(view) == "queued"


def test_the_owner_of_the_agent_sees_the_facts_but_cannot_decide(world: World) -> None:
    view = count_words(world.kept)
    refused = events("request.refused")
    form = Form(sign_in(world.keeper), request_of(view))
    assert "You own this agent; another approver must decide." in form.html
    assert "notes/ideas.txt" in form.html
    page = form.send()
    assert form.status == 403
    assert "another approver must decide" in page
    assert state_of(view) == "awaiting_approval"
    assert events("request.refused") == refused + 1


@pytest.mark.parametrize("name", ["auditor", "operator"])
def test_who_may_not_decide_is_refused_by_the_service(world: World, name: str) -> None:
    view = count_words(world.agent)
    form = Form(sign_in(world.people[name]), request_of(view))
    assert "Your roles do not include deciding this request." in form.html
    form.send()
    assert form.status == 403
    assert state_of(view) == "awaiting_approval"


def test_a_stale_version_is_shown_again_instead_of_decided(world: World) -> None:
    view = count_words(world.agent)
    form = Form(sign_in(world.approver), request_of(view))
    page = form.send(version="7")
    assert form.status == 412
    assert "changed while this page was open" in page
    assert "What is new is marked" in page
    assert state_of(view) == "awaiting_approval"


def test_a_digest_of_something_else_is_never_decided(world: World) -> None:
    view, other = count_words(world.agent), write_file(world.agent)
    form = Form(sign_in(world.approver), request_of(view))
    form.send(digest=ApprovalRequest.objects.get(pk=request_of(other)).action_digest)
    assert form.status == 412
    assert state_of(view) == "awaiting_approval"


def test_a_double_submit_is_decided_once_and_told_the_same(world: World) -> None:
    view = count_words(world.agent)
    form = Form(sign_in(world.approver), request_of(view))
    first = form.send()
    decided = events("approval.decided")
    second = form.send()
    assert form.status == 302
    assert "Allowed. The call goes on" in first
    assert "Allowed. The call goes on" in second
    assert events("approval.decided") == decided
    assert Review.objects.filter(request_id=request_of(view)).count() == 1


def test_a_form_without_its_intent_decides_nothing(world: World) -> None:
    view = count_words(world.agent)
    form = Form(sign_in(world.approver), request_of(view))
    form.send(intent="x")
    assert form.status == 422
    assert state_of(view) == "awaiting_approval"


def test_whoever_comes_second_is_told_who_decided(world: World) -> None:
    view = count_words(world.agent)
    late = Form(sign_in(world.second_approver), request_of(view))
    Form(sign_in(world.approver), request_of(view)).send("deny", comment="I was first.")
    page = late.send()
    assert late.status == 409
    assert "approver denied this" in page
    assert "Your answer came after that and changed nothing." in page
    assert "I was first." in page
    assert "data-decision" not in page
    assert state_of(view) == "denied"


def test_an_answer_after_the_deadline_changes_nothing(world: World) -> None:
    view = count_words(world.agent)
    form = Form(sign_in(world.approver), request_of(view))
    with time_machine.travel(utc_now() + timedelta(minutes=11), tick=True):
        page = form.send()
        assert form.status == 409
        assert "expired" in page
    assert state_of(view) == "expired"


def test_a_post_without_the_csrf_token_is_refused(world: World) -> None:
    view = count_words(world.agent)
    client = sign_in(world.approver, enforce_csrf_checks=True)
    form = Form(client, request_of(view))
    token = form.hidden.pop("csrfmiddlewaretoken", "")
    page = form.send()
    assert form.status == 403
    assert "The form was not accepted" in page
    form.send(csrfmiddlewaretoken=token)
    assert form.status == 302
    assert state_of(view) == "queued"


def test_a_waiting_call_can_be_cancelled_and_only_once(world: World) -> None:
    view = count_words(world.agent)
    client = sign_in(world.approver)
    path = f"/admin/calls/{view.call.pk}/"
    assert client.get(path + "cancel/").status_code == 405
    assert client.post(path + "cancel/", follow=True).content.count(b"is being stopped") == 1
    assert state_of(view) == "cancelled"
    assert b"has ended" in client.post(path + "cancel/", follow=True).content


def test_an_auditor_cancels_nothing(world: World) -> None:
    view = count_words(world.agent)
    client = sign_in(world.auditor)
    assert b"Cancel call" not in client.get(f"/admin/calls/{view.call.pk}/").content
    client.post(f"/admin/calls/{view.call.pk}/cancel/")
    post(client, f"/admin/runs/{view.call.run_id}/cancel/", reason="no more of it")
    assert state_of(view) == "awaiting_approval"


def test_a_run_is_cancelled_with_all_that_waits_in_it(world: World) -> None:
    view = count_words(world.agent)
    post(sign_in(world.approver), f"/admin/runs/{view.call.run_id}/cancel/", reason="no more of it")
    assert state_of(view) == "cancelled"
