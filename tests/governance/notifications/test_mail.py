"""Mail to people who may act, and to nobody else; a mail server that fails changes nothing."""

from __future__ import annotations

import smtplib
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core import mail as outgoing
from django.core.mail.backends.locmem import EmailBackend
from django.db import transaction
from hypothesis import given, settings as examples, strategies as st
from pytest_django.fixtures import Settings

from approvals.break_glass import note_broken
from approvals.grant_ends import remind_of_grant
from approvals.models import ApprovalRequest
from approvals.types import Risk
from governance.journal.ledger import record
from governance.journal.models import JournalEvent
from governance.notifications import mail
from governance.notifications.mail import RETRY_SECONDS, Posting
from governance.notifications.models import MailDelivery, OutboxEvent
from governance.notifications.subscriptions import Wishes, is_quiet, wants, wishes_of
from governance.operations import deliveries, subscriptions, sweeping
from identity.models import User
from kernel.errors import InvalidError, RefusedError
from tests.approvals.asking import DENY, OBLIGATION, answer
from tests.cast import NOW, principal
from tests.governance.notifications.telling import Receiver, World, later

ALL = Wishes(enabled=True)


@pytest.fixture(autouse=True)
def people_have_addresses(world: World) -> None:
    for person in User.objects.all():
        User.objects.filter(pk=person.pk).update(email=f"{person.username}@example.com")


def subscribe(world: World, person: User, wishes: Wishes = ALL) -> Wishes:
    who = principal(person, world.cast.default)
    return subscriptions.subscribe(principal=who, wishes=wishes, now=NOW)


def tell(now: datetime = NOW) -> list[str]:
    """Run the worker; return who was written to, from its first to its last mail."""
    receiver = Receiver()
    receiver.run(now)
    return [posting.message.to[0] for posting in receiver.mails]


def test_those_who_asked_and_may_answer_are_written_to(world: World) -> None:
    cast = world.cast
    for person in (cast.approver, cast.owner, cast.auditor, cast.agent_owner):
        subscribe(world, person)
    subscribe(world, cast.second_approver, Wishes(enabled=False))
    world.ask()
    assert sorted(tell()) == ["approver@example.com", "owner@example.com"]
    assert tell(later(hours=1)) == [], "once"


def test_the_owner_of_the_agent_is_not_written_to_about_its_requests(world: World) -> None:
    subscribe(world, world.cast.approver)
    subscribe(world, world.cast.second_approver)
    world.ask(requester_owner_id=world.cast.approver.pk)
    assert tell() == ["second-approver@example.com"]


@pytest.mark.parametrize(
    ("wishes", "written"),
    [
        (ALL, True),
        (Wishes(enabled=False), False),
        (replace(ALL, minimum_risk="medium"), True),
        (replace(ALL, minimum_risk="high"), False),
        (replace(ALL, subject_types=("skill", "tool")), True),
        (replace(ALL, subject_types=("skill",)), False),
        (replace(ALL, quiet_from=9 * 60, quiet_to=10 * 60), False),
        (replace(ALL, quiet_from=9 * 60, quiet_to=10 * 60, time_zone="Asia/Tokyo"), True),
        (replace(ALL, quiet_from=22 * 60, quiet_to=7 * 60), True),
    ],
)
def test_wishes_are_kept(world: World, wishes: Wishes, written: bool) -> None:
    """It is half past nine, and the risk is medium."""
    subscribe(world, world.cast.approver, wishes)
    world.ask()
    assert bool(tell()) is written


def test_a_critical_request_passes_quiet_hours() -> None:
    quiet = replace(ALL, quiet_from=0, quiet_to=1_439, minimum_risk=Risk.LOW)
    for risk in Risk:
        assert wants(quiet, risk=risk, subject_type="tool", now=NOW) is (risk is Risk.CRITICAL)
    off = replace(quiet, enabled=False)
    assert not wants(off, risk="critical", subject_type="tool", now=NOW)


def test_a_mail_tells_ids_and_a_link_and_nothing_else(world: World) -> None:
    secret = "hunter2-hunter2"
    subscribe(world, world.cast.approver)
    asked = world.ask(
        context={"title": secret, "parameters_view": {"a": secret}},
        subject_label=secret,
        tool=f"a\nBcc: {secret}",
    )
    receiver = Receiver()
    receiver.run()
    message = receiver.mails[0].message
    sent = message.message().as_string()
    assert secret not in sent
    assert asked.pk in message.subject
    assert f"/admin/approvals/{asked.pk}/" in message.body
    assert message.body.count("http") == 1, "one link, to the page and to no verb"
    assert "allow" not in sent.lower()


def test_no_header_can_be_slipped_in(world: World) -> None:
    subscribe(world, world.cast.approver)
    User.objects.filter(pk=world.cast.approver.pk).update(email="a@example.com\nBcc: evil@example.com")
    world.ask()
    event = OutboxEvent.objects.get()
    message = mail.compose(event, "a@example.com\nBcc: evil@example.com")
    assert mail.send(message) == "BadHeaderError"
    assert outgoing.outbox == []
    receiver = Receiver()
    receiver.run()
    assert mail.send(receiver.mails[0].message) == "BadHeaderError"


def test_what_is_answered_meanwhile_is_not_written_about(world: World) -> None:
    subscribe(world, world.cast.approver)
    asked = world.ask()
    deliveries.fan_out(event_id=OutboxEvent.objects.get().pk, now=NOW)
    answer(world.cast, world.cast.second_approver, asked, DENY)
    assert tell() == []
    assert MailDelivery.objects.get().error == "outdated"


def test_who_lost_the_right_meanwhile_is_not_written_to(world: World) -> None:
    subscribe(world, world.cast.approver)
    world.ask()
    deliveries.fan_out(event_id=OutboxEvent.objects.get().pk, now=NOW)
    world.cast.approver.memberships.all().delete()
    assert tell() == []


@pytest.mark.parametrize("change", [{"email": ""}, {"is_active": False}])
def test_who_cannot_be_reached_costs_nothing(world: World, change: dict[str, Any]) -> None:
    subscribe(world, world.cast.approver)
    world.ask()
    deliveries.fan_out(event_id=OutboxEvent.objects.get().pk, now=NOW)
    User.objects.filter(pk=world.cast.approver.pk).update(**change)
    assert tell() == []
    assert MailDelivery.objects.get().state == "failed"


def test_a_server_that_fails_is_tried_again_and_then_given_up(world: World) -> None:
    subscribe(world, world.cast.approver)
    asked = world.ask(timeout_s=86_400, obligation=replace(OBLIGATION, timeout_s=86_400))
    before = ApprovalRequest.objects.filter(pk=asked.pk).values().get()
    receiver, now = Receiver(mail_errors=["SMTPServerDisconnected"]), NOW
    for wait in (0, *RETRY_SECONDS, 86_400):
        now += timedelta(seconds=wait)
        receiver.run(now)
    row = MailDelivery.objects.get()
    assert (row.state, row.attempt, row.error) == ("abandoned", 5, "SMTPServerDisconnected")
    assert len(receiver.mails) == len(RETRY_SECONDS) + 1
    assert ApprovalRequest.objects.filter(pk=asked.pk).values().get() == before


def test_a_mail_that_cannot_be_taken_keeps_no_other_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribe(world, world.cast.approver)
    world.ask()
    world.ask(now=later(seconds=1))
    claim_mail, refused = deliveries.claim_mail, list[int]()

    def claim(*, mail_id: int, now: datetime) -> Posting | None:
        if not refused or mail_id in refused:
            refused.append(mail_id)
            raise KeyError("a fact that no mail can do without")
        return claim_mail(mail_id=mail_id, now=now)

    monkeypatch.setattr(deliveries, "claim_mail", claim)
    receiver = Receiver()
    receiver.run(later(seconds=2))
    assert len(refused) == 1
    assert [posting.mail_id for posting in receiver.mails] != refused
    assert sorted(MailDelivery.objects.values_list("state", flat=True)) == ["delivered", "pending"]


def test_a_fault_of_the_server_is_a_code(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    subscribe(world, world.cast.approver)
    world.ask()
    message = mail.compose(OutboxEvent.objects.get(), "a@example.com")

    def refuse(*_: object) -> int:
        raise smtplib.SMTPRecipientsRefused({"a@example.com": (550, b"no such person")})

    monkeypatch.setattr(EmailBackend, "send_messages", refuse)
    assert mail.send(message) == "SMTPRecipientsRefused"
    monkeypatch.setattr(EmailBackend, "send_messages", lambda *_: 0)
    assert mail.send(message) == "not_sent"


def test_without_a_server_mail_is_a_private_file(world: World, settings: Settings, tmp_path: Path) -> None:
    settings.EMAIL_BACKEND, settings.EMAIL_FILE_PATH = mail.FILES, str(tmp_path / "mail")
    subscribe(world, world.cast.approver)
    asked = world.ask()
    assert mail.send(mail.compose(OutboxEvent.objects.get(), "a@example.com")) == ""
    folder = tmp_path / "mail"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (file,) = folder.iterdir()
    assert asked.pk in file.read_text()


def test_an_emergency_is_told_to_the_owners_at_once_whatever_they_wished(world: World) -> None:
    """Nobody listens to anything else here."""
    subscribe(world, world.cast.owner, replace(ALL, enabled=False, quiet_from=0, quiet_to=1_439))
    asked = world.ask()
    with transaction.atomic():
        note_broken(asked, principal(world.cast.owner, world.cast.default), NOW, record)
    assert tell() == ["owner@example.com"]
    event = OutboxEvent.objects.get()
    assert (event.type, event.body["data"]["break_glass"]) == ("approval.break_glass", True)


def test_the_person_behind_a_lasting_grant_is_told_that_it_ends_soon(world: World) -> None:
    asked = world.ask()
    grant = answer(world.cast, world.cast.approver, asked).grant
    assert grant is not None
    with transaction.atomic():
        remind_of_grant(grant_id=grant.pk, now=later(seconds=10), record=record)
    receiver = Receiver()
    receiver.run(later(seconds=11))
    assert [posting.message.to for posting in receiver.mails] == [["agent-owner@example.com"]]
    assert f"grant {grant.pk} ends soon" in receiver.mails[0].message.subject


def test_half_of_the_time_unopened_is_a_reminder_once(world: World) -> None:
    subscribe(world, world.cast.approver)
    opened, forgotten = world.ask(), world.ask()
    ApprovalRequest.objects.filter(pk=opened.pk).update(seen_at=later(seconds=10))
    assert len(tell()) == 2
    assert sweeping.sweep(later(seconds=299))["approvals_reminded"] == 0
    assert sweeping.sweep(later(seconds=300))["approvals_reminded"] == 1
    assert sweeping.sweep(later(seconds=310))["approvals_reminded"] == 0
    event = JournalEvent.objects.get(type="approval.reminded")
    assert (event.subject, event.actor) == (forgotten.pk, "system")
    assert tell(later(seconds=311)) == ["approver@example.com"]
    assert ApprovalRequest.objects.get(pk=forgotten.pk).reminded_at == later(seconds=300)


def test_nobody_is_reminded_of_what_is_over(world: World) -> None:
    denied, late = world.ask(), world.ask()
    answer(world.cast, world.cast.approver, denied, DENY, record=record)  # type: ignore[arg-type]  # the real one
    assert sweeping.sweep(later(seconds=600))["approvals_reminded"] == 0
    assert ApprovalRequest.objects.get(pk=late.pk).status == "expired"


@pytest.mark.parametrize(
    "wishes",
    [
        Wishes(minimum_risk="extreme"),
        Wishes(subject_types=("everything",)),
        Wishes(quiet_from=1),
        Wishes(quiet_to=1),
        Wishes(quiet_from=60, quiet_to=60),
        Wishes(quiet_from=-1, quiet_to=60),
        Wishes(quiet_from=0, quiet_to=1_440),
        Wishes(time_zone="Mars/Olympus"),
        Wishes(time_zone=""),
        Wishes(time_zone="../../etc/passwd"),
        Wishes(time_zone="Europe"),
    ],
)
def test_wishes_that_cannot_be_meant_are_refused(world: World, wishes: Wishes) -> None:
    with pytest.raises(InvalidError):
        subscribe(world, world.cast.approver, wishes)
    assert wishes_of(world.cast.approver.pk, world.cast.default.pk) == Wishes()


def test_a_subscription_is_kept_with_its_event(world: World) -> None:
    wishes = Wishes(True, "high", ("skill", "tool"), 60, 120, "Europe/Berlin")
    assert subscribe(world, world.cast.approver, wishes) == wishes
    assert wishes_of(world.cast.approver.pk, world.cast.default.pk) == wishes
    assert wishes_of(world.cast.approver.pk, world.cast.instance.pk) == Wishes()
    assert JournalEvent.objects.filter(type="subscription.changed").count() == 1


def test_who_has_no_role_subscribes_to_nothing(world: World) -> None:
    with pytest.raises(RefusedError, match="role_required"):
        subscribe(world, world.cast.stranger)


@examples(max_examples=100, deadline=None)
@given(st.integers(0, 1_439), st.integers(0, 1_439), st.integers(0, 1_439))
def test_quiet_hours_and_the_rest_of_the_day_are_each_other_s_complement(
    start: int, end: int, at: int
) -> None:
    if start == end:
        return
    now = datetime(2026, 3, 2, at // 60, at % 60, tzinfo=UTC)
    night, day = Wishes(quiet_from=start, quiet_to=end), Wishes(quiet_from=end, quiet_to=start)
    assert is_quiet(night, now) is not is_quiet(day, now)
    assert not is_quiet(Wishes(), now)
