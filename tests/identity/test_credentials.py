from __future__ import annotations

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from threading import Barrier
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
from django.contrib.auth import authenticate
from django.db import connection, transaction
from django_otp.oath import TOTP
from hypothesis import given, strategies as st

from identity.backends import MatrixBackend
from identity.factors import set_totp_factor, verify_totp
from identity.minting import MintedToken, mint_token
from identity.models import ApiToken, TotpFactor, User
from identity.revocation import revoke_token
from identity.tokens import TokenKind
from identity.totp import matching_step, new_seed, provisioning_uri, wait_seconds
from identity.types import AuthStrength, Principal
from kernel.errors import AuthenticationError, InvalidError, NotFoundError, RefusedError
from kernel.record import Actor
from tests.builders import RecordedEvents
from tests.cast import NOW, PASSWORD, SEED, SYSTEM, Cast, enrol, make_cast, mint_for_agent, principal

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def code(now: datetime = NOW, seed: bytes = SEED) -> str:
    """Return the code an authenticator app shows at `now`."""
    clock = TOTP(seed)
    clock.time = now.timestamp()
    return f"{clock.token():06d}"


def mint(cast: Cast, minter: Principal | None = None, **changes: Any) -> MintedToken:
    facts: dict[str, Any] = {
        "kind": TokenKind.AGENT,
        "label": "ci",
        "scopes": ["runs.read"],
        "expires_at": NOW + timedelta(days=1),
        "workspace": cast.default,
        "agent": cast.agent,
        "minter": minter or principal(cast.owner, cast.default),
        "now": NOW,
        "record": RecordedEvents(),
    }
    with transaction.atomic():
        return mint_token(**(facts | changes))


def test_a_minted_token_is_stored_as_digest_and_its_event_holds_no_secret(cast: Cast) -> None:
    record = RecordedEvents()
    minted = mint(cast, record=record, scopes=["tools.propose", "runs.read", "runs.read"])
    stored = ApiToken.objects.get()
    assert stored.scopes == ["runs.read", "tools.propose"]
    assert len(bytes(stored.digest)) == 32
    assert minted.text not in repr(minted) + str(record.events) + str(vars(stored))
    assert record.names == ["token.minted"]


@pytest.mark.parametrize(
    ("changes", "error", "word"),
    [
        ({"scopes": []}, InvalidError, "scopes_empty"),
        ({"scopes": ["no.such"]}, InvalidError, "unknown_scope"),
        ({"scopes": ["runs.read", "approvals.decide"]}, InvalidError, "invalid"),
        ({"label": " "}, InvalidError, "invalid"),
        ({"label": "x" * 81}, InvalidError, "invalid"),
        ({"expires_at": NOW}, InvalidError, "invalid"),
        ({"expires_at": NOW + timedelta(days=366, seconds=1)}, InvalidError, "invalid"),
        ({"agent": None}, InvalidError, "invalid"),
        ({"kind": TokenKind.USER}, InvalidError, "invalid"),
        ({"kind": TokenKind.ADMIN}, InvalidError, "invalid"),
    ],
)
def test_a_token_outside_the_rules_is_not_minted(
    cast: Cast, changes: dict[str, Any], error: type[Exception], word: str
) -> None:
    with pytest.raises(error, match=word):
        mint(cast, **changes)
    assert not ApiToken.objects.exists()


def test_a_scope_above_the_minter_is_named(cast: Cast) -> None:
    minter = principal(cast.owner, cast.default)
    narrow = replace(minter, permissions=minter.permissions - {"tools.propose"})
    with pytest.raises(RefusedError, match="scope_exceeds_minter") as caught:
        mint(cast, narrow, scopes=["runs.read", "tools.propose"])
    assert [(error.pointer, error.detail) for error in caught.value.errors] == [
        ("/scopes/1", "tools.propose")
    ]


def test_who_may_not_mint(cast: Cast) -> None:
    with pytest.raises(RefusedError, match="role_required"):
        mint(cast, principal(cast.approver, cast.default))
    with pytest.raises(AuthenticationError, match="step_up_required"):
        mint(cast, principal(cast.owner, cast.default, strength=AuthStrength.PASSWORD))
    with pytest.raises(RefusedError, match="role_required"):
        mint(cast, agent=None, user=cast.approver, kind=TokenKind.USER)
    with pytest.raises(RefusedError, match="role_required"):
        mint(cast, replace(principal(cast.owner, cast.default), active=False))
    own = principal(cast.approver, cast.default)
    with pytest.raises(RefusedError, match="role_required"):
        mint(cast, own, agent=None, user=cast.approver, kind=TokenKind.SERVICE)
    with pytest.raises(InvalidError):
        mint(cast, workspace=cast.instance)
    assert mint(cast, own, agent=None, user=cast.approver, kind=TokenKind.USER).token.kind == "usr"


def test_revoking_is_at_once_and_once(cast: Cast) -> None:
    token, record = mint_for_agent(cast).token, RecordedEvents()

    def revoke(actor: Actor, later: int = 0) -> ApiToken:
        with transaction.atomic():
            return revoke_token(
                token_id=token.pk, reason="lost", actor=actor, now=NOW + timedelta(hours=later), record=record
            )

    with pytest.raises(RefusedError):
        revoke(principal(cast.approver, cast.default).actor())
    assert revoke(SYSTEM).revoked_at == NOW
    assert revoke(SYSTEM, 1).revoked_at == NOW
    assert record.names == ["token.revoked"]
    with pytest.raises(NotFoundError):
        revoke_token(token_id="tok_none", reason="", actor=SYSTEM, now=NOW, record=record)


def test_the_seed_is_sealed_and_bound_to_its_row(cast: Cast) -> None:
    enrol(cast.owner)
    enrol(cast.approver, new_seed())
    mine, theirs = (TotpFactor.objects.get(user=user) for user in (cast.owner, cast.approver))
    assert SEED not in bytes(mine.seed_sealed)
    TotpFactor.objects.filter(pk=theirs.pk).update(seed_sealed=bytes(mine.seed_sealed))
    assert verify_totp(user=cast.owner, code=code(), now=NOW)
    assert not verify_totp(user=cast.approver, code=code(), now=NOW)


def test_each_step_is_accepted_once_and_only_near_now(cast: Cast) -> None:
    enrol(cast.owner)
    assert not verify_totp(user=cast.owner, code=code(NOW - timedelta(seconds=60)), now=NOW)
    assert verify_totp(user=cast.owner, code=code(NOW - timedelta(seconds=30)), now=NOW)
    assert verify_totp(user=cast.owner, code=code(), now=NOW)
    assert not verify_totp(user=cast.owner, code=code(), now=NOW)
    assert not verify_totp(user=cast.owner, code=code(NOW - timedelta(seconds=30)), now=NOW)
    assert not verify_totp(user=cast.approver, code=code(), now=NOW)


@given(st.text(max_size=8), st.integers(-1, 10**9))
def test_only_six_ascii_digits_can_match(text: str, after: int) -> None:
    step = matching_step(SEED, text, now=NOW, after=after)
    assert step is None or (len(text) == 6 and text.isascii() and text.isdigit() and step > after)


def test_waits_double_to_a_quarter_of_an_hour() -> None:
    assert [wait_seconds(n) for n in (0, 4, 5, 6, 7, 8, 9, 10, 1000)] == [
        0, 0, 30, 60, 120, 240, 480, 900, 900,
    ]  # fmt: skip


def test_an_authenticator_is_set_by_oneself_or_who_manages_people(cast: Cast) -> None:
    with pytest.raises(RefusedError), transaction.atomic():
        set_totp_factor(
            user=cast.owner, seed=SEED, actor=principal(cast.approver, cast.default).actor(), now=NOW,
            record=RecordedEvents(),
        )  # fmt: skip
    with pytest.raises(InvalidError):
        set_totp_factor(user=cast.owner, seed=b"short", actor=SYSTEM, now=NOW, record=RecordedEvents())
    enrol(cast.owner)
    enrol(cast.owner, new_seed())
    assert TotpFactor.objects.filter(user=cast.owner).count() == 1
    assert not verify_totp(user=cast.owner, code=code(), now=NOW)


def test_the_provisioning_text_holds_the_seed_for_an_app() -> None:
    query = parse_qs(urlparse(provisioning_uri(account="owner", seed=SEED)).query)
    assert base64.b32decode(query["secret"][0]) == SEED
    assert query["issuer"] == ["Palyra"]


def test_a_password_proves_only_people_who_may_log_in(cast: Cast) -> None:
    assert authenticate(None, username="owner", password=PASSWORD) == cast.owner
    User.objects.filter(pk=cast.owner.pk).update(can_log_in=False)
    assert authenticate(None, username="owner", password=PASSWORD) is None
    assert MatrixBackend().get_user(cast.owner.pk) is None
    assert MatrixBackend().get_user(cast.approver.pk) == cast.approver
    assert authenticate(None, username="owner") is None


def test_an_unknown_name_costs_one_hash_like_a_known_one(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []

    def spy(password: str) -> str:
        hashed.append(password)
        return ""

    monkeypatch.setattr("identity.backends.make_password", spy)
    assert authenticate(None, username="nobody", password=PASSWORD) is None
    assert hashed == [PASSWORD]
    assert authenticate(None, username=cast.owner.username, password="wrong") is None
    assert hashed == [PASSWORD]


def test_djangos_own_question_is_answered_by_the_matrix(cast: Cast) -> None:
    assert cast.approver.has_perm("identity.approvals_decide")
    for user, perm in (
        (cast.auditor, "identity.approvals_decide"),
        (cast.stranger, "identity.runs_read"),
        (cast.owner, "identity.delete_user"),
        (cast.owner, "approvals_decide"),
        (cast.approver, "identity.users_manage"),
    ):
        assert not user.has_perm(perm)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_one_code_used_by_eight_at_once_succeeds_once(cast: Cast) -> None:
    enrol(cast.owner)
    barrier = Barrier(8)

    def attempt(_: int) -> bool:
        try:
            barrier.wait(timeout=30)
            return verify_totp(user=cast.owner, code=code(), now=NOW)
        finally:
            connection.close()

    run: Callable[[int], bool] = attempt
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(run, range(8))) == 1
