"""Keys, holds, archives and witnesses over REST: who may, with which proof, and what is answered."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from pytest_django.fixtures import Settings

from governance.jobs import runner
from governance.journal import archiving, note
from governance.journal.models import JournalArchive, JournalCheckpoint, JournalEvent, LegalHold
from governance.journal.sealing import seal
from governance.models import Job
from governance.operations import journal_keeping, sealing, sweeping
from kernel.clock import utc_now
from kernel.errors import UnavailableError
from tests.governance.api.stepping import fresh
from tests.governance.api.test_matrix import hold_every_scope
from tests.governance.api.world import Answer, Caller, World
from tests.governance.journal.archives import LATER, UNIT, fill, rows_of
from tests.governance.journal.test_witnesses import VKEY, WITNESS, cosigned

VERBS = {
    "journal/rotate-key": {},
    f"journal/keys/sha256:{64 * '0'}/revoke": {},
    "journal/holds": {"reason": "case 4711", "since": "2020-01-01T00:00:00Z"},
    "journal/holds/hld_01JD0000000000000000000000/lift": {},
    "journal/archive": {},
    "journal/archives/0/restore": {},
}


def code_of(answer: Answer) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def run_jobs() -> dict[str, Any]:
    """Let a worker do what waits, and return the newest job."""
    runner.work("w1", utc_now)
    newest = Job.objects.order_by("-pk")[0]
    return {"state": newest.state, "result": newest.result, "error_code": newest.error_code}


@pytest.mark.parametrize("path", VERBS)
def test_only_who_keeps_the_installation_may_and_with_a_fresh_code(world: World, path: str) -> None:
    """A role in one workspace is not enough, whatever the token's scopes say."""
    body = VERBS[path]
    for caller in (world.auditor, world.stranger, world.agent):
        answer = hold_every_scope(fresh(caller) if caller is not world.agent else caller).post(path, body)
        assert code_of(answer) == (403, "role_required"), path
    hold_every_scope(world.owner)
    assert code_of(world.owner.post(path, body)) == (401, "step_up_required"), path
    assert JournalEvent.objects.filter(type="request.refused").exists()


def test_who_may_not_is_told_nothing_of_what_is_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archiving, "retention", lambda: None)
    auditor = hold_every_scope(fresh(world.auditor))
    assert code_of(auditor.post("journal/archive", {})) == (403, "role_required")
    assert code_of(fresh(hold_every_scope(world.owner)).post("journal/archive", {})) == (409, "conflict")
    refused = JournalEvent.objects.filter(type="request.refused").order_by("-id")
    assert [event.actor for event in refused[:2]] == [world.owner.id, world.auditor.id]


def test_a_key_that_turned_has_turned_though_the_log_cannot_be_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(now: object) -> None:
        raise UnavailableError("journal_unavailable", "The log of checkpoints cannot be used.")

    monkeypatch.setattr(sealing, "catch_up", fail)
    owner = fresh(hold_every_scope(world.owner))
    answer = owner.post("journal/rotate-key", {})
    assert answer.status_code == 200, answer.content


def test_keys_turn_and_an_old_one_is_revoked(world: World) -> None:
    owner = hold_every_scope(world.owner)
    with transaction.atomic():
        seal(now=utc_now())
    before = {one["id"] for one in owner.get("journal/keys").json()["data"]}

    made = owner.post("journal/rotate-key", {"otp": owner.code()})

    assert made.status_code == 200, made.content
    key = made.json()
    assert (key["purpose"], key["retired_at"], key["id"] in before) == ("checkpoint", None, False)
    newest = JournalCheckpoint.objects.order_by("-pk")[0]
    assert newest.key_id == key["id"]
    assert len(note.parse(newest.note).signatures) == 2
    assert key["verifier_key"].startswith(note.parse(newest.note).origin + "+")

    (retired,) = [
        one["id"]
        for one in owner.get("journal/keys").json()["data"]
        if one["purpose"] == "checkpoint" and one["retired_at"]
    ]
    fresh(owner)
    assert code_of(owner.post(f"journal/keys/{key['id']}/revoke", {})) == (409, "state_changed")
    revoked = owner.post(f"journal/keys/{retired}/revoke", {})
    assert (revoked.status_code, revoked.json()["revoked_at"] is not None) == (200, True)
    assert code_of(owner.post("journal/keys/nonsense/revoke", {})) == (400, "invalid_id")
    other = owner.post("journal/rotate-key", {"purpose": "attestation"}).json()
    assert (other["purpose"], other["verifier_key"]) == ("attestation", None)


def test_a_repeated_rotation_with_its_key_turns_once(world: World) -> None:
    owner = fresh(hold_every_scope(world.owner))
    first = owner.post("journal/rotate-key", {}, Idempotency_Key="turn-1")
    again = owner.post("journal/rotate-key", {}, Idempotency_Key="turn-1")
    assert (first.json(), again.headers["Idempotency-Replayed"]) == (again.json(), "true")
    assert JournalCheckpoint.objects.count() == 1


def test_holds_are_set_listed_and_lifted(world: World) -> None:
    owner = fresh(hold_every_scope(world.owner))
    answer = owner.post("journal/holds", {"subject": world.agent.id, "reason": "case 4711"})
    assert answer.status_code == 201, answer.content
    held = answer.json()
    assert (held["state"], held["subject"], held["set_by"]) == ("standing", world.agent.id, owner.id)
    assert owner.get("journal/holds").json()["data"] == [held]
    assert hold_every_scope(world.auditor).get("journal/holds").json()["data"] == []
    erase = {"subject": world.agent.id, "reason": "request 12"}
    assert owner.post("journal/erase", erase).status_code == 409
    lifted = owner.post(f"journal/holds/{held['id']}/lift", {}).json()
    assert (lifted["state"], lifted["lifted_by"]) == ("lifted", owner.id)
    assert code_of(owner.post(f"journal/holds/{held['id']}/lift", {})) == (409, "state_changed")
    for bad in ({}, {"reason": "case 4711"}, {"reason": "x", "since": "2026-01-01T00:00:00Z"}):
        assert owner.post("journal/holds", bad).status_code in (400, 422)
    assert LegalHold.objects.count() == 1


def test_a_unit_is_archived_and_restored_by_jobs(
    world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings.PALYRA_JOURNAL_ARCHIVE_DIR = tmp_path
    monkeypatch.setattr(archiving, "UNIT", UNIT)
    owner = fresh(hold_every_scope(world.owner))
    call = world.ask()
    fill(UNIT)
    before = rows_of()
    monkeypatch.setattr(archiving, "retention", lambda: LATER - LATER)

    answer = owner.post("journal/archive", {})

    assert (answer.status_code, answer.json()["kind"]) == (202, "journal_archive")
    assert answer.headers["Location"] == f"/api/v1/jobs/{answer.json()['id']}"
    assert code_of(owner.post("journal/archive", {})) == (409, "conflict")
    done = run_jobs()
    assert (done["state"], done["result"]) == ("succeeded", {"archived": 1, "held": 0}), done
    assert rows_of() == [[], []]
    (listed,) = owner.get("journal/archives").json()["data"]
    assert (listed["state"], listed["first_seq"], listed["end_seq"]) == ("removed", 0, UNIT)
    assert (tmp_path / listed["file"]).exists()
    still_readable(owner, world, call)

    assert code_of(owner.post("journal/archives/7/restore", {})) == (404, "not_found")
    assert owner.post("journal/archives/0/restore", {}).status_code == 202
    assert run_jobs()["state"] == "succeeded"
    assert rows_of() == before
    assert owner.get("journal/archives").json()["data"][0]["state"] == "restored"
    assert hold_every_scope(world.auditor).get("journal/archives").json()["data"] == []


def still_readable(owner: Caller, world: World, call: dict[str, Any]) -> None:
    """Whatever reads events goes on without those that are away."""
    for path in (
        f"runs/{call['run_id']}",
        f"tool-calls/{call['id']}",
        f"approvals/{call['approval']['id']}",
        "approvals/export",
        "journal/events",
        f"journal/events?run={call['run_id']}",
        "posture/events",
    ):
        answer = owner.get(path)
        assert answer.status_code == 200, (path, answer.content)
        b"".join(getattr(answer, "streaming_content", None) or [])
    assert world.agent.propose("demo.ls", {})["state"] == "queued"


def test_a_held_unit_stays_and_the_job_says_so(
    world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings.PALYRA_JOURNAL_ARCHIVE_DIR = tmp_path
    monkeypatch.setattr(archiving, "UNIT", UNIT)
    monkeypatch.setattr(archiving, "retention", lambda: LATER - LATER)
    owner = fresh(hold_every_scope(world.owner))
    fill(UNIT)
    owner.post("journal/holds", {"since": "2020-01-01T00:00:00Z", "reason": "case 4711"})
    assert owner.post("journal/archive", {}).status_code == 202
    done = run_jobs()
    assert (done["state"], done["result"]) == ("succeeded", {"archived": 0, "held": 1})
    assert not JournalArchive.objects.exists()


def test_a_job_that_finds_a_damaged_file_fails_and_removes_nothing(
    world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings.PALYRA_JOURNAL_ARCHIVE_DIR = tmp_path
    monkeypatch.setattr(archiving, "UNIT", UNIT)
    monkeypatch.setattr(archiving, "retention", lambda: LATER - LATER)
    owner = fresh(hold_every_scope(world.owner))
    fill(UNIT)
    owner.post("journal/archive", {})
    run_jobs()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    owner.post("journal/archives/0/restore", {})
    done = run_jobs()
    assert (done["state"], done["error_code"]) == ("failed", "journal.archive_invalid")
    assert rows_of() == [[], []]


def test_what_is_within_the_term_or_kept_for_ever_is_not_archived(world: World, settings: Settings) -> None:
    owner = fresh(hold_every_scope(world.owner))
    assert owner.post("journal/archive", {"before": utc_now().isoformat()}).status_code == 422
    settings.PALYRA_JOURNAL_RETENTION_DAYS = "keep"
    assert code_of(owner.post("journal/archive", {})) == (409, "conflict")
    assert journal_keeping.archive_when_due(utc_now()) == 0
    assert not Job.objects.exists()


def test_a_job_starts_by_itself_once_a_day_while_something_is_old_enough(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "UNIT", UNIT)
    now = utc_now()
    assert journal_keeping.archive_when_due(now + 2 * (LATER - now)) == 0  # nothing is full
    fill(UNIT, now=now)
    assert journal_keeping.archive_when_due(now) == 0  # nothing is old
    late = now + timedelta(days=401)
    assert sweeping._PARTS["archivings_started"](late) == 1
    assert journal_keeping.archive_when_due(late) == 0
    Job.objects.update(state="succeeded", finished_at=late)
    assert journal_keeping.archive_when_due(late) == 0
    assert journal_keeping.archive_when_due(late + 2 * journal_keeping.DAY) == 1


def test_a_witness_s_line_is_added_by_a_reader_who_verifies(world: World, settings: Settings) -> None:
    settings.PALYRA_JOURNAL_WITNESSES = (VKEY,)
    with transaction.atomic():
        made = seal(now=utc_now())
    assert made is not None
    auditor, path = hold_every_scope(world.auditor), f"journal/checkpoints/{made.tree_size}/cosignatures"
    answer = auditor.post(path, {"line": cosigned(made)})
    assert (answer.status_code, answer.json()["witness"]) == (200, WITNESS.name), answer.content
    assert cosigned(made).encode() in auditor.get("journal/checkpoint").content
    assert code_of(auditor.post(path, {"line": cosigned(made)})) == (409, "conflict")
    assert code_of(auditor.post(path, {"line": "— a b"})) == (422, "journal.note_malformed")
    assert code_of(auditor.post("journal/checkpoints/x/cosignatures", {"line": "x"})) == (400, "invalid_id")
