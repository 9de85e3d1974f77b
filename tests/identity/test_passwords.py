"""Setting and changing a password, and the links that let somebody set one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher, make_password
from django.db import connection, transaction
from pytest_django.fixtures import Settings

from identity.backends import MatrixBackend
from identity.models import SetupLink, User
from identity.passwords import change_password, issue_setup_link, link_owner, redeem_setup_link
from identity.sessions import Browser, live_sessions, open_session
from kernel.errors import InvalidError, NotFoundError, PalyraError, RefusedError
from kernel.record import Actor
from tests.builders import RecordedEvents
from tests.cast import NOW, PASSWORD, SYSTEM, Cast, make_cast, principal

pytestmark = pytest.mark.django_db

NEW = "an entirely different phrase"
LAST_MOMENT = NOW + timedelta(hours=72) - timedelta(seconds=1)


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def link_for(user: User, actor: Actor = SYSTEM, record: RecordedEvents | None = None) -> str:
    with transaction.atomic():
        return issue_setup_link(user=user, actor=actor, now=NOW, record=record or RecordedEvents())


def redeem(
    text: str, password: str = NEW, record: RecordedEvents | None = None, now: datetime = LAST_MOMENT
) -> User:
    with transaction.atomic():
        return redeem_setup_link(text=text, password=password, now=now, record=record or RecordedEvents())


def change(user: User, current: str, new: str, keep: str | None = None) -> User:
    actor = Actor(kind="user", id=user.pk, auth="session", surface="console")
    with transaction.atomic():
        return change_password(
            user=user, current=current, new=new, actor=actor, now=NOW, record=RecordedEvents(), keep=keep
        )


def signed_in(user: User) -> None:
    with transaction.atomic():
        open_session(
            user=user, factor=None, code_entered=False, browser=Browser("192.0.2.1"), actor=SYSTEM, now=NOW,
            record=RecordedEvents(),
        )  # fmt: skip


def pointers(error: PalyraError) -> list[str]:
    return [one.pointer for one in error.errors]


def test_a_link_sets_a_password_once_and_its_text_is_stored_nowhere(cast: Cast) -> None:
    record = RecordedEvents()
    text = link_for(cast.stranger, record=record)
    assert text not in str(vars(SetupLink.objects.get())) + str(record.events)
    assert link_owner(text=text, now=LAST_MOMENT) == cast.stranger
    signed_in(cast.stranger)
    redeem(text, record=record, now=NOW)
    assert User.objects.get(pk=cast.stranger.pk).check_password(NEW)
    assert not live_sessions(cast.stranger, NOW).exists()
    assert record.names == ["user.changed", "user.changed", "login_session.ended"]
    with pytest.raises(NotFoundError):
        redeem(text)
    assert link_owner(text=text, now=NOW) is None


def test_a_newer_link_ends_the_older_one_and_so_does_its_time(cast: Cast) -> None:
    older, newer = link_for(cast.stranger), link_for(cast.stranger)
    assert link_owner(text=older, now=NOW) is None
    assert link_owner(text=newer, now=NOW + timedelta(hours=72)) is None
    with pytest.raises(NotFoundError):
        redeem(older)


def test_a_weak_password_leaves_the_link_as_it_was(cast: Cast) -> None:
    text = link_for(cast.stranger)
    weak_ones = ("short", "password1234", "123456789012345", "stranger-123", "x" * 257, "NUL\0NUL\0NUL\0")
    for weak in weak_ones:
        with pytest.raises(InvalidError) as refused:
            redeem(text, weak)
        assert pointers(refused.value) == ["/password"]
    assert redeem(text) == cast.stranger


def test_a_link_does_nothing_for_somebody_who_was_disabled(cast: Cast) -> None:
    text = link_for(cast.stranger)
    User.objects.filter(pk=cast.stranger.pk).update(is_active=False)
    assert link_owner(text=text, now=NOW) is None
    with pytest.raises(NotFoundError):
        redeem(text)


def test_only_who_manages_people_makes_links(cast: Cast) -> None:
    with pytest.raises(RefusedError):
        link_for(cast.stranger, principal(cast.approver, cast.default).actor())
    assert link_for(cast.stranger, principal(cast.owner, cast.default).actor())


def test_a_changed_password_ends_every_other_session_and_the_need_to_change_it(cast: Cast) -> None:
    User.objects.filter(pk=cast.owner.pk).update(must_change_password=True)
    for _ in range(3):
        signed_in(cast.owner)
    kept = live_sessions(cast.owner, NOW)[0].pk
    changed = change(cast.owner, PASSWORD, NEW, keep=kept)
    assert [row.pk for row in live_sessions(cast.owner, NOW)] == [kept]
    assert changed.check_password(NEW)
    assert not User.objects.get(pk=cast.owner.pk).must_change_password


@pytest.mark.parametrize(
    ("current", "new", "pointer"),
    [
        ("wrong", NEW, "/current"),
        ("", NEW, "/current"),
        ("x" * 1000, NEW, "/current"),
        (PASSWORD, PASSWORD, "/password"),
        (PASSWORD, "short", "/password"),
        (PASSWORD, "", "/password"),
    ],
)
def test_a_change_that_is_refused_changes_nothing(cast: Cast, current: str, new: str, pointer: str) -> None:
    signed_in(cast.owner)
    with pytest.raises(InvalidError) as refused:
        change(cast.owner, current, new)
    assert pointers(refused.value) == [pointer]
    assert User.objects.get(pk=cast.owner.pk).check_password(PASSWORD)
    assert live_sessions(cast.owner, NOW).exists()


def test_an_outdated_hash_is_renewed_unless_the_password_changed_meanwhile(
    cast: Cast, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.PASSWORD_HASHERS = [
        *settings.PASSWORD_HASHERS,
        "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    ]
    outdated = make_password(PASSWORD, hasher="pbkdf2_sha256")
    mine = User.objects.filter(pk=cast.stranger.pk)
    mine.update(password=outdated)
    assert MatrixBackend().authenticate(None, cast.stranger.username, PASSWORD) is not None
    assert mine.get().password.startswith("md5$")

    mine.update(password=outdated)
    verify = PBKDF2PasswordHasher.verify

    def replaced_meanwhile(self: PBKDF2PasswordHasher, password: str, encoded: str) -> bool:
        mine.update(password="!taken away")
        return bool(verify(self, password, encoded))

    monkeypatch.setattr(PBKDF2PasswordHasher, "verify", replaced_meanwhile)
    MatrixBackend().authenticate(None, cast.stranger.username, PASSWORD)
    assert mine.get().password == "!taken away"


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_link_redeemed_by_four_at_once_works_once(cast: Cast) -> None:
    text, barrier = link_for(cast.stranger), Barrier(4)

    def attempt(number: int) -> bool:
        try:
            barrier.wait(timeout=30)
            redeem(text, f"{NEW} {number}")
        except NotFoundError:
            return False
        else:
            return True
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(attempt, range(4))) == 1
