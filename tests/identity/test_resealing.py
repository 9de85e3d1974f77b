"""Sealed values under older key files: they open, and are brought under the present one."""

from __future__ import annotations

import hashlib

import pytest
from django.conf import settings
from pytest_django.fixtures import Settings

from identity.keys import FieldKey, field_key
from identity.models import TotpFactor, User
from identity.resealing import Resealed, reseal, sealed_fields
from identity.sealing import is_under_present_key, open_field, seal_field
from kernel.errors import InvalidError
from tests.cast import SEED, enrol, make_user, make_workspaces

pytestmark = pytest.mark.django_db
OLD, NEW, OTHER = ("11" * 32, "22" * 32, "33" * 32)


def use(settings: Settings, present: str, *older: str) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = present, list(older)


@pytest.fixture
def person(settings: Settings) -> User:
    """Somebody whose seed was sealed under the old key."""
    use(settings, OLD)
    _, default = make_workspaces()
    user = make_user("somebody", workspace=default)
    enrol(user)
    return user


def seed_of(person: User) -> bytes:
    factor = TotpFactor.objects.get(user=person)
    return open_field("TotpFactor", str(factor.pk), "seed", bytes(factor.seed_sealed))


def test_every_sealed_column_is_found_by_its_name() -> None:
    found = {(place.noun, place.field) for place in sealed_fields()}
    assert found >= {("TotpFactor", "seed"), ("WebhookEndpoint", "secret"), ("WebhookEndpoint", "previous")}


def test_an_older_key_opens_while_it_is_listed(person: User, settings: Settings) -> None:
    use(settings, NEW, OTHER, OLD)
    assert seed_of(person) == SEED
    use(settings, NEW)
    with pytest.raises(InvalidError, match="integrity_failed"):
        seed_of(person)


def test_resealing_ends_the_need_for_the_older_key(person: User, settings: Settings) -> None:
    use(settings, NEW, OLD)
    assert reseal(dry_run=True) == Resealed(0, 1)
    assert reseal(dry_run=False) == Resealed(0, 1)
    use(settings, NEW)
    assert seed_of(person) == SEED
    assert reseal(dry_run=False) == Resealed(1, 0)


def test_looking_rewrites_nothing(person: User, settings: Settings) -> None:
    use(settings, NEW, OLD)
    before = bytes(TotpFactor.objects.get(user=person).seed_sealed)
    reseal(dry_run=True)
    assert bytes(TotpFactor.objects.get(user=person).seed_sealed) == before


def test_what_opens_under_no_key_is_named_and_left_alone(person: User, settings: Settings) -> None:
    use(settings, NEW, OTHER)
    factor = TotpFactor.objects.get(user=person)
    assert reseal(dry_run=False) == Resealed(0, 0, (f"TotpFactor {factor.pk}",))
    assert TotpFactor.objects.get(user=person).seed_sealed == factor.seed_sealed


def test_two_keys_of_one_short_name_are_told_apart(settings: Settings) -> None:
    first, second = _twins()
    use(settings, first)
    sealed = seal_field("TotpFactor", "7", "seed", SEED)
    use(settings, second, first)
    assert open_field("TotpFactor", "7", "seed", sealed) == SEED
    assert not is_under_present_key("TotpFactor", "7", "seed", sealed)


def test_new_values_are_sealed_under_the_present_key(person: User, settings: Settings) -> None:
    use(settings, NEW, OLD)
    assert is_under_present_key("TotpFactor", "7", "seed", seal_field("TotpFactor", "7", "seed", SEED))


def test_a_value_of_another_row_opens_under_no_key(settings: Settings) -> None:
    use(settings, NEW, OLD)
    sealed = seal_field("TotpFactor", "7", "seed", SEED)
    with pytest.raises(InvalidError):
        open_field("TotpFactor", "8", "seed", sealed)


def test_the_settings_list_no_older_key_by_themselves() -> None:
    assert settings.SECRET_KEY_FALLBACKS == []


def _twins() -> tuple[str, str]:
    """Two different roots whose one-byte names are equal."""
    seen: dict[int, str] = {}
    for number in range(1000):
        root = hashlib.sha256(str(number).encode())
        key: FieldKey = field_key(root.digest(), "TotpFactor")
        if key.key_id in seen:
            return seen[key.key_id], root.hexdigest()
        seen[key.key_id] = root.hexdigest()
    raise AssertionError("one byte has 256 values")
