"""The verbs on a run, what a run says of itself, and that every call's story has one end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import transaction

from approvals import services as approvals
from approvals.types import ReviewInput
from governance import closing, recheck
from governance.call_state import CallState
from governance.freeze_scopes import FreezeScope
from governance.journal.ledger import record
from governance.journal.models import JournalEvent
from governance.journal.reading import open_data
from governance.models import Reservation, Run, ToolCall
from governance.operations import freezes, runs, sweeping
from governance.runs.selectors import run_view
from governance.selectors import CallView
from governance.streams.names import StreamName, stream_name
from kernel.clock import utc_now
from kernel.errors import (
    AuthenticationError,
    ConflictError,
    InvalidError,
    NotFoundError,
    PalyraError,
    RefusedError,
)
from sandbox.types import ErrorKind, Executor, Outcome, Status
from tests.governance.pipeline.world import (
    ASKED,
    ECHO,
    SLEEP,
    World,
    again,
    as_principal,
    claim,
    redefine,
    run_events,
)

S = StreamName
NOTE = "the file is there, twice looked"


def cancel(world: World, view: CallView) -> CallView:
    return runs.cancel_call(call_id=view.call.id, principal=world.agent, reason="", now=utc_now())


def finish(world: World, view: CallView, status: Status) -> CallView:
    """Have the worker report this end of a call that runs."""
    found = claim(world, view)
    if status is Status.CANCELLED:
        cancel(world, view)
    now = utc_now()
    failed = None if status is Status.SUCCEEDED else ErrorKind.CANCELLED
    outcome = Outcome(
        status=status,
        executor=Executor.BUILTIN,
        started_at=now,
        finished_at=now,
        output={} if failed is None else None,
        error_kind=failed,
        error_code="sandbox.cancelled" if failed else None,
    )
    with transaction.atomic(durable=True):
        closing.close_executed(found, outcome, world.worker.actor(), now)
    return again(view)


def lost(world: World, view: CallView) -> CallView:
    claim(world, view)
    sweeping.sweep(utc_now() + timedelta(seconds=20))
    return again(view)


def refused_at_the_claim(world: World) -> CallView:
    view = world.allowed(world.ask(ASKED))
    redefine(world, argv_template=("/usr/bin/printf", "%s!", "{text}"))
    with transaction.atomic(durable=True):
        assert recheck.claim(view.call.execution_id or "", world.worker, utc_now()) is None
    return again(view)


def overdue(world: World) -> CallView:
    view = world.propose()
    sweeping.sweep(utc_now() + timedelta(hours=25))
    return again(view)


def expired(world: World) -> CallView:
    view = world.ask()
    assert view.approval is not None
    sweeping.sweep(view.approval.expires_at)
    return again(view)


def denied_by_a_person(world: World) -> CallView:
    view = world.ask()
    world.answer(view, "deny")
    return again(view)


def not_covered(world: World) -> CallView:
    """An answer without a version covers the first call that waits, and ends the other."""
    run = world.open_run()
    first, second = world.ask(run=run), world.ask(run=run)
    world.answer(first)
    return again(second)


def of_a_cancelled_run(world: World, view: CallView) -> CallView:
    runs.cancel_run(run_id=view.call.run_id, principal=world.agent, reason="", now=utc_now())
    return again(view)


def superseded(world: World) -> CallView:
    view = world.ask()
    call = ToolCall.objects.get(id=view.call.id)
    with transaction.atomic(durable=True):
        closing.close_answered(call, "approval.superseded", "Edited.", world.worker.actor(), utc_now())
    return again(view)


ENDS: dict[str, tuple[str, Callable[[World], CallView]]] = {
    "denied by a gate": ("denied", lambda world: world.propose("no.such.tool")),
    "denied by a person": ("denied", denied_by_a_person),
    "nobody answered": ("expired", expired),
    "not covered by the answer": ("cancelled", not_covered),
    "edited into another": ("superseded", superseded),
    "cancelled while it waits": ("cancelled", lambda world: cancel(world, world.ask())),
    "cancelled in the queue": ("cancelled", lambda world: cancel(world, world.propose())),
    "cancelled while it runs": (
        "cancelled",
        lambda world: finish(world, world.propose(), Status.CANCELLED),
    ),
    "its run cancelled while it waits": ("cancelled", lambda world: of_a_cancelled_run(world, world.ask())),
    "its run cancelled in the queue": ("cancelled", lambda world: of_a_cancelled_run(world, world.propose())),
    "refused at the claim": ("refused", refused_at_the_claim),
    "left in the queue": ("refused", overdue),
    "the worker lost": ("ambiguous", lambda world: lost(world, world.propose())),
    "timed out": ("timed_out", lambda world: finish(world, world.propose(), Status.TIMED_OUT)),
    "failed": ("failed", lambda world: finish(world, world.propose(), Status.FAILED)),
    "succeeded": ("succeeded", lambda world: world.run(world.propose())),
    "allowed and succeeded": ("succeeded", lambda world: world.run(world.allowed(world.ask()))),
}


@pytest.mark.parametrize("end", ENDS)
def test_every_call_ends_with_one_final_decision_one_result_and_one_attestation(
    world: World, end: str
) -> None:
    state, reach = ENDS[end]
    view = reach(world)
    assert view.state == state
    rows = list(JournalEvent.objects.filter(call_id=view.call.id).order_by("run_seq"))
    names = [stream_name(row.type) for row in rows]
    decisions = [row for row in rows if stream_name(row.type) is S.TOOL_DECISION]
    final = [row for row in decisions if open_data(row)["final"]]
    assert (names[0], names.count(S.TOOL_PROPOSAL)) == (S.TOOL_PROPOSAL, 1)
    assert [len(final), names.count(S.TOOL_RESULT), names.count(S.TOOL_ATTESTATION)] == [1, 1, 1]
    assert final[0].run_seq is not None
    assert decisions[-1] == final[0]
    assert names.index(S.TOOL_RESULT) > rows.index(final[0])
    assert names[-1] is S.TOOL_ATTESTATION
    ran = view.execution is not None and view.execution.started_at is not None
    assert names.count(S.TOOL_EXECUTING) == int(ran)


def test_the_approval_flow_tells_its_story_in_order(world: World) -> None:
    view = world.run(world.allowed(world.ask()))
    rows = JournalEvent.objects.filter(run_id=view.call.run_id).order_by("run_seq")
    names = [name for name in map(stream_name, rows.values_list("type", flat=True)) if name is not S.JOURNAL]
    assert names == [
        S.RUN_STATUS,
        S.TOOL_PROPOSAL,
        S.APPROVAL_REQUEST,
        S.TOOL_DECISION,
        S.APPROVAL_RESOLVED,
        S.TOOL_DECISION,
        S.TOOL_EXECUTING,
        S.TOOL_RESULT,
        S.TOOL_ATTESTATION,
    ]


def test_a_run_counts_its_calls_and_knows_its_phase(world: World) -> None:
    run = world.open_run()
    assert run_view(run).phase == "idle"
    world.propose("no.such.tool", run=run)
    asked = world.ask(run=run)
    assert run_view(run).phase == "waiting_for_approval"
    queued = world.propose(run=run)
    claim(world, world.propose(run=run))
    found = run_view(run)
    assert found.phase == "running"
    assert {state.value: number for state, number in found.counts.items() if number} == {
        "denied": 1,
        "awaiting_approval": 1,
        "queued": 1,
        "running": 1,
    }
    cancel(world, asked)
    world.run(queued)
    counts = run_view(run).counts
    assert (counts[CallState.CANCELLED], counts[CallState.SUCCEEDED], sum(counts.values())) == (1, 1, 4)


@pytest.mark.parametrize("scope", ["global", "agent", "run", "tool"])
def test_a_freeze_of_a_run_its_agent_or_everything_is_its_phase(world: World, scope: str) -> None:
    run = world.open_run()
    named = {"agent": run.principal_id, "run": run.id, "tool": ECHO}.get(scope, "")
    wishes = freezes.FreezeWishes(FreezeScope(scope), "something is wrong", named)
    freezes.set_freeze(principal=world.person(world.owner), wishes=wishes, now=utc_now())
    assert run_view(run).phase == ("idle" if scope == "tool" else "frozen")
    assert run_view(world.open_run(world.other_agent)).phase == ("frozen" if scope == "global" else "idle")


def complete(world: World, run: Run) -> Run:
    return runs.complete_run(run_id=run.id, principal=world.agent, now=utc_now())


def test_a_run_is_completed_once_its_calls_have_ended(world: World) -> None:
    run = world.open_run()
    world.run(world.propose(run=run))
    for _ in range(2):
        assert complete(world, run).state == "completed"
    assert run_events(run).count("run.closed") == 1
    assert run_events(run)[-1] == "run.closed"
    with pytest.raises(ConflictError) as closed:
        runs.cancel_run(run_id=run.id, principal=world.agent, reason="", now=utc_now())
    assert closed.value.code == "run.closed"


@pytest.mark.parametrize("tool", [ECHO, SLEEP])
def test_a_run_with_open_calls_is_not_completed_and_nothing_of_it_ends(world: World, tool: str) -> None:
    view = world.propose(tool)
    run = Run.objects.get(id=view.call.run_id)
    with pytest.raises(ConflictError) as refused:
        complete(world, run)
    assert (refused.value.code, refused.value.extra) == ("conflict", {"open_calls": [view.call.id]})
    assert again(view).state == view.state
    cancel(world, view)
    assert complete(world, run).state == "completed"


def test_a_cancelled_run_is_not_completed(world: World) -> None:
    run = world.open_run()
    runs.cancel_run(run_id=run.id, principal=world.agent, reason="no more", now=utc_now())
    with pytest.raises(ConflictError) as refused:
        complete(world, run)
    assert refused.value.code == "run.closed"
    closed = JournalEvent.objects.get(run_id=run.id, type="run.closed")
    assert open_data(closed)["reason"] == "no more"


def test_only_its_principal_and_its_owner_complete_a_run(world: World) -> None:
    run = world.open_run()
    for other, problem in ((world.owner, RefusedError), (world.auditor, RefusedError)):
        with pytest.raises(problem):
            runs.complete_run(run_id=run.id, principal=world.person(other), now=utc_now())
    with pytest.raises(NotFoundError):
        runs.complete_run(run_id=run.id, principal=world.other_agent, now=utc_now())
    owner = world.person(world.agent_owner)
    assert runs.complete_run(run_id=run.id, principal=owner, now=utc_now()).state == "completed"


def test_a_run_names_only_a_run_it_may_know_of_as_its_origin(world: World) -> None:
    first = world.open_run()
    assert world.open_run(origin="retry", origin_run_id=first.id).origin_run_id == first.id
    with pytest.raises(NotFoundError):
        world.open_run(world.other_agent, origin="retry", origin_run_id=first.id)
    assert world.open_run(origin="mcp").origin == "mcp"


def resolve(world: World, view: CallView, **more: object) -> CallView:
    given = {"principal": world.person(world.owner), "outcome": "succeeded", "note": NOTE, **more}
    return runs.resolve_call(call_id=view.call.id, now=utc_now(), **given)  # type: ignore[arg-type]


def finding_of(view: CallView) -> dict[str, str]:
    found: dict[str, str] = again(view).call.finding or {}
    return found


def test_a_finding_is_kept_and_the_call_stays_ambiguous_and_charged(world: World) -> None:
    view = lost(world, world.propose())
    found = resolve(world, view)
    assert found.state == "ambiguous"
    told = {"outcome": "succeeded", "note": NOTE, "by": world.owner.pk}
    assert finding_of(view).items() >= told.items()
    assert Reservation.objects.get(call_id=view.call.id).state == "settled"
    assert run_events(view.call.run)[-1] == "tool_call.resolved"
    with pytest.raises(ConflictError) as repeated:
        resolve(world, view, outcome="failed")
    assert repeated.value.code == "conflict"
    assert finding_of(view)["outcome"] == "succeeded"


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ({"outcome": "fine"}, "/outcome"),
        ({"outcome": ""}, "/outcome"),
        ({"note": ""}, "/note"),
        ({"note": "  too short           "}, "/note"),
        ({"note": "x" * 2_001}, "/note"),
    ],
)
def test_a_finding_that_says_nothing_is_refused_whoever_calls(
    world: World, given: dict[str, object], pointer: str
) -> None:
    view = lost(world, world.propose())
    with pytest.raises(InvalidError) as refused:
        resolve(world, view, **given)
    assert [one.pointer for one in refused.value.errors] == [pointer]
    assert again(view).call.finding is None


def test_only_an_operator_with_a_fresh_code_finds_something_out(world: World) -> None:
    view = lost(world, world.propose())
    stale = as_principal(world.owner, world.workspace, utc_now() - timedelta(minutes=6))
    refused: list[tuple[object, type[PalyraError]]] = [
        (world.agent, RefusedError),
        (world.person(world.auditor), RefusedError),
        (world.other_agent, NotFoundError),
        (stale, AuthenticationError),
    ]
    for principal, problem in refused:
        with pytest.raises(problem):
            resolve(world, view, principal=principal)
    assert again(view).call.finding is None


@pytest.mark.parametrize("end", ["succeeded", "denied by a gate", "cancelled in the queue"])
def test_what_ended_for_all_to_see_is_not_found_out(world: World, end: str) -> None:
    view = ENDS[end][1](world)
    with pytest.raises(ConflictError) as refused:
        resolve(world, view)
    assert refused.value.code == "state_changed"


def answer_and_die(world: World, view: CallView) -> None:
    """Commit a person's allow and nothing that should follow it."""
    now = utc_now()
    with transaction.atomic(durable=True):
        approvals.record_review(
            request_id=view.call.approval_id or "",
            principal=world.person(world.approver, now=now),
            review=ReviewInput(verdict="allow", scope="once", comment="looked at it", otp_verified_at=now),
            now=now,
            record=record,
        )
    assert again(view).execution is None


def test_an_allow_that_nobody_carried_on_is_carried_on_once(world: World) -> None:
    view = world.ask()
    answer_and_die(world, view)
    for _ in range(2):
        sweeping.sweep(utc_now())
    found = again(view)
    assert (found.state, found.call.grant_id is not None) == ("queued", True)
    assert run_events(view.call.run).count("execution.queued") == 1
    assert world.run(view).state == "succeeded"


def test_what_the_allow_did_not_cover_ends_all_the_same(world: World) -> None:
    run = world.open_run()
    first, second = world.ask(run=run), world.ask(run=run)
    answer_and_die(world, first)
    sweeping.sweep(utc_now())
    assert [again(view).state for view in (first, second)] == ["queued", "cancelled"]


def test_an_answer_carried_on_late_meets_every_check_of_the_claim(world: World) -> None:
    view = world.ask(ASKED)
    answer_and_die(world, view)
    redefine(world, argv_template=("/usr/bin/printf", "%s!", "{text}"))
    sweeping.sweep(utc_now())
    assert world.run(view).state == "refused"
