"""Ending the first start's credentials over REST."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from django.conf import settings
from django.db import transaction

from governance import bootstrapped
from governance.journal.ledger import record
from governance.journal.models import JournalEvent
from governance.models import IdempotencyRecord
from identity.factors import set_totp_factor
from identity.models import ApiToken, User
from kernel.clock import utc_now
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.world import SHELL, Answer, Caller, World, mint_for_person

PATH = "system/bootstrap/clear"
NEW = "an entirely different phrase"
OWN_SEED = b"another seed of bytes"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(settings, "PALYRA_HOME", tmp_path)
    path = tmp_path / "bootstrap.json"
    path.write_text("{}")
    return path


@pytest.fixture
def owner(world: World, file: Path) -> Caller:
    """The owner of the first start, who has an own authenticator by now."""
    user = User.objects.get(pk=world.owner.id)
    with transaction.atomic():
        set_totp_factor(user=user, seed=OWN_SEED, actor=SHELL, now=utc_now(), record=record)
    return replace(world.owner, seed=OWN_SEED)


def clear(by: Caller, code: str, password: str = NEW, **headers: str) -> Answer:
    return by.post(PATH, {"otp": code, "new_password": password}, **headers)


def test_a_code_of_the_own_authenticator_ends_password_token_and_file(owner: Caller, file: Path) -> None:
    assert clear(owner, owner.code()).status_code == 204
    assert not file.exists()
    assert User.objects.get(pk=owner.id).check_password(NEW)
    assert_problem(owner.get("whoami"), 401, "unauthenticated")
    assert not bootstrapped.is_left()
    assert JournalEvent.objects.filter(type="system.bootstrap_cleared").count() == 1


def test_the_seed_of_the_first_start_is_not_enough(world: World, file: Path) -> None:
    assert_problem(clear(world.owner, world.owner.code()), 409, "own_authenticator_required")
    assert file.exists()


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"otp": "000000"}, 401, "step_up_required"),
        ({"new_password": "short"}, 422, "invalid"),
        ({"new_password": "x" * 257}, 422, "invalid"),
        ({"new_password": ""}, 422, "invalid"),
        ({"new_password": 12}, 422, "invalid"),
        ({"password": NEW}, 400, "unknown_field"),
    ],
)
def test_what_is_refused_changes_nothing(
    owner: Caller, file: Path, changes: dict[str, object], status: int, code: str
) -> None:
    before = User.objects.get(pk=owner.id).password
    body = {"otp": owner.code(), "new_password": NEW} | changes
    assert_problem(owner.post(PATH, body), status, code)
    assert file.exists()
    assert User.objects.get(pk=owner.id).password == before
    assert owner.get("whoami").status_code == 200


@pytest.mark.parametrize("name", ["agent", "approver", "stranger"])
def test_nobody_below_the_owners_of_the_instance_ends_them(
    world: World, owner: Caller, file: Path, name: str
) -> None:
    assert_problem(clear(getattr(world, name), owner.code()), 403, "role_required")
    assert file.exists()


def test_a_narrow_token_of_the_owner_does_not_do_it(world: World, owner: Caller, file: Path) -> None:
    user = User.objects.get(pk=owner.id)
    narrow = mint_for_person(user, world.workspace, now=utc_now(), scopes=("runs.read",))
    assert_problem(clear(replace(owner, token=narrow), owner.code()), 403, "insufficient_scope")
    assert file.exists()


def test_wrong_codes_count_and_make_a_right_one_wait(owner: Caller, file: Path) -> None:
    for _ in range(5):
        assert_problem(clear(owner, "000000"), 401, "step_up_required")
    assert_problem(clear(owner, owner.code()), 401, "step_up_required")
    assert file.exists()


def test_a_repeat_with_the_same_key_is_answered_alike_and_no_password_is_kept(
    world: World, owner: Caller
) -> None:
    user = User.objects.get(pk=owner.id)
    lasting = replace(owner, token=mint_for_person(user, world.workspace, now=utc_now()))
    first = clear(lasting, owner.code(), Idempotency_Key="clear-1")
    again = clear(lasting, "000000", "another one", Idempotency_Key="clear-1")
    assert (first.status_code, again.status_code) == (204, 204)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert User.objects.get(pk=owner.id).check_password(NEW)
    assert "different phrase" not in str(list(IdempotencyRecord.objects.values()))


def test_when_nothing_is_left_nothing_happens(world: World, owner: Caller, file: Path) -> None:
    file.unlink()
    ApiToken.objects.filter(from_bootstrap=True).update(revoked_at=utc_now())
    user = User.objects.get(pk=owner.id)
    lasting = replace(owner, token=mint_for_person(user, world.workspace, now=utc_now()))
    for _ in range(2):
        assert clear(lasting, "000000", Idempotency_Key="clear-2").status_code == 204
    assert not User.objects.get(pk=owner.id).check_password(NEW)
