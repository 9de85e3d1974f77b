"""A simulation lists what would change and nothing else, whatever shortcuts it takes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import transaction

from kernel.errors import ConflictError, InvalidError
from policy import comparing
from policy.candidates import read_candidate
from policy.comparing import Comparison, Tally
from policy.lifecycle import RunState, SetState
from policy.models import DecisionRecord, EntitySnapshot, PolicySet, SimulationFlip, SimulationRun
from policy.replaying import Direction
from policy.runtime import current
from policy.simulation import (
    Wishes,
    add_batch,
    end_run,
    finish_run,
    ground_of,
    open_run,
    replayed,
    start_run,
)
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, Cast, make_agent
from tests.policy.recording import (
    FORBID_ALL,
    FORBID_EVIL,
    PERMIT_ALL,
    allow_tool,
    draft_with,
    fetch,
    keep,
    keep_many,
    validated_with,
)
from tests.policy.test_decisions import echo, facts, write

pytestmark = pytest.mark.django_db
BROKEN = '@id("broken") permit(principal, action, resource) when { context.nothing };'


@pytest.fixture(autouse=True)
def fetching(cast: Cast) -> None:
    allow_tool(cast, "http.fetch")


def simulated(policy_set: PolicySet, wishes: Wishes | None = None) -> SimulationRun:
    """Simulate as the operation does, in one go."""
    asked = wishes or Wishes()
    ground = ground_of(policy_set, asked)
    batches, tally = list(replayed(ground, asked)), Tally()
    for batch in batches:
        for one in batch:
            tally.add(one)
    with transaction.atomic():
        run = open_run(
            policy_set=policy_set, wishes=asked, state=RunState.RUNNING, actor=SYSTEM, now=NOW, ground=ground
        )
        for batch in batches:
            add_batch(run=run, batch=batch, tally=tally)
        return finish_run(run=run, actor=SYSTEM, now=NOW, record=RecordedEvents())


def flips(run: SimulationRun) -> set[str]:
    return set(run.flips.values_list("record_id", flat=True))


def test_a_draft_that_forbids_one_host_lists_exactly_the_calls_to_it(cast: Cast) -> None:
    records = keep_many(cast, 200, hosts=("a.example", "b.example", "evil.example", "c.example"))
    assert {record.effect for record in records} == {"allow"}
    run = simulated(draft_with(FORBID_EVIL))
    evil = {record.pk for record in records if "evil.example" in record.request}
    assert len(evil) == 50
    assert flips(run) == evil
    assert (run.total, run.done, run.available) == (200, 200, 200)
    assert (run.tightened, run.loosened, run.reason_only, run.unchanged) == (50, 0, 0, 150)
    assert run.matrix == {"allow": {"allow": 150, "deny": 50}}
    flip = run.flips.first()
    assert flip is not None
    assert (flip.direction, flip.new_policies, flip.old_effect, flip.new_effect) == (
        "tightened",
        ["no_evil_host"],
        "allow",
        "deny",
    )
    assert flip.old_policies == ["allow_allowlisted_tool_execute"]


def test_it_names_what_it_stood_on_and_numbers_itself(cast: Cast) -> None:
    keep_many(cast, 3)
    draft = validated_with(FORBID_EVIL)
    first, second = simulated(draft), simulated(draft)
    active = PolicySet.objects.get(state=SetState.ACTIVE)
    assert (first.number, second.number) == (1, 2)
    assert first.draft_hash == draft.hash
    assert (first.against_set_id, first.against_hash) == (active.pk, active.hash)
    assert first.epoch > 0
    assert (first.state, first.finished_at) == ("succeeded", NOW)


def test_the_hash_of_a_draft_is_that_of_the_text_it_was_simulated_with(cast: Cast) -> None:
    draft = draft_with(FORBID_EVIL)
    before = simulated(draft).draft_hash
    draft.files.filter(name="added_0.cedar").update(text=FORBID_ALL)
    assert simulated(draft).draft_hash != before
    assert before == simulated(validated_with(FORBID_EVIL)).draft_hash


def test_a_permit_for_everything_is_a_loosening_where_no_forbid_stands(cast: Cast) -> None:
    kept = [keep(echo(cast)), keep(write(cast)), keep(replace(facts(cast, "process.run", {"command": "ls"})))]
    denied = keep(replace(fetch(cast, "a.example"), posture=None))
    run = simulated(draft_with(PERMIT_ALL))
    assert (run.tightened, run.total) == (0, len(kept) + 1)
    assert flips(run) <= {denied.pk, *[record.pk for record in kept]}


def test_without_records_there_is_a_simulation_over_none(cast: Cast) -> None:
    run = simulated(draft_with(FORBID_EVIL))
    assert (run.total, run.available, run.state, run.matrix) == (0, 0, "succeeded", {})


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        (Wishes(records=3), 3),
        (Wishes(since=NOW + timedelta(seconds=6)), 4),
        (Wishes(tool="echo"), 1),
        (Wishes(tool="http.fetch"), 10),
        (Wishes(agent="agt_nobody"), 0),
        (Wishes(workspace="wsp_other"), 0),
    ],
)
def test_filters_take_the_newest_that_match_and_available_counts_all(
    cast: Cast, wishes: Wishes, expected: int
) -> None:
    records = keep_many(cast, 10)
    keep(echo(cast), now=NOW - timedelta(seconds=5))
    run = simulated(draft_with(FORBID_EVIL), wishes)
    assert (run.total, run.available) == (expected, 11)
    assert Wishes.from_json(run.asked) == wishes
    if wishes.records == 3:
        assert flips(run) <= {record.pk for record in records[-3:]}


def test_the_records_of_one_agent(cast: Cast) -> None:
    keep_many(cast, 2)
    other = make_agent(cast.agent_owner, cast.default, "second")
    keep(replace(fetch(cast, "evil.example"), principal_id=other.pk))
    run = simulated(draft_with(FORBID_EVIL), Wishes(agent=other.pk))
    assert (run.total, run.tightened) == (1, 1)


def test_batches_neither_lose_nor_repeat_a_record(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_many(cast, 23)
    monkeypatch.setattr("policy.simulation.BATCH", 5)
    ground = ground_of(draft_with(FORBID_EVIL), Wishes(records=21))
    seen = [one.record.pk for batch in replayed(ground, Wishes(records=21)) for one in batch]
    newest = DecisionRecord.objects.order_by("-pk").values_list("pk", flat=True)[:21]
    assert seen == list(newest)


def test_records_made_meanwhile_are_not_replayed(cast: Cast) -> None:
    keep_many(cast, 2)
    ground = ground_of(draft_with(FORBID_EVIL), Wishes())
    keep_many(cast, 1)
    keep(fetch(cast, "evil.example"), now=NOW + timedelta(hours=1))
    later = [one for batch in replayed(ground, Wishes()) for one in batch]
    assert len(later) <= 3
    assert all(one.record.decided_at < NOW + timedelta(hours=1) for one in later)


def test_a_redacted_record_is_replayed_and_marked(cast: Cast) -> None:
    keep(fetch(cast, "evil.example"), exact=False)
    run = simulated(draft_with(FORBID_EVIL))
    assert (run.inexact, run.tightened) == (1, 1)
    assert SimulationFlip.objects.get(run=run).exact is False


@pytest.mark.parametrize("broken", ["request", "entities"])
def test_a_record_that_cannot_be_read_is_counted_and_not_called_unchanged(cast: Cast, broken: str) -> None:
    keep_many(cast, 3)
    unreadable = keep(echo(cast))
    if broken == "request":
        DecisionRecord.objects.filter(pk=unreadable.pk).update(request='{"v":99}')
    else:
        EntitySnapshot.objects.filter(pk=unreadable.entities_id).update(entities="{}")
    run = simulated(draft_with(FORBID_EVIL))
    assert (run.failed, run.total, run.done, run.available) == (1, 3, 4, 4)
    assert run.unchanged + run.tightened == 3


def test_while_nothing_is_in_force_everything_was_denied(cast: Cast) -> None:
    record = keep(echo(cast))
    draft = draft_with(FORBID_EVIL)
    candidate = read_candidate(draft, current().tools)
    (one,) = Comparison(None, candidate.engine).replay([record])
    assert one.old is not None
    assert (one.old.effect.value, one.direction) == ("deny", Direction.LOOSENED)


@pytest.mark.parametrize("state", [SetState.ACTIVE, SetState.SUPERSEDED, SetState.DISCARDED])
def test_only_drafts_and_validated_sets_are_simulated(cast: Cast, state: str) -> None:
    draft = validated_with(FORBID_EVIL)
    draft.state = state
    with pytest.raises(ConflictError) as caught:
        ground_of(draft, Wishes())
    assert caught.value.code == "state_changed"


def test_a_text_that_does_not_compile_is_refused_with_its_findings(cast: Cast) -> None:
    with pytest.raises(InvalidError) as caught:
        ground_of(
            draft_with('@id("broken") permit(principal, action, resource) when { context.nothing };'),
            Wishes(),
        )
    assert caught.value.code == "policy_invalid"
    assert caught.value.errors[0].pointer == "/files/added_0.cedar"


CHANGES = {
    "none": (),
    "a host": (FORBID_EVIL,),
    "everything": (FORBID_ALL,),
    "a permit": (PERMIT_ALL,),
    "asks": (
        '@id("ask") @obligation("approval") @quorum("2") permit(principal, action in'
        ' Palyra::Action::"tool.execute", resource == Palyra::Tool::"echo");',
    ),
    "a role": (
        '@id("ask") @obligation("approval") @approver_role("auditor") @quorum("3") forbid(principal, action,'
        " resource) when { !(context has approval) };",
    ),
    "another tool": ('@id("other") forbid(principal, action, resource == Palyra::Tool::"sleep");',),
}


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_the_shortcut_for_equal_rules_gives_what_asking_both_sets_gives(
    cast: Cast, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [echo(cast), write(cast), fetch(cast, "a.example"), fetch(cast, "evil.example")]
    asked += [replace(one, channel="somewhere", labels=frozenset({"untrusted_content"})) for one in asked]
    asked += [replace(echo(cast), source_ip="no address"), replace(echo(cast), session_id=None)]
    records = [keep(one) for one in asked]
    runtime = current()
    assert runtime.engine is not None
    candidate = read_candidate(draft_with(*CHANGES[change]), runtime.tools)
    quick = list(Comparison(runtime.engine, candidate.engine).replay(records))
    monkeypatch.setattr(comparing, "_same_ground", lambda *given: False)
    slow = list(Comparison(runtime.engine, candidate.engine).replay(records))
    assert [one.direction for one in quick] == [one.direction for one in slow]
    for one, other in zip(quick, slow, strict=True):
        assert one.new is not None
        assert other.new is not None
        assert (one.new.effect, one.new.reason_code, one.new.obligations) == (
            other.new.effect,
            other.new.reason_code,
            other.new.obligations,
        )


def test_the_shortcut_is_taken(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [keep(echo(cast)), keep(echo(cast)), keep(fetch(cast, "a.example", "1"))]
    records += [keep(fetch(cast, "a.example", "2")), keep(fetch(cast, "evil.example"))]
    runtime = current()
    assert runtime.engine is not None
    candidate = read_candidate(draft_with(FORBID_EVIL), runtime.tools)
    asked: list[object] = []
    original = comparing.answer_of
    monkeypatch.setattr(comparing, "answer_of", lambda *given: asked.append(given) or original(*given))  # type: ignore[func-returns-value]  # append, then the answer
    list(Comparison(runtime.engine, candidate.engine).replay(records))
    assert len(asked) == 5  # echo once of one set, and each host once of both


def test_a_queued_simulation_starts_once_and_ends_once(cast: Cast) -> None:
    draft = draft_with(FORBID_EVIL)
    with transaction.atomic():
        run = open_run(
            policy_set=draft, wishes=Wishes(), state=RunState.QUEUED, actor=SYSTEM, now=NOW, job_id="job_1"
        )
    assert (run.draft_hash, run.state) == ("", "queued")
    ground = ground_of(draft, Wishes())
    with transaction.atomic():
        started = start_run(run_id=run.pk, ground=ground)
    assert started.draft_hash == ground.candidate.hash
    with pytest.raises(ConflictError), transaction.atomic():
        start_run(run_id=run.pk, ground=ground)
    with transaction.atomic():
        end_run(job_id="job_1", state=RunState.FAILED, error_code="job.worker_lost", now=NOW)
    with pytest.raises(ConflictError), transaction.atomic():
        finish_run(run=run, actor=SYSTEM, now=NOW, record=RecordedEvents())
    run.refresh_from_db()
    assert (run.state, run.error_code) == ("failed", "job.worker_lost")
    with transaction.atomic():
        end_run(job_id="job_1", state=RunState.CANCELLED, error_code="job.cancelled", now=NOW)
    run.refresh_from_db()
    assert run.state == "failed"


def test_its_end_is_recorded(cast: Cast) -> None:
    keep_many(cast, 2)
    draft, events = draft_with(FORBID_EVIL), RecordedEvents()
    ground = ground_of(draft, Wishes())
    with transaction.atomic():
        run = open_run(
            policy_set=draft, wishes=Wishes(), state=RunState.RUNNING, actor=SYSTEM, now=NOW, ground=ground
        )
        finish_run(run=run, actor=SYSTEM, now=NOW, record=events)
    (event,) = events.events
    assert (event.event, event.subject) == ("policy.simulated", draft.pk)
    assert event.data["draft_hash"] == ground.candidate.hash
