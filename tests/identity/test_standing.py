"""People who are disabled, enabled, changed or have lost their authenticator."""

from __future__ import annotations

import pytest
from django.db import transaction

from identity.factors import verify_totp
from identity.liveness import principal_for_agent_live
from identity.models import ConsoleSession, SetupLink, TotpFactor, User
from identity.oidc_accounts import link_account, unlink_account
from identity.passwords import link_owner, redeem_setup_link
from identity.people import change_user, create_user, disable_user, enable_user, reset_factor
from identity.roles import WorkspaceRole as Role
from kernel.errors import ConflictError, InvalidError, NotFoundError, PreconditionFailedError, RefusedError
from kernel.record import Actor
from tests.builders import RecordedEvents
from tests.cast import NOW, PASSWORD, SYSTEM, Cast, enrol, make_cast, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def acting(user: User) -> Actor:
    return Actor(kind="user", id=user.pk, auth="session", surface="console")


def now_of(user: User) -> User:
    return User.objects.get(pk=user.pk)


def disable(user: User, actor: Actor) -> RecordedEvents:
    record = RecordedEvents()
    with transaction.atomic():
        disable_user(user_id=user.pk, reason="left", actor=actor, now=NOW, record=record)
    return record


def enable(user: User, actor: Actor) -> None:
    with transaction.atomic():
        enable_user(user_id=user.pk, reason="back", actor=actor, now=NOW, record=RecordedEvents())


def reset(user: User, actor: Actor) -> tuple[RecordedEvents, str]:
    record = RecordedEvents()
    with transaction.atomic():
        _, text = reset_factor(user_id=user.pk, reason="lost", actor=actor, now=NOW, record=record)
    return record, text


def log_in(user: User) -> ConsoleSession:
    return ConsoleSession.objects.create(
        key_digest=user.pk[-20:], user=user, data="", created_at=NOW, seen_at=NOW,
        expires_at=NOW.replace(hour=23),
        absolute_expires_at=NOW.replace(year=2027), ip="127.0.0.1",
    )  # fmt: skip


def test_a_disabled_person_loses_sessions_agents_and_the_present_authority(cast: Cast) -> None:
    session = log_in(cast.agent_owner)
    before = now_of(cast.agent_owner)
    record = disable(cast.agent_owner, acting(cast.owner))
    after = now_of(cast.agent_owner)
    assert (after.is_active, after.authority_epoch) == (False, before.authority_epoch + 1)
    session.refresh_from_db()
    assert session.ended_at == NOW
    assert principal_for_agent_live(agent_id=cast.agent.pk, now=NOW) is None
    assert "user.disabled" in record.names
    enable(cast.agent_owner, acting(cast.owner))
    assert principal_for_agent_live(agent_id=cast.agent.pk, now=NOW) is not None


def test_the_last_owner_keeps_the_only_account_they_sign_in_with(cast: Cast) -> None:
    def unlink() -> None:
        with transaction.atomic():
            unlink_account(user=cast.owner, actor=SYSTEM, now=NOW, record=RecordedEvents())

    with transaction.atomic():
        link_account(
            user=cast.owner, issuer="https://id.example.com", subject="sub-1", actor=SYSTEM, now=NOW,
            record=RecordedEvents(),
        )  # fmt: skip
    password = cast.owner.password
    User.objects.filter(pk=cast.owner.pk).update(password="!none")
    with pytest.raises(ConflictError, match="last_owner"):
        unlink()
    assert now_of(cast.owner).oidc_subject == "sub-1"
    User.objects.filter(pk=cast.owner.pk).update(password=password)
    unlink()
    assert (now_of(cast.owner).oidc_subject, now_of(cast.owner).can_log_in) == (None, True)


def test_nobody_disables_themselves_or_the_last_owner_of_anything(cast: Cast) -> None:
    second = make_user("second-owner", Role.OWNER, workspace=cast.instance)
    with pytest.raises(RefusedError):
        disable(cast.owner, acting(cast.owner))
    head = make_user("head", Role.OWNER, workspace=cast.default)
    with pytest.raises(ConflictError) as refusal:
        disable(head, acting(cast.owner))
    assert refusal.value.code == "last_owner"
    disable(cast.owner, acting(second))
    with pytest.raises(ConflictError) as refusal:
        disable(second, SYSTEM)
    assert refusal.value.code == "last_owner"


def test_only_an_owner_of_the_instance_disables_enables_and_resets(cast: Cast) -> None:
    admin = make_user("admin", Role.ADMIN, workspace=cast.instance)
    local = make_user("head", Role.OWNER, workspace=cast.default)
    for actor in (acting(admin), acting(local), Actor("agent", cast.agent.pk, "token", "api")):
        for verb in (disable, enable, reset):
            with pytest.raises(RefusedError):
                verb(cast.stranger, actor)


def test_each_move_needs_its_state(cast: Cast) -> None:
    with pytest.raises(ConflictError):
        enable(cast.stranger, acting(cast.owner))
    disable(cast.stranger, acting(cast.owner))
    for verb in (disable, reset):
        with pytest.raises(ConflictError):
            verb(cast.stranger, acting(cast.owner))
    with pytest.raises(NotFoundError):
        disable(User(id="usr_none"), acting(cast.owner))


def test_a_reset_leaves_nothing_to_log_in_with_but_the_link(cast: Cast) -> None:
    enrol(cast.approver)
    session = log_in(cast.approver)
    record, text = reset(cast.approver, acting(cast.owner))
    after = now_of(cast.approver)
    assert not after.check_password(PASSWORD)
    assert not after.can_log_in
    assert not TotpFactor.objects.filter(user=cast.approver).exists()
    assert not verify_totp(user=after, code="000000", now=NOW)
    session.refresh_from_db()
    assert session.ended_at == NOW
    assert after.authority_epoch > cast.approver.authority_epoch
    assert "factor.reset" in record.names
    assert text not in str(record.events)
    with transaction.atomic():
        redeem_setup_link(text=text, password="another long sentence", now=NOW, record=RecordedEvents())
    assert now_of(cast.approver).can_log_in


def test_a_reset_is_for_others_and_for_people_who_log_in(cast: Cast) -> None:
    second = make_user("second-owner", Role.OWNER, workspace=cast.instance)
    with pytest.raises(RefusedError):
        reset(cast.owner, acting(cast.owner))
    never = make_user("never", workspace=cast.default, password=None)
    with pytest.raises(ConflictError):
        reset(never, acting(cast.owner))
    reset(second, acting(cast.owner))
    with pytest.raises(ConflictError) as refusal:
        reset(cast.owner, acting(second))
    assert refusal.value.code == "last_owner"
    reset(second, acting(cast.owner))


def test_a_link_of_a_disabled_person_is_dead_after_they_come_back(cast: Cast) -> None:
    _, text = reset(cast.approver, acting(cast.owner))
    disable(cast.approver, acting(cast.owner))
    enable(cast.approver, acting(cast.owner))
    assert link_owner(text=text, now=NOW) is None
    assert SetupLink.objects.filter(user=cast.approver).exists()
    _, fresh = reset(cast.approver, acting(cast.owner))
    assert link_owner(text=fresh, now=NOW) == cast.approver


def change(user: User, seen: int | None = None, **changes: str) -> RecordedEvents:
    return apply(user, changes, seen)


def apply(user: User, changes: dict[str, str], seen: int | None = None) -> RecordedEvents:
    record = RecordedEvents()
    with transaction.atomic():
        change_user(user_id=user.pk, changes=changes, seen_version=seen, actor=SYSTEM, now=NOW, record=record)
    return record


def test_what_is_written_about_a_person_is_changed_as_it_was_seen(cast: Cast) -> None:
    record = change(cast.stranger, seen=1, email="s@example.com", display_name=" Some One ")
    after = now_of(cast.stranger)
    assert (after.email, after.display_name, after.version) == ("s@example.com", "Some One", 2)
    assert record.events[0].data == {"changes": ["display_name", "email"]}
    assert change(cast.stranger, seen=2, display_name="Some One").events == []
    with pytest.raises(PreconditionFailedError):
        change(cast.stranger, seen=1, display_name="Late")
    change(cast.stranger, display_name="", email="")
    assert now_of(cast.stranger).email == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"email": "nobody"},
        {"email": "a@b\n.example.com"},
        {"email": "a" * 250 + "@example.com"},
        {"display_name": "  "},
        {"display_name": "x" * 121},
        {"display_name": "evil\u202egnp"},
        {"display_name": "two\nlines"},
        {"username": "other"},
        {"is_active": "true"},
        {"password": "x"},
    ],
)
def test_bad_changes_are_refused(cast: Cast, changes: dict[str, str]) -> None:
    with pytest.raises(InvalidError):
        apply(cast.stranger, changes)
    assert now_of(cast.stranger).version == 1


@pytest.mark.parametrize(("email", "name"), [("nobody", ""), ("", "\u200b"), ("", "a\0b")])
def test_a_person_is_created_within_the_rules(cast: Cast, email: str, name: str) -> None:
    with pytest.raises(InvalidError), transaction.atomic():
        create_user(
            username="somebody", password=None, email=email, display_name=name, actor=SYSTEM, now=NOW,
            record=RecordedEvents(),
        )  # fmt: skip
