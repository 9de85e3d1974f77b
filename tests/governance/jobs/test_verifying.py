"""The journal is verified when somebody with a right to the whole of it asks, and once a day without."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest

from governance.jobs import runner
from governance.jobs.journal_verifying import DAILY, VERIFY, VerifyWish
from governance.journal.models import JournalEvent
from governance.journal.reading import open_data
from governance.journal.sealing import seal
from governance.models import Job
from governance.operations import jobs, sweeping
from governance.operations.journal_verifying import start_verifying, verify_when_due
from kernel.clock import utc_now
from kernel.errors import ConflictError, InvalidError, RefusedError
from tests.governance.journal.tampering import set_columns
from tests.governance.pipeline.world import World

WORKER = "host:1"
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def sealed(world: World) -> None:
    seal(now=utc_now())


def verify(world: World, **wishes: object) -> Job:
    job = start_verifying(
        principal=world.person(world.owner),
        wish=VerifyWish(**wishes),  # type: ignore[arg-type]  # as the test wishes
        now=utc_now(),
    )
    runner.work(WORKER, utc_now)
    return Job.objects.get(pk=job.pk)


def test_a_wish_survives_as_the_subject_of_its_job() -> None:
    for wish in (
        VerifyWish(), DAILY, VerifyWish(7, 2**53 - 1, quick=True, cross_check=True), VerifyWish(0, 0),
    ):  # fmt: skip
        assert VerifyWish.of(Job(subject=wish.as_subject())) == wish
        assert len(wish.as_subject()) <= 80


def test_a_job_verifies_and_leaves_its_report_and_an_event(world: World) -> None:
    job = verify(world, cross_check=True)
    result: dict[str, Any] = job.result or {}
    assert (job.state, job.total) == ("succeeded", result["events"])
    assert (result["clean"], result["findings_total"], result["findings"]) == (True, 0, [])
    assert result["events"] == result["tree_size"] > 0
    assert set(result["keys"].values()) == {"vault"}
    told = open_data(JournalEvent.objects.get(type="journal.verified"))
    assert (told["end_seq"], told["counts"], told["findings_total"]) == (result["end_seq"], {}, 0)
    assert told["keys"] == sorted(result["keys"])


def test_findings_are_a_result_and_an_alarm(world: World, caplog: pytest.LogCaptureFixture) -> None:
    event = JournalEvent.objects.order_by("pk").first()
    assert event is not None
    set_columns(JournalEvent, event.pk, subject="usr_other")
    with caplog.at_level(logging.CRITICAL):
        job = verify(world)
    result: dict[str, Any] = job.result or {}
    assert (job.state, result["clean"], result["counts"]) == ("succeeded", False, {"column_mismatch": 1})
    assert result["findings"][0]["event"] == event.pk
    assert "the journal does not hold" in caplog.text
    assert open_data(JournalEvent.objects.get(type="journal.verified"))["counts"] == {"column_mismatch": 1}


def test_a_vault_that_is_locked_fails_the_job(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vault.services.is_ready", lambda: False)
    job = start_verifying(principal=world.person(world.owner), wish=VerifyWish(), now=utc_now())
    claimed = jobs.claim(job_id=job.pk, worker_id=WORKER, now=utc_now())
    ended = runner._run(claimed, utc_now)
    assert ended is not None
    assert (ended.state, ended.error_code, ended.result) == ("failed", "not_ready", None)


def test_one_at_a_time_within_the_log_and_for_people_of_the_installation(world: World) -> None:
    owner = world.person(world.owner)
    with pytest.raises(InvalidError) as refused:
        start_verifying(principal=owner, wish=VerifyWish(first=10**9), now=utc_now())
    assert refused.value.code == "invalid_range"
    with pytest.raises(RefusedError):
        start_verifying(principal=world.person(world.auditor), wish=VerifyWish(), now=utc_now())
    with pytest.raises(RefusedError):
        start_verifying(principal=world.agent, wish=VerifyWish(), now=utc_now())
    start_verifying(principal=owner, wish=VerifyWish(), now=utc_now())
    with pytest.raises(ConflictError):
        start_verifying(principal=owner, wish=VerifyWish(), now=utc_now())
    assert Job.objects.filter(kind=VERIFY).count() == 1


def test_a_full_verification_is_due_a_day_after_the_last_one_that_was_done(world: World) -> None:
    now = utc_now()
    assert verify_when_due(now) == 0
    assert verify_when_due(now + DAY) == 1
    assert verify_when_due(now + DAY) == 0
    job = Job.objects.get(kind=VERIFY)
    assert job.subject == DAILY.as_subject()
    runner.work(WORKER, lambda: now + DAY)
    assert Job.objects.get(pk=job.pk).state == "succeeded"
    assert verify_when_due(now + DAY + timedelta(hours=23)) == 0
    assert verify_when_due(now + 2 * DAY + timedelta(minutes=1)) == 1


def test_one_that_failed_is_tried_again_and_a_part_does_not_count(world: World) -> None:
    verify(world, quick=True)
    now = utc_now() + DAY + timedelta(minutes=1)
    assert sweeping.sweep(now)["verifications_started"] == 1
    Job.objects.filter(state="queued").update(state="failed", finished_at=now)
    assert verify_when_due(now + timedelta(minutes=59)) == 0
    assert verify_when_due(now + timedelta(minutes=61)) == 1
