"""Workers, sweepers and people at one job at once, on PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection, transaction

from governance.jobs import services
from governance.jobs.kinds import SIMULATION
from governance.jobs.lifecycle import JobState
from governance.journal.ledger import record
from governance.models import Job
from governance.operations import jobs, simulations
from kernel.clock import utc_now
from kernel.errors import ConflictError
from kernel.record import system_actor
from policy.models import DecisionRecord, EntitySnapshot, PolicySet, ShadowResult, SimulationRun
from policy.shadowing import observe, set_shadow, store_seen
from policy.simulation import Wishes
from tests.governance.pipeline.world import World, owner_actor
from tests.policy.recording import FORBID_ALL, draft_with, validated_with

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]
THREADS = 8


def at_once(work: Callable[[int], object], number: int = THREADS) -> list[object]:
    """Run `work` in threads that start together; return what each returned or raised."""
    gate = threading.Barrier(number)
    answers: list[object] = [None] * number

    def run(at: int) -> None:
        try:
            gate.wait()
            answers[at] = work(at)
        except Exception as error:
            answers[at] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(at,)) for at in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def queued(world: World) -> Job:
    with transaction.atomic():
        return services.queue_job(
            kind=SIMULATION,
            subject="it",
            workspace_id=world.workspace.pk,
            total=None,
            actor=system_actor("shell"),
            now=utc_now(),
        )


def test_eight_workers_at_one_job_claim_it_once(committed_world: World) -> None:
    job = queued(committed_world)
    answers = at_once(lambda at: jobs.claim(job_id=job.id, worker_id=f"w:{at}", now=utc_now()).worker_id)
    winners = [answer for answer in answers if isinstance(answer, str)]
    assert [Job.objects.get(pk=job.pk).worker_id] == winners
    assert sum(isinstance(answer, ConflictError) for answer in answers) == THREADS - 1


def test_an_end_and_a_loss_at_once_leave_one_of_both(committed_world: World) -> None:
    for _ in range(4):
        job = queued(committed_world)
        claimed = jobs.claim(job_id=job.id, worker_id="w:1", now=utc_now() - timedelta(minutes=5))
        ended = services.Ended(JobState.CANCELLED, "job.cancelled")

        def act(at: int, claimed: Job = claimed, ended: services.Ended = ended) -> object:
            if at % 2:
                return jobs.abandon(job=claimed, ended=ended, now=utc_now())
            return jobs.lose(job_id=claimed.id, now=utc_now())

        answers = at_once(act)
        assert sum(isinstance(answer, ConflictError) for answer in answers) == THREADS - 1, answers
        assert Job.objects.get(pk=job.pk).state in ("cancelled", "failed")


def test_simulations_at_once_have_numbers_of_their_own(committed_world: World) -> None:
    committed_world.propose("echo")
    draft = draft_with(FORBID_ALL, now=utc_now())

    def simulate(at: int) -> int:
        owner = committed_world.person(committed_world.owner)
        made = simulations.simulate(principal=owner, set_id=draft.pk, wishes=Wishes(), now=utc_now())
        return made.run.number

    assert sorted(map(str, at_once(simulate))) == sorted(map(str, range(1, THREADS + 1)))
    assert SimulationRun.objects.filter(policy_set=draft, state="succeeded").count() == THREADS


def test_calls_at_once_by_one_agent_keep_one_snapshot_and_a_record_each(committed_world: World) -> None:
    run = committed_world.open_run()
    EntitySnapshot.objects.exclude(pk__in=_used()).delete()
    views = at_once(lambda at: committed_world.propose("echo", {"text": str(at)}, run=run).call.id)
    assert all(isinstance(view, str) for view in views), views
    digests = _used_by([str(view) for view in views])
    assert len(digests) == 1


def _used() -> list[str]:
    return list(DecisionRecord.objects.values_list("entities_id", flat=True))


def _used_by(calls: list[str]) -> set[str]:
    return set(DecisionRecord.objects.filter(call_id__in=calls).values_list("entities_id", flat=True))


def test_eight_sweepers_count_a_decision_once(committed_world: World) -> None:
    now = utc_now()
    PolicySet.objects.filter(shadow_since__isnull=False).update(shadow_since=None)
    policy_set = validated_with(FORBID_ALL, now=now)
    _put(policy_set, committed_world)
    committed_world.propose("echo", now=now + timedelta(seconds=1))
    later = now + timedelta(minutes=5)

    def watch(at: int) -> bool:
        seen = observe(PolicySet.objects.get(pk=policy_set.pk), later)
        if seen is None:
            return False
        with transaction.atomic():
            return store_seen(seen)

    assert at_once(watch).count(True) == 1
    assert [row.count for row in ShadowResult.objects.filter(policy_set=policy_set)] == [1]


def test_eight_people_put_three_sets_into_shadow(committed_world: World) -> None:
    PolicySet.objects.filter(shadow_since__isnull=False).update(shadow_since=None)
    sets = [validated_with(FORBID_ALL, now=utc_now()) for _ in range(THREADS)]
    answers = at_once(lambda at: _put(sets[at], committed_world).pk)
    assert sum(isinstance(answer, str) for answer in answers) == 3, answers
    assert PolicySet.objects.filter(shadow_since__isnull=False).count() == 3


def _put(policy_set: PolicySet, world: World) -> PolicySet:
    with transaction.atomic():
        return set_shadow(
            policy_set=policy_set, enabled=True, actor=owner_actor(world), now=utc_now(), record=record
        )
