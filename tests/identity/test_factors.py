"""Offers of an authenticator, and recovery codes."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier

import pytest
from django.db import connection, transaction
from django_otp.oath import TOTP
from pytest_django.fixtures import Settings

from identity.factors import (
    Offer,
    confirmed_factor,
    enrol_offered,
    issue_recovery_codes,
    offer_seed,
    open_offer,
    unused_recovery_codes,
    use_recovery_code,
)
from identity.models import RecoveryCode, TotpFactor, User
from kernel.errors import InvalidError
from kernel.record import Actor
from tests.builders import RecordedEvents
from tests.cast import NOW, SEED, Cast, enrol, make_cast

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def code_of(seed: bytes, at: datetime = NOW) -> str:
    clock = TOTP(seed)
    clock.time = at.timestamp()
    return f"{clock.token():06d}"


def self_of(user: User) -> Actor:
    return Actor(kind="user", id=user.pk, auth="session", surface="console")


def enrolled(user: User, offer: Offer, code: str) -> TotpFactor:
    with transaction.atomic():
        return enrol_offered(
            user=user, offer=offer, code=code, actor=self_of(user), now=NOW, record=RecordedEvents()
        )


def codes_for(user: User, record: RecordedEvents | None = None) -> tuple[str, ...]:
    with transaction.atomic():
        return issue_recovery_codes(
            user=user, actor=self_of(user), now=NOW, record=record or RecordedEvents()
        )


def test_an_offer_is_stored_nowhere_and_opens_for_its_person_while_it_lasts(cast: Cast) -> None:
    offer = offer_seed(user=cast.owner, now=NOW)
    assert not TotpFactor.objects.exists()
    assert offer.secret not in repr(offer)
    assert open_offer(user=cast.owner, sealed=offer.sealed, now=NOW + timedelta(minutes=29)) == offer
    with pytest.raises(InvalidError):
        open_offer(user=cast.approver, sealed=offer.sealed, now=NOW)
    with pytest.raises(InvalidError):
        open_offer(user=cast.owner, sealed=offer.sealed, now=NOW + timedelta(minutes=30))


@pytest.mark.parametrize("sealed", ["", "x", "=", "ä", "a\0", "QUJD", "A" * 5000])
def test_what_is_no_offer_opens_as_none(cast: Cast, sealed: str) -> None:
    with pytest.raises(InvalidError) as refused:
        open_offer(user=cast.owner, sealed=sealed, now=NOW)
    assert [one.pointer for one in refused.value.errors] == ["/offer"]


def test_an_offered_seed_comes_into_force_by_one_code_of_it_which_is_used_up(cast: Cast) -> None:
    enrol(cast.owner)
    offer = offer_seed(user=cast.owner, now=NOW)
    with pytest.raises(InvalidError) as refused:
        enrolled(cast.owner, offer, code_of(SEED))
    assert [one.pointer for one in refused.value.errors] == ["/new_code"]
    factor = enrolled(cast.owner, offer, code_of(offer.seed))
    assert TotpFactor.objects.get() == factor
    assert confirmed_factor(user=cast.owner, code=code_of(offer.seed), now=NOW) is None
    later = NOW + timedelta(seconds=30)
    assert confirmed_factor(user=cast.owner, code=code_of(SEED, later), now=later) is None
    assert confirmed_factor(user=cast.owner, code=code_of(offer.seed, later), now=later) == factor


def test_a_form_sent_twice_does_not_make_used_codes_new(cast: Cast) -> None:
    offer = offer_seed(user=cast.owner, now=NOW)
    enrolled(cast.owner, offer, code_of(offer.seed))
    with pytest.raises(InvalidError):
        enrolled(cast.owner, offer, code_of(offer.seed))


def test_ten_recovery_codes_of_ten_characters_are_stored_as_digests(cast: Cast) -> None:
    record = RecordedEvents()
    codes = codes_for(cast.owner, record)
    assert len(set(codes)) == 10
    assert all(re.fullmatch(r"[A-Z2-7]{10}", code) for code in codes)
    stored = str([vars(row) for row in RecoveryCode.objects.all()])
    assert not [code for code in codes if code in stored + str(record.events)]
    assert [event.data for event in record.events] == [{"kind": "recovery_codes"}]


def test_a_recovery_code_works_once_however_it_is_typed(cast: Cast) -> None:
    first, second, *_ = codes_for(cast.owner)
    assert use_recovery_code(user=cast.owner, code=first, now=NOW) is not None
    assert use_recovery_code(user=cast.owner, code=first, now=NOW) is None
    assert use_recovery_code(user=cast.owner, code=f" {second[:5]}-{second[5:]} ".lower(), now=NOW)
    assert unused_recovery_codes(cast.owner) == 8


@pytest.mark.parametrize(
    "change", [lambda code: "A" * 10, lambda code: code[:9], lambda code: "", lambda code: code + "A"]
)
def test_nothing_else_is_a_recovery_code(cast: Cast, change: Callable[[str], str]) -> None:
    code = codes_for(cast.owner)[0]
    assert use_recovery_code(user=cast.owner, code=change(code), now=NOW) is None
    assert use_recovery_code(user=cast.approver, code=code, now=NOW) is None


def test_new_codes_end_the_unused_old_ones(cast: Cast) -> None:
    used, unused, *_ = codes_for(cast.owner)
    row = use_recovery_code(user=cast.owner, code=used, now=NOW)
    codes_for(cast.owner)
    assert use_recovery_code(user=cast.owner, code=unused, now=NOW) is None
    assert unused_recovery_codes(cast.owner) == 10
    assert row is not None
    assert RecoveryCode.objects.filter(pk=row.pk).exists()  # a session may be verified by it


def test_codes_made_under_an_older_key_file_work_while_it_is_listed(cast: Cast, settings: Settings) -> None:
    first, second, *_ = codes_for(cast.owner)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "ab" * 32, [settings.SECRET_KEY]
    assert use_recovery_code(user=cast.owner, code=first, now=NOW) is not None
    settings.SECRET_KEY_FALLBACKS = []
    assert use_recovery_code(user=cast.owner, code=second, now=NOW) is None


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_recovery_code_used_by_eight_at_once_succeeds_once(cast: Cast) -> None:
    code, barrier = codes_for(cast.owner)[0], Barrier(8)

    def attempt(_: int) -> bool:
        try:
            barrier.wait(timeout=30)
            with transaction.atomic():
                return use_recovery_code(user=cast.owner, code=code, now=NOW) is not None
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1
