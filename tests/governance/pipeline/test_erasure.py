"""Erasing a run, an agent or a person: two people, everything that is theirs, and nothing that is signed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction
from pytest_django.plugin import DjangoDbBlocker

from approvals.models import ApprovalRequest, DenialMemory, Grant, Review
from approvals.services import ReviewOutcome
from approvals.types import ReviewInput
from governance import pipeline
from governance.journal.attestations import attestation_keys
from governance.journal.keys import public_keys
from governance.journal.ledger import record
from governance.journal.models import (
    Attestation,
    JournalCheckpoint,
    JournalEvent,
    JournalSubjectKey,
    LegalHold,
)
from governance.journal.proof import check
from governance.journal.proving import proof_of
from governance.journal.reading import open_all, open_data
from governance.journal.verify import Options, Verification
from governance.models import IdempotencyRecord, Run, ToolCall
from governance.operations import runs
from governance.operations.erasing import ask_to_erase, scrub
from identity import agents, people
from identity.memberships import grant_membership
from identity.models import Agent, ApiToken, Membership, User, Workspace
from identity.roles import WorkspaceRole
from identity.selectors import workspace_by_slug
from identity.types import Principal
from kernel.clock import utc_now
from kernel.errors import PalyraError
from kernel.ids import new_id
from policy.models import DecisionRecord, LabelHolder
from sandbox.attestation import verify_envelope
from sandbox.models import Execution
from tests.governance.pipeline.erasing import (
    WORD,
    disabled_person,
    everything,
    seal_all,
    suspend,
    switch_on,
    traces_in_file,
)
from tests.governance.pipeline.world import (
    ASKED,
    ECHO,
    SHELL,
    World,
    add_agent,
    add_person,
    again,
    as_principal,
    authenticated,
)
from tests.racing import at_once
from vault.types import KeyPurpose

pytestmark = pytest.mark.django_db(transaction=True)
REACH: dict[str, dict[str, Any]] = {"allow": {"scope": "temporary", "ttl_ms": 3_600_000}, "deny": {}}


@pytest.fixture(scope="module")
def world(committed_world: World) -> World:
    """One installation for the module. What a test does is committed: bytes and threads are looked at too."""
    return committed_world


@pytest.fixture(scope="module")
def second_owner(world: World, django_db_blocker: DjangoDbBlocker) -> User:
    """Another person who may allow an erasure."""
    with django_db_blocker.unblock(), transaction.atomic():
        return add_person("second-owner", instance(), utc_now(), WorkspaceRole.OWNER)


@pytest.fixture(autouse=True)
def several_may_decide(second_owner: User) -> None:
    """Nobody is alone here."""


def instance() -> Workspace:
    return workspace_by_slug("instance")


def new_agent(world: World) -> tuple[Agent, Principal]:
    """An agent that only this test erases."""
    now = utc_now()
    with transaction.atomic():
        name = f"agent-{new_id('agt', now)[-8:].lower()}"
        row, token = add_agent(
            name, world.agent_owner, world.workspace, as_principal(world.owner, world.workspace, now), now
        )
    return row, authenticated(token)


def closed(world: World, agent: Principal | None = None, *, word: str = WORD) -> str:
    """Have an agent do one thing that names somebody, end the run, and return it."""
    who = agent or world.agent
    run = world.open_run(who, purpose=f"write to {word}")
    world.run(world.propose(ECHO, {"text": word}, run=run, principal=who))
    end(run.id, who)
    return run.id


def end(run_id: str, agent: Principal) -> None:
    runs.cancel_run(run_id=run_id, principal=agent, reason="done", now=utc_now())


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
    fact = JournalEvent.objects.get(type="journal.subject_erased", subject=run)
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
    end(run.id, world.agent)
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
    request = ApprovalRequest.objects.get(run_id=run.id)
    assert DenialMemory.objects.filter(request=request).exists()
    end(run.id, world.agent)
    erased(world, run.id, second_owner)
    assert not DenialMemory.objects.filter(request=request).exists()


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


def test_answers_about_grants_of_an_erased_run_are_emptied_too(world: World, second_owner: User) -> None:
    """Taking a grant back answers with its pattern and the reason, under the grant's own id."""
    run = world.open_run()
    world.answer(world.ask(ASKED, run=run), scope="temporary", ttl_ms=3_600_000)
    grant = Grant.objects.get(request__run_id=run.id)
    kept = IdempotencyRecord.objects.create(
        principal_id=world.owner.pk, route="POST /grants/{id}/revoke", key="k", request_digest="sha256:x",
        state="done", status_code=200, response_body=WORD.encode(), object_id=grant.pk,
        created_at=utc_now(), expires_at=utc_now() + timedelta(hours=1),
    )  # fmt: skip
    end(run.id, world.agent)
    erased(world, run.id, second_owner)
    kept.refresh_from_db()
    assert (kept.state, kept.response_body, kept.request_digest) == ("done", None, "")


def test_an_agent_loses_its_runs_its_words_and_no_rule(world: World, second_owner: User) -> None:
    row, agent = new_agent(world)
    one, other = closed(world, agent), closed(world, agent)
    suspend(row)
    fact = erased(world, row.pk, second_owner)
    row.refresh_from_db()
    assert (row.name, row.purpose, row.state) == (row.pk, "", "suspended")
    assert open_data(fact)["counts"]["runs"] == 2
    for run in (one, other):
        assert all(open_data(event)["_erased"] for event in JournalEvent.objects.filter(run_id=run))
    registered = JournalEvent.objects.get(type="agent.registered", subject=row.pk)
    assert open_data(registered)["_erased"] is True
    assert LabelHolder.objects.get(pk=row.pk).marks_full


def test_another_agents_records_stay(world: World, second_owner: User) -> None:
    stays = closed(world)
    row, agent = new_agent(world)
    closed(world, agent)
    suspend(row)
    erased(world, row.pk, second_owner)
    call = ToolCall.objects.get(run_id=stays)
    assert call.input == {"text": WORD}
    assert open_data(JournalEvent.objects.get(call_id=call.pk, type="tool_call.proposed"))["input"]


def test_a_person_loses_name_address_and_every_way_in(world: World, second_owner: User) -> None:
    gone = disabled_person()
    erased(world, gone.pk, second_owner)
    gone.refresh_from_db()
    assert gone.username == f"erased-{gone.pk[4:].lower()}"
    assert (gone.email, gone.display_name, gone.has_usable_password()) == ("", "", False)
    assert not ApiToken.objects.filter(principal_user=gone, revoked_at__isnull=True).exists()
    created = JournalEvent.objects.get(type="user.created", subject=gone.pk)
    assert open_data(created)["_erased"] is True


def test_what_is_written_after_an_erasure_has_a_key_of_its_own(world: World, second_owner: User) -> None:
    gone = disabled_person()
    erased(world, gone.pk, second_owner)
    with transaction.atomic():
        people.enable_user(user_id=gone.pk, reason="came back", actor=SHELL, now=utc_now(), record=record)
        people.disable_user(user_id=gone.pk, reason="left again", actor=SHELL, now=utc_now(), record=record)
    fresh = JournalEvent.objects.get(type="user.enabled", subject=gone.pk)
    assert open_data(fresh)["reason"] == "came back"
    erased_twice = allow(world, ask(world, gone.pk, reason="request 4712"), second_owner)
    assert erased_twice.kind == "allowed"
    assert open_data(fresh)["_erased"] is True


def test_a_run_that_goes_on_is_not_erased(world: World) -> None:
    run = world.open_run()
    assert code_of(lambda: ask(world, run.id)) == "erasure_still_active"
    end(run.id, world.agent)


def test_an_agent_that_acts_and_a_person_who_may_log_in_are_not_erased(world: World) -> None:
    assert code_of(lambda: ask(world, world.agent_row.pk)) == "erasure_still_active"
    assert code_of(lambda: ask(world, world.stranger.pk)) == "erasure_still_active"


def test_what_begins_again_before_the_answer_refuses_the_answer(world: World, second_owner: User) -> None:
    row, _ = new_agent(world)
    suspend(row)
    request = ask(world, row.pk)
    with transaction.atomic():
        agents.resume_agent(agent_id=row.pk, reason="needed again", actor=SHELL, now=utc_now(), record=record)
    assert code_of(lambda: allow(world, request, second_owner)) == "erasure_still_active"
    request.refresh_from_db()
    assert (request.status, request.reviews.count()) == ("pending", 0)


@pytest.mark.parametrize("late", [False, True])
def test_a_legal_hold_refuses_the_wish_and_the_answer(world: World, second_owner: User, late: bool) -> None:
    run = closed(world)
    request = ask(world, run) if late else None
    held = LegalHold.objects.create(
        id=new_id("hld", utc_now()), subject=run, reason="a case", set_by=world.owner.pk, set_at=utc_now()
    )
    act = (lambda: allow(world, request, second_owner)) if request else (lambda: ask(world, run))
    assert code_of(act) == "legal_hold"
    assert open_data(JournalEvent.objects.get(run_id=run, type="run.opened"))
    held.lifted_at, held.lifted_by = utc_now(), world.owner.pk
    held.save()
    assert allow(world, request or ask(world, run), second_owner).kind == "allowed"


def test_a_hold_on_a_period_holds_what_happened_in_it(world: World) -> None:
    run, now = closed(world), utc_now()
    held = LegalHold.objects.create(
        id=new_id("hld", now), since=now - timedelta(minutes=5), until=now, reason="a case",
        set_by=world.owner.pk, set_at=now,
    )  # fmt: skip
    try:
        assert code_of(lambda: ask(world, run)) == "legal_hold"
    finally:
        held.lifted_at, held.lifted_by = now, world.owner.pk
        held.save()


def test_neither_who_asked_nor_an_approver_answers_it(world: World) -> None:
    request = ask(world, closed(world))
    assert code_of(lambda: allow(world, request, world.owner)) == "self_review"
    assert code_of(lambda: allow(world, request, world.approver)) == "not_a_reviewer"


def test_nobody_forces_it_alone(world: World, second_owner: User) -> None:
    switch_on("break_glass")
    run = closed(world)
    request = ask(world, run)
    forced = {"break_glass": True, "comment": "there is no time at all for this"}
    assert code_of(lambda: allow(world, request, second_owner, **forced)) == "four_eyes_required"
    assert open_data(JournalEvent.objects.get(run_id=run, type="run.opened"))


def test_who_asked_must_still_be_allowed_to_when_it_is_answered(world: World, second_owner: User) -> None:
    with transaction.atomic():
        asker = add_person(f"asker-{new_id('x', utc_now())[-6:].lower()}", world.workspace, utc_now())
        seat = grant_membership(
            user=asker, workspace=world.workspace, role=WorkspaceRole.OWNER, actor=SHELL, now=utc_now(),
            record=record,
        )  # fmt: skip
    request = ask(world, closed(world), principal=world.person(asker))
    Membership.objects.filter(pk=seat.pk).delete()
    assert code_of(lambda: allow(world, request, second_owner)) == "role_required"


def test_an_old_code_is_not_enough(world: World) -> None:
    run = closed(world)
    stale = replace(world.person(world.owner), authenticated_at=utc_now() - timedelta(minutes=6))
    assert code_of(lambda: ask(world, run, principal=stale)) == "step_up_required"


@pytest.mark.parametrize("who", ["approver", "auditor", "stranger"])
def test_others_may_not_even_ask(world: World, who: str) -> None:
    run = closed(world)
    person = world.person(getattr(world, who))
    assert code_of(lambda: ask(world, run, principal=person)) == "role_required"
    assert code_of(lambda: ask(world, run, principal=world.agent)) == "role_required"
    refused = JournalEvent.objects.filter(type="request.refused", actor=person.id, subject=run).get()
    assert open_data(refused) == {"code": "role_required"}


@pytest.mark.parametrize("subject", ["run_01JD0000000000000000000000", "dev_x", "system", "", "frz_1"])
def test_what_does_not_exist_is_not_found(world: World, subject: str) -> None:
    assert code_of(lambda: ask(world, subject)) == "not_found"


@pytest.mark.parametrize("reason", ["", "  ", "no", "x" * 501])
def test_a_reason_says_something(world: World, reason: str) -> None:
    assert code_of(lambda: ask(world, closed(world), reason=reason)) == "invalid"


def test_asking_twice_is_asking_once(world: World) -> None:
    run = closed(world)
    assert ask(world, run).pk == ask(world, run).pk


def test_a_reader_who_decrypts_meanwhile_sees_the_text_or_that_it_is_gone(
    world: World, second_owner: User
) -> None:
    run = closed(world)
    request, seen = ask(world, run), []

    def read() -> None:
        for _ in range(40):
            events = list(JournalEvent.objects.filter(run_id=run, type="tool_call.proposed"))
            seen.extend(open_all(events))

    codes = at_once(read, lambda: allow(world, request, second_owner), read)
    assert codes == ["", "", ""]
    assert all(one.get("_erased") or one["input"] == {"text": WORD} for one in seen)
    assert open_all(list(JournalEvent.objects.filter(run_id=run)))[0]["_erased"] is True


def test_two_answers_at_once_erase_once(world: World, second_owner: User) -> None:
    run = closed(world)
    request = ask(world, run)
    act = partial(allow, world, request, second_owner)
    codes = at_once(act, act)
    assert "" in codes
    assert JournalEvent.objects.filter(type="journal.subject_erased", subject=run).count() == 1


def test_every_proof_holds_and_a_verification_finds_nothing_but_what_was_erased(
    world: World, second_owner: User
) -> None:
    run = closed(world)
    seal_all()
    proved = JournalEvent.objects.get(run_id=run, type="tool_call.proposed")
    size = JournalCheckpoint.objects.order_by("-tree_size").values_list("tree_size", flat=True)[0]
    proof = proof_of(proved, size)
    erased(world, run, second_owner)
    seal_all()
    assert proof_of(proved, size) == proof
    keys = public_keys(KeyPurpose.CHECKPOINT)
    assert check(proof, keys).ok
    report = Verification(Options(cross_check=True), utc_now()).run()
    assert report.is_clean, report.first
    assert report.erased >= JournalEvent.objects.filter(run_id=run).count()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="one file that holds everything")
def test_no_byte_of_text_salt_or_key_is_left_in_the_database_file(world: World, second_owner: User) -> None:
    word = "Kaschubenweg 17"
    run = world.open_run(purpose=f"write to {word}")
    for number in range(6):
        world.run(world.propose(ECHO, {"text": f"{word} {number} " * 150}, run=run))
    for verdict in ("allow", "deny"):
        asked = world.propose(ASKED, {"text": f"{word} {verdict}"}, run=run)
        world.answer(asked, verdict, comment=f"it is for {word}", **REACH[verdict])
    end(run.id, world.agent)
    calls = list(ToolCall.objects.filter(run_id=run.id))
    keys = [bytes(key.wrapped_key or b"") for key in JournalSubjectKey.objects.filter(subject=run.id)]
    traces = {
        "text": [word.encode()],
        "salt": [bytes(call.salt) for call in calls],
        "key": keys,
        "digest": [call.action_digest.encode() for call in calls],
    }
    assert traces_in_file(traces) == traces
    erased(world, run.id, second_owner)
    scrub(utc_now())
    assert traces_in_file(traces) == {"text": [], "salt": [], "key": [], "digest": []}
