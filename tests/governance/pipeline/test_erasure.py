"""Erasing a run, an agent or a person: two people, everything that is theirs, and nothing that is signed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from approvals.models import ApprovalRequest, DenialMemory, Grant, Review
from approvals.services import ReviewOutcome
from approvals.types import ReviewInput
from governance import pipeline
from governance.journal.attestations import attestation_keys
from governance.journal.ledger import record
from governance.journal.models import Attestation, JournalEvent, JournalSubjectKey
from governance.journal.reading import open_data
from governance.models import IdempotencyRecord, Run, ToolCall
from governance.operations import runs
from governance.operations.erasing import ask_to_erase
from identity import agents, people
from identity.models import Agent, ApiToken, User
from identity.roles import WorkspaceRole
from identity.selectors import workspace_by_slug
from kernel.clock import utc_now
from kernel.errors import PalyraError
from policy.models import DecisionRecord
from sandbox.attestation import verify_envelope
from sandbox.models import Execution
from tests.governance.pipeline.world import (
    ASKED,
    ECHO,
    SHELL,
    World,
    add_person,
    again,
    as_principal,
)

pytestmark = pytest.mark.django_db
WORD = "Erika Mustermann"


@pytest.fixture
def second_owner(world: World) -> User:
    """Another person who may allow an erasure."""
    with transaction.atomic():
        return add_person("second-owner", world.workspace, utc_now(), WorkspaceRole.OWNER)


def closed(world: World, *, tool: str = ECHO) -> str:
    """Have the agent do one thing that names somebody, end the run, and return it."""
    run = world.open_run(purpose=f"write to {WORD}")
    view = world.propose(tool, {"text": WORD}, run=run)
    if view.state == "awaiting_approval":
        view = world.allowed(view)
    if tool == ECHO:
        world.run(view)
    end(world, run.id)
    return run.id


def end(world: World, run_id: str) -> None:
    runs.cancel_run(run_id=run_id, principal=world.agent, reason="done", now=utc_now())


def ask(world: World, subject: str, **more: Any) -> ApprovalRequest:
    wanted = {"principal": world.person(world.owner), "reason": "request 4711", "now": utc_now(), **more}
    return ask_to_erase(subject=subject, **wanted)


def allow(world: World, request: ApprovalRequest, by: User, **more: Any) -> ReviewOutcome:
    now = utc_now()
    answer = ReviewInput(verdict="allow", scope="once", comment="seen the letter", otp_verified_at=now)
    return pipeline.review(
        request_id=request.pk,
        principal=as_principal(by, world.workspace, now),
        answer=replace(answer, **more),
        now=now,
    )


def erased(world: World, subject: str, by: User) -> JournalEvent:
    assert allow(world, ask(world, subject), by).kind == "allowed"
    return JournalEvent.objects.get(type="journal.subject_erased", subject=subject)


def code_of(act: Any) -> str:
    with pytest.raises(PalyraError) as refused:
        act()
    return refused.value.code


def test_a_run_is_erased_when_a_second_person_allows_it(world: World, second_owner: User) -> None:
    run = closed(world)
    before = list(JournalEvent.objects.filter(run_id=run).order_by("pk").values_list("pk", "envelope"))
    request = ask(world, run)
    assert open_data(JournalEvent.objects.filter(run_id=run, type="tool_call.proposed").get())["input"]
    allow(world, request, second_owner)
    events = JournalEvent.objects.filter(run_id=run).order_by("pk")
    assert [(one.pk, bytes(one.envelope)) for one in events] == [(pk, bytes(text)) for pk, text in before]
    assert all(open_data(one)["_erased"] is True for one in events)
    fact = JournalEvent.objects.get(type="journal.subject_erased")
    told = open_data(fact)
    assert (fact.subject, told["approval"], told["reason"]) == (run, request.pk, "request 4711")
    assert told["single_operator"] is False
    counts = {"keys": 1, "runs": 1, "calls": 1, "approvals": 0, "decisions": 1, "account": 0}
    assert told["counts"] == counts
    key = JournalSubjectKey.objects.get(subject=run)
    assert (key.wrapped_key, key.destroyed_event) == (None, fact.pk)


def test_what_was_said_in_a_run_stands_in_no_row_any_more(world: World, second_owner: User) -> None:
    run = closed(world)
    erased(world, run, second_owner)
    call = ToolCall.objects.get(run_id=run)
    assert call.input["_erased"] is True
    assert (call.result or {})["output"]["_erased"] is True
    assert (bytes(call.salt), call.action_digest, call.reason) == (b"", "", "")
    assert {row["reason"] for row in call.gates} == {""}
    assert len(call.gates) == 9
    assert Run.objects.get(pk=run).purpose == ""
    assert Execution.objects.get(run_id=run).action_digest == ""
    assert not DecisionRecord.objects.filter(call_id=call.pk).exists()
    assert WORD not in everything(run, call.pk)


def test_the_attestation_still_proves(world: World, second_owner: User) -> None:
    run = closed(world)
    before = Attestation.objects.values().get(call_id=ToolCall.objects.get(run_id=run).pk)
    erased(world, run, second_owner)
    after = Attestation.objects.get(pk=before["id"])
    assert after.envelope == before["envelope"]
    assert verify_envelope(after.envelope, attestation_keys()).execution_sha256 == after.execution_sha256


def test_an_answer_in_an_erased_run_keeps_who_and_when_and_loses_its_words(
    world: World, second_owner: User
) -> None:
    run = world.open_run()
    view = world.ask(ASKED, run=run)
    world.answer(view, comment=f"it is for {WORD}", scope="always", pattern=None)
    request = ApprovalRequest.objects.get(run_id=run.id)
    grant = Grant.objects.get(request=request)
    assert grant.status == "active"
    world.run(again(view))
    end(world, run.id)
    erased(world, run.id, second_owner)
    request.refresh_from_db()
    grant.refresh_from_db()
    review = Review.objects.get(request=request)
    assert (review.reviewer_id, review.verdict, review.comment) == (world.approver.pk, "allow", "")
    assert request.context["_erased"] is True
    assert (request.status, request.action_digest, request.resume) == ("allowed", "", {})
    assert (grant.status != "active", grant.pattern, grant.rest_digest) == (True, {}, "")


def test_a_denial_that_is_erased_is_not_remembered(world: World, second_owner: User) -> None:
    run = world.open_run()
    world.answer(world.ask(ASKED, run=run), "deny")
    assert DenialMemory.objects.exists()
    end(world, run.id)
    erased(world, run.id, second_owner)
    assert not DenialMemory.objects.exists()


def test_answers_kept_for_retries_are_emptied_and_repeat_nothing(world: World, second_owner: User) -> None:
    run = closed(world)
    call = ToolCall.objects.get(run_id=run)
    kept = IdempotencyRecord.objects.create(
        principal_id=world.agent_row.pk, route="POST /tool-calls", key="k", request_digest="sha256:x",
        state="done", status_code=201, response_body=WORD.encode(), object_id=call.pk, created_at=utc_now(),
        expires_at=utc_now() + timedelta(hours=1),
    )  # fmt: skip
    erased(world, run, second_owner)
    kept.refresh_from_db()
    assert (kept.state, kept.response_body, kept.request_digest) == ("done", None, "")


def test_an_agent_loses_its_runs_its_words_and_no_rule(world: World, second_owner: User) -> None:
    one, other = closed(world), closed(world)
    suspend(world)
    fact = erased(world, world.agent_row.pk, second_owner)
    agent = Agent.objects.get(pk=world.agent_row.pk)
    assert (agent.name, agent.purpose, agent.state) == (agent.pk, "", "suspended")
    assert open_data(fact)["counts"]["runs"] == 2
    for run in (one, other):
        assert all(open_data(row)["_erased"] for row in JournalEvent.objects.filter(run_id=run))
    registered = JournalEvent.objects.get(type="agent.registered", subject=agent.pk)
    assert open_data(registered)["_erased"] is True


def test_another_agents_records_stay(world: World, second_owner: User) -> None:
    other = world.open_run(world.other_agent)
    view = world.propose(ECHO, {"text": WORD}, run=other, principal=world.other_agent)
    suspend(world)
    erased(world, world.agent_row.pk, second_owner)
    assert again(view).call.input == {"text": WORD}
    assert open_data(JournalEvent.objects.get(call_id=view.call.pk, type="tool_call.proposed"))


def test_a_person_loses_name_address_and_every_way_in(world: World) -> None:
    now = utc_now()
    with transaction.atomic():
        other = add_person("other-owner", workspace_by_slug("instance"), now, WorkspaceRole.OWNER)
        gone = people.create_user(
            username="erika", password=None, display_name=WORD, email="erika@example.org", actor=SHELL,
            now=now, record=record,
        )  # fmt: skip
        people.disable_user(user_id=gone.pk, reason="left us", actor=SHELL, now=now, record=record)
    erased(world, gone.pk, other)
    gone.refresh_from_db()
    assert gone.username == f"erased-{gone.pk[4:].lower()}"
    assert (gone.email, gone.display_name, gone.has_usable_password()) == ("", "", False)
    assert not ApiToken.objects.filter(principal_user=gone, revoked_at__isnull=True).exists()
    created = JournalEvent.objects.get(type="user.created", subject=gone.pk)
    assert open_data(created)["_erased"] is True


def suspend(world: World) -> None:
    with transaction.atomic():
        agents.suspend_agent(
            agent_id=world.agent_row.pk, reason="to be erased", actor=SHELL, now=utc_now(), record=record
        )


def everything(run: str, call: str) -> str:
    rows: list[object] = [
        *ToolCall.objects.filter(run_id=run).values_list(),
        *Run.objects.filter(pk=run).values_list(),
        *Execution.objects.filter(run_id=run).values_list(),
        *ApprovalRequest.objects.filter(run_id=run).values_list(),
    ]
    return repr(rows)
