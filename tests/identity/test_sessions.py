"""Console sessions: what is stored, how long they last, and what makes them fresh."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier

import pytest
import time_machine
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import UpdateError
from django.core import signing
from django.db import connection, transaction

from identity.models import ConsoleSession, TotpFactor, User
from identity.session_store import ANONYMOUS_PREFIX, ANONYMOUS_SALT, SessionStore, digest_of
from identity.sessions import (
    Browser,
    elevate_session,
    end_session,
    end_sessions,
    live_sessions,
    open_session,
    own_digest,
    principal_of_session,
    sweep,
)
from identity.types import AuthStrength, Principal
from kernel.errors import AuthenticationError, NotFoundError
from kernel.record import Actor
from tests.builders import RecordedEvents
from tests.cast import NOW, Cast, enrol, make_cast

pytestmark = pytest.mark.django_db

IP = "192.0.2.7"
SELF = Actor(kind="user", id="usr_x", auth="session", surface="console")


@pytest.fixture
def cast() -> Cast:
    cast = make_cast()
    enrol(cast.owner)
    cast.owner.refresh_from_db()  # the roles that were granted raised its epoch
    return cast


@pytest.fixture(autouse=True)
def at_now() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


def signed_in(
    user: User, *, at: datetime = NOW, entered: bool = True, record: RecordedEvents | None = None
) -> str:
    factor = TotpFactor.objects.filter(user=user).first()
    with transaction.atomic():
        return open_session(
            user=user,
            factor=factor,
            code_entered=entered,
            browser=Browser(ip=IP, user_agent="A" * 300),
            actor=SELF,
            now=at,
            record=record or RecordedEvents(),
        )


def after(**length: float) -> datetime:
    return NOW + timedelta(**length)


def is_live(key: str, at: datetime) -> bool:
    with time_machine.travel(at, tick=False):
        return SESSION_KEY in SessionStore(key)


def seen(
    user: User, key: str, at: datetime = NOW, ip: str = IP, *, verified: bool = True, workspace: str = "wsp_1"
) -> Principal:
    with time_machine.travel(at, tick=False):
        return principal_of_session(
            user=user,
            session=SessionStore(key),
            verified=verified,
            workspace_id=workspace,
            client_ip=ip,
            request_id="req_1",
            now=at,
        )


def strength(
    user: User, key: str, at: datetime = NOW, ip: str = IP, *, verified: bool = True
) -> AuthStrength:
    return seen(user, key, at, ip, verified=verified).auth_strength


def test_the_cookie_is_256_random_bits_and_stands_nowhere(cast: Cast) -> None:
    keys = {signed_in(cast.owner) for _ in range(3)}
    assert {len(base64.urlsafe_b64decode(f"{key}=")) for key in keys} == {32}
    for row in ConsoleSession.objects.all():
        text = str(vars(row)) + str(SessionStore().decode(row.data))
        assert not [key for key in keys if key in text]
        assert row.user_agent == "A" * 200
    assert {row.pk for row in ConsoleSession.objects.all()} == {digest_of(key) for key in keys}


@pytest.mark.parametrize("key", ["", "x", "chosen-by-somebody-else-12345678901", "a\0b", "\ud800" * 9])
def test_a_cookie_that_names_no_session_is_empty_and_never_taken_over(key: str) -> None:
    store = SessionStore(key)
    assert dict(store.items()) == {}
    store["seen"] = "once"
    store.save()
    assert store.session_key != key
    assert (store.session_key or "").startswith(ANONYMOUS_PREFIX)
    assert dict(SessionStore(store.session_key).items()) == {"seen": "once"}
    assert ConsoleSession.objects.count() == 0


def test_who_is_not_signed_in_carries_their_values_signed(cast: Cast) -> None:
    store = SessionStore()
    store["color"] = "dark"
    store.save()
    key = store.session_key or ""
    assert dict(SessionStore(key[:-1] + ("A" if key[-1] != "A" else "B")).items()) == {}
    assert dict(SessionStore(ANONYMOUS_PREFIX).items()) == {}
    with time_machine.travel(after(hours=13), tick=False):
        assert dict(SessionStore(key).items()) == {}


def test_nobody_signs_in_by_a_signed_cookie(cast: Cast) -> None:
    store = SessionStore()
    store[SESSION_KEY] = cast.owner.pk
    with pytest.raises(ValueError, match="signs somebody in"):
        store.save()
    forged = ANONYMOUS_PREFIX + signing.dumps({SESSION_KEY: cast.owner.pk}, salt=ANONYMOUS_SALT)
    assert SESSION_KEY not in SessionStore(forged)


def test_a_session_ends_half_an_hour_after_the_last_page(cast: Cast) -> None:
    key = signed_in(cast.owner)
    assert is_live(key, after(minutes=29, seconds=59))
    assert not is_live(key, after(minutes=30))


def test_it_slides_and_is_written_at_most_once_a_minute(cast: Cast) -> None:
    key = signed_in(cast.owner)
    for second in (10, 59, 60, 100, 119):
        with time_machine.travel(after(seconds=second), tick=False):
            SessionStore(key).touch(after(seconds=second))
    row = ConsoleSession.objects.get()
    assert (row.seen_at, row.expires_at) == (after(seconds=60), after(minutes=31))
    assert is_live(key, after(minutes=30, seconds=59))


def test_nothing_lasts_longer_than_twelve_hours(cast: Cast) -> None:
    key = signed_in(cast.owner)
    for minute in range(0, 12 * 60, 20):
        with time_machine.travel(after(minutes=minute), tick=False):
            SessionStore(key).touch(after(minutes=minute))
    assert ConsoleSession.objects.get().expires_at == after(hours=12)
    assert is_live(key, after(hours=11, minutes=59))
    assert not is_live(key, after(hours=12))


def test_the_eleventh_session_ends_the_oldest(cast: Cast) -> None:
    record = RecordedEvents()
    keys = [signed_in(cast.owner, at=after(seconds=number), record=record) for number in range(11)]
    other = signed_in(cast.agent_owner, at=after(seconds=20), entered=False, record=record)
    live = [key for key in keys if is_live(key, after(seconds=30))]
    assert live == keys[1:]
    assert is_live(other, after(seconds=30))
    assert record.names == ["login_session.ended"]
    assert record.events[0].data == {"reason": "limit", "count": 1}


def test_a_new_key_opens_the_same_session_and_the_old_one_nothing(cast: Cast) -> None:
    key = signed_in(cast.owner)
    store = SessionStore(key)
    store["color"] = "dark"
    store.cycle_key()
    store.save()
    assert store.session_key != key
    assert not is_live(key, NOW)
    assert SessionStore(store.session_key)["color"] == "dark"
    assert ConsoleSession.objects.count() == 1


def test_what_ended_is_not_brought_back_by_a_page_that_was_under_way(cast: Cast) -> None:
    store = SessionStore(signed_in(cast.owner))
    assert SESSION_KEY in store
    with transaction.atomic():
        end_sessions(user=cast.owner, reason="x", actor=SELF, now=NOW, record=RecordedEvents())
    store["color"] = "dark"
    for late in (store.save, store.cycle_key):
        with pytest.raises(UpdateError):
            late()
    store.touch(after(seconds=61))
    assert not live_sessions(cast.owner, NOW).exists()


def test_ending_all_but_one_leaves_that_one_and_one_event(cast: Cast) -> None:
    keys, record = [signed_in(cast.owner) for _ in range(3)], RecordedEvents()
    other = signed_in(cast.agent_owner, entered=False)
    with transaction.atomic():
        ended = end_sessions(
            user=cast.owner, reason="x", actor=SELF, now=NOW, record=record, keep=digest_of(keys[1])
        )
        again = end_sessions(
            user=cast.owner, reason="x", actor=SELF, now=NOW, record=record, keep=digest_of(keys[1])
        )
    assert (ended, again) == (2, 0)
    assert [is_live(key, NOW) for key in (*keys, other)] == [False, True, False, True]
    assert [event.data for event in record.events] == [{"reason": "x", "count": 2}]


def test_a_session_is_ended_by_its_name_by_its_person_alone(cast: Cast) -> None:
    key = signed_in(cast.owner)
    ref = ConsoleSession.objects.get().ref
    store = SessionStore(key)
    store.cycle_key()
    with transaction.atomic(), pytest.raises(NotFoundError):
        end_session(user=cast.approver, ref=ref, reason="x", actor=SELF, now=NOW, record=RecordedEvents())
    with transaction.atomic():
        end_session(user=cast.owner, ref=ref, reason="x", actor=SELF, now=NOW, record=RecordedEvents())
    assert not is_live(store.session_key or "", NOW)


def test_a_code_counts_for_five_minutes_from_its_network_under_the_same_roles(cast: Cast) -> None:
    key = signed_in(cast.owner)
    fresh = seen(cast.owner, key, after(seconds=300))
    assert (fresh.auth_strength, fresh.authenticated_at) == (AuthStrength.FRESH_MFA, NOW)
    assert strength(cast.owner, key, after(seconds=301)) is AuthStrength.MFA
    assert strength(cast.owner, key, after(seconds=-1)) is AuthStrength.MFA
    assert strength(cast.owner, key, ip="192.0.2.200") is AuthStrength.FRESH_MFA
    assert strength(cast.owner, key, ip="192.0.3.7") is AuthStrength.MFA
    assert strength(cast.owner, key, ip="") is AuthStrength.MFA
    assert strength(cast.owner, key, verified=False) is AuthStrength.PASSWORD
    cast.owner.authority_epoch += 1
    assert strength(cast.owner, key) is AuthStrength.MFA


def test_an_unknown_address_is_never_the_same_network(cast: Cast) -> None:
    key = signed_in(cast.owner)
    ConsoleSession.objects.update(mfa_network="unknown")
    assert strength(cast.owner, key, ip="somewhere") is AuthStrength.MFA


def test_a_session_without_a_code_is_verified_at_most(cast: Cast) -> None:
    key = signed_in(cast.owner, entered=False)
    assert strength(cast.owner, key) is AuthStrength.MFA
    assert strength(cast.owner, key, verified=False) is AuthStrength.PASSWORD


def test_stepping_up_makes_it_fresh_under_a_new_key(cast: Cast) -> None:
    key = signed_in(cast.owner, entered=False)
    at = after(minutes=20)
    with transaction.atomic():
        new = elevate_session(principal=seen(cast.owner, key, at), now=at)
    assert not is_live(key, at)
    assert strength(cast.owner, new, at) is AuthStrength.FRESH_MFA
    assert own_digest(seen(cast.owner, new, at)) == digest_of(new)
    with transaction.atomic(), pytest.raises(AuthenticationError):
        elevate_session(principal=seen(cast.owner, key, at), now=at)


def test_nobody_steps_up_in_the_session_of_another(cast: Cast) -> None:
    theirs = seen(cast.approver, signed_in(cast.owner))
    with transaction.atomic(), pytest.raises(AuthenticationError):
        elevate_session(principal=theirs, now=NOW)


def test_sessions_are_kept_thirty_days_after_their_time(cast: Cast) -> None:
    signed_in(cast.owner)
    assert sweep(after(days=30)) == 0
    assert sweep(after(days=30, hours=12)) == 1


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_parallel_logins_never_leave_more_than_ten_sessions(cast: Cast) -> None:
    barrier = Barrier(16)

    def log_in(number: int) -> None:
        try:
            barrier.wait(timeout=30)
            signed_in(cast.owner, at=after(milliseconds=number))
        finally:
            connection.close()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(log_in, range(16)))
    assert live_sessions(cast.owner, after(seconds=1)).count() == 10
