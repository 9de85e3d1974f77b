"""The page that says whether the journal holds: alarms, the verification, keys, and what lies beside."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from pytest_django.fixtures import Settings
from pytest_django.plugin import DjangoDbBlocker

from governance.jobs.journal_verifying import VERIFY
from governance.journal import checkpoint_log, note
from governance.journal.findings import Code, Finding, Report
from governance.journal.models import JournalArchive, JournalEvent, JournalKey, LegalHold
from governance.journal.sealing import seal
from governance.journal.sealing_state import newest_checkpoint
from governance.models import Job
from identity.models import User, Workspace
from identity.roles import WorkspaceRole
from kernel.clock import utc_now
from kernel.errors import UnavailableError
from tests.cast import enrol, make_user
from tests.governance.admin.posting import form_on
from tests.governance.admin.world import World, make_world, propose, sign_in
from tests.module_worlds import rolled_back

PATH = "/admin/journal/integrity/"


@pytest.fixture(scope="module")
def founded(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[tuple[World, User]]:
    with rolled_back(django_db_blocker):
        world = make_world()
        instance = Workspace.objects.get(slug="instance")
        guardian = make_user("guardian", WorkspaceRole.OWNER, workspace=instance)
        enrol(guardian)
        seal(now=utc_now())
        yield world, guardian


@pytest.fixture
def world(founded: tuple[World, User], db: None) -> World:
    return founded[0]


@pytest.fixture
def guardian(founded: tuple[World, User], db: None, settings: Settings, tmp_path: Path) -> Client:
    settings.PALYRA_HOME = tmp_path
    return sign_in(founded[1])


def html_of(client: Client, path: str = PATH) -> str:
    return client.get(path).content.decode()


def reported(*findings: Finding) -> Job:
    """Store a verification that ended with these findings."""
    report, now = Report(0, 7, 7, events=7), utc_now()
    for one in findings:
        report.add(one)
    return Job.objects.create(
        id="job_01ARZ3NDEKTSV4RRFFQ69G5FAV", kind=VERIFY, state="succeeded", workspace_id="wsp_1",
        subject="0-", result=report.to_json(), started_by="system", created_at=now, finished_at=now,
    )  # fmt: skip


def test_an_untouched_journal_has_a_checkpoint_keys_and_no_alarm(guardian: Client) -> None:
    html = html_of(guardian)
    checkpoint = newest_checkpoint()
    assert checkpoint is not None
    assert f"<b>{checkpoint.tree_size}</b>" in html
    assert bytes(checkpoint.root).hex() in html
    for key_id in JournalKey.objects.values_list("pk", flat=True):
        assert key_id in html
    assert "Nobody has verified this journal yet" in html
    assert "Nothing is archived" in html
    assert "No holds" in html
    assert 'role="alert"' not in html


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("journal_inconsistent", "The journal is not what was signed"),
        ("journal_sealing_stalled", "stands still"),
    ],
)
def test_an_alarm_stands_on_home_the_timeline_and_the_page(
    guardian: Client, monkeypatch: pytest.MonkeyPatch, code: str, word: str
) -> None:
    refusal = UnavailableError(code, "It does not go on.")
    monkeypatch.setattr("governance.journal.sealing_state.refusal", lambda now: refusal)
    for path in (PATH, "/admin/journal/", "/admin/"):
        html = html_of(guardian, path)
        assert 'role="alert"' in html, path
        assert PATH in html
    assert word in html_of(guardian)


def test_what_waits_too_long_stalls_by_itself(world: World, guardian: Client) -> None:
    propose(world.kept, "no.such.tool", {})
    late = utc_now() + timedelta(seconds=30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("governance.admin.access.utc_now", lambda: late)
        assert "Sealing lags" in html_of(guardian)
        patch.setattr("governance.admin.access.utc_now", lambda: late + timedelta(seconds=60))
        assert "Sealing stands still" in html_of(guardian)


def test_a_verification_starts_by_post_once_and_is_shown_while_it_runs(guardian: Client) -> None:
    form = form_on(guardian, PATH, f"{PATH}verify/").hidden
    assert guardian.get(f"{PATH}verify/").status_code == 405
    answer = guardian.post(f"{PATH}verify/", form | {"scope": "everything"}, follow=True)
    assert "The verification runs in the background." in answer.content.decode()
    guardian.post(f"{PATH}verify/", form | {"scope": "everything"})
    (job,) = Job.objects.filter(kind=VERIFY)
    html = html_of(guardian)
    assert "Queued" in html
    assert "A verification waits or runs already." in html
    Job.objects.filter(pk=job.pk).update(state="running", done=3, total=9)
    assert "3 of 9 events read" in html_of(guardian)
    assert '<progress max="9" value="3"' in html_of(guardian)


def test_who_stands_in_one_workspace_starts_none_and_sees_no_report(world: World, guardian: Client) -> None:
    reported(Finding(Code.CHAIN_BREAK, 4, None, "the link is not that of its leaf"))
    auditor = sign_in(world.auditor)
    html = html_of(auditor)
    assert "chain_break" not in html
    assert "needs a role in all of it" in html
    answer = auditor.post(f"{PATH}verify/", {"intent": "0" * 32, "scope": "everything"})
    assert answer.status_code == 403
    assert Job.objects.filter(kind=VERIFY).count() == 1
    for person in (world.viewer, world.operator, world.approver):
        assert sign_in(person).get(PATH).status_code == 403


def test_findings_are_listed_with_their_number_and_event(guardian: Client) -> None:
    event = JournalEvent.objects.order_by("pk").values_list("pk", flat=True)[0]
    reported(
        Finding(Code.LEAF_MISMATCH, 4, event, "<script>alert(1)</script>"),
        Finding(Code.TRIGGER_MISSING, None, None, "journalevent has no guard against DELETE"),
        Finding(Code.EVENT_INSERTED, None, "odd id", "neither sealed nor waiting"),
        Finding(Code.ERASED, 2, None, "erased"),
    )
    html = html_of(guardian)
    assert "3 findings" in html
    assert "<code>odd id</code>" in html
    assert "leaf_mismatch" in html
    assert f"/admin/journal/{event}/" in html
    assert "trigger_missing" in html
    assert "<script>alert" not in html


def test_a_failed_verification_says_why_and_keeps_the_last_report(guardian: Client) -> None:
    job = reported()
    assert "No findings" in html_of(guardian)
    now = utc_now()
    Job.objects.create(
        id="job_7ZZZZZZZZZZZZZZZZZZZZZZZZZ", kind=VERIFY, state="failed", workspace_id="wsp_1", subject="0-",
        error_code="not_ready", message="The vault cannot open payloads now.", started_by="system",
        created_at=now, finished_at=now,
    )  # fmt: skip
    html = html_of(guardian)
    assert "The vault cannot open payloads now." in html
    assert "No findings" in html
    assert job.pk not in html.partition("data-live")[0]


def test_the_log_of_checkpoints_is_compared_with_the_database(guardian: Client) -> None:
    checkpoint = newest_checkpoint()
    assert checkpoint is not None
    assert ">Missing<" in html_of(guardian)
    assert not checkpoint_log.path().exists()  # looking at a page makes no file
    checkpoint_log.append(checkpoint.note)
    assert ">Present<" in html_of(guardian)
    found = note.parse(checkpoint.note)
    ahead = checkpoint.note.replace(f"\n{found.size}\n", f"\n{found.size + 5}\n", 1)
    checkpoint_log.append(ahead)
    assert ">Ahead of the database<" in html_of(guardian)
    checkpoint_log.path().write_text("no line of a log\n")
    assert ">Unreadable<" in html_of(guardian)


def test_archives_holds_and_ended_keys_are_told_apart(world: World, guardian: Client) -> None:
    now = utc_now()
    JournalArchive.objects.create(
        first_seq=0, end_seq=65_536, uri="unit-0.zip", sha256="0" * 64, bytes=1 << 20, verified_at=now,
        removed_at=now, event="evt_1",
    )  # fmt: skip
    LegalHold.objects.create(
        id="hld_1", subject=world.kept.pk, reason="case \u202e4711", set_by=world.owner.pk, set_at=now
    )
    LegalHold.objects.create(
        id="hld_2", since=now, reason="over", set_by=world.owner.pk, set_at=now, lifted_at=now,
        lifted_by=world.owner.pk,
    )  # fmt: skip
    JournalKey.objects.filter(purpose="checkpoint").update(retired_at=now, revoked_at=now)
    html = html_of(guardian)
    assert "0 to before 65536" in html
    assert "Archived" in html
    assert "case ⟦U+202E⟧4711" in html
    assert html.index("kept-agent") < html.index("Lifted")
    assert "Revoked" in html
    auditor = html_of(sign_in(world.auditor))
    assert "unit-0.zip" not in auditor
    assert "4711" not in auditor
