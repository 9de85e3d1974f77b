"""Minting for oneself and for agents, rotation, and what what was begun with a token lives by."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from identity.access import FlagSetting, Registry, Stage
from identity.authentication import Authenticated, RejectedCredentialError, Rejection, authenticate
from identity.liveness import principal_live
from identity.minting import MintedToken, TokenWishes, mint_admin_token, mint_wished, rotate_token
from identity.models import Agent, ApiToken, Membership, User
from identity.revocation import revoke_leaked, revoke_token
from identity.roles import Permission, WorkspaceRole
from identity.token_selectors import STATES, in_states, token_state, visible_tokens, working_token
from identity.tokens import TokenKind, format_token, new_token
from identity.types import AuthStrength, Principal, PrincipalKind
from kernel.errors import AuthenticationError, ConflictError, InvalidError, NotFoundError, RefusedError
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, Cast, enrol, make_cast, mint_for_agent, principal

pytestmark = pytest.mark.django_db
OWN = TokenWishes("laptop", TokenKind.USER, None, ("readonly",), None)
TOKENS_OFF = Registry({"api_tokens": FlagSetting(enabled=False, stage=Stage.GENERAL)})


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def mint(minter: Principal, wishes: TokenWishes = OWN, record: RecordedEvents | None = None) -> MintedToken:
    with transaction.atomic():
        return mint_wished(wishes=wishes, minter=minter, now=NOW, record=record or RecordedEvents())


def for_agent(cast: Cast, **changes: Any) -> TokenWishes:
    wishes = TokenWishes("ci", TokenKind.AGENT, cast.agent.pk, ("agent",), None)
    return replace(wishes, **changes)


def rotate(
    minter: Principal,
    token: ApiToken,
    *,
    overlap: int = 3600,
    hours: int = 0,
    record: RecordedEvents | None = None,
) -> MintedToken:
    with transaction.atomic():
        return rotate_token(
            token_id=token.pk,
            overlap_seconds=overlap,
            minter=minter,
            now=NOW + timedelta(hours=hours),
            record=record or RecordedEvents(),
        )


def revoke(token: ApiToken) -> None:
    with transaction.atomic():
        revoke_token(token_id=token.pk, reason="lost", actor=SYSTEM, now=NOW, record=RecordedEvents())


def enter(text: str, *, seconds: float = 0, ip: str = "10.0.0.9", device: str | None = None) -> Authenticated:
    return authenticate(
        authorization=(f"Bearer {text}",),
        client_ip=ip,
        request_id="req_1",
        now=NOW + timedelta(seconds=seconds),
        device_id=device,
    )


def rejection(text: str, **facts: Any) -> Rejection:
    with pytest.raises(RejectedCredentialError) as caught:
        enter(text, **facts)
    return caught.value.reason


def test_everybody_with_a_role_mints_for_themselves(cast: Cast) -> None:
    token = mint(principal(cast.auditor, cast.default)).token
    assert (token.kind, token.principal_user_id, token.minted_by) == ("usr", cast.auditor.pk, cast.auditor.pk)
    assert token.expires_at == NOW + timedelta(days=30)
    assert (token.family, token.from_bootstrap, token.rate_per_minute) == (token.pk, False, 120)
    assert "journal.read" in token.scopes
    assert all(scope.endswith(".read") for scope in token.scopes)


def test_a_token_for_an_agent_holds_the_group_for_ninety_days(cast: Cast) -> None:
    wishes = for_agent(cast, rate_per_minute=10, allowed_networks=("10.0.0.1/8",))
    token = mint(principal(cast.owner, cast.default), wishes).token
    assert (token.kind, token.principal_agent_id, token.workspace_id) == (
        "agt",
        cast.agent.pk,
        cast.default.pk,
    )
    assert token.expires_at == NOW + timedelta(days=90)
    assert (token.rate_per_minute, token.allowed_networks) == (10, ["10.0.0.0/8"])


def test_whoever_lacks_a_role_a_code_or_the_feature_mints_nothing(cast: Cast) -> None:
    with pytest.raises(RefusedError, match="role_required"):
        mint(principal(cast.stranger, cast.default))
    with pytest.raises(AuthenticationError, match="step_up_required"):
        mint(principal(cast.auditor, cast.default, strength=AuthStrength.MFA))
    with pytest.raises(AuthenticationError, match="step_up_required"):
        mint(principal(cast.owner, cast.default, strength=AuthStrength.MFA), for_agent(cast))
    with pytest.raises(RefusedError, match="role_required"):
        mint(principal(cast.auditor, cast.default), for_agent(cast))
    for wishes in (OWN, for_agent(cast)):
        with pytest.raises(RefusedError, match="feature_disabled"):
            mint(replace(principal(cast.owner, cast.default), flags=TOKENS_OFF), wishes)
    whole = principal(cast.owner, cast.default)
    narrow = replace(whole, permissions=whole.permissions - {Permission.TOKENS_MINT})
    with pytest.raises(RefusedError, match="insufficient_scope"):
        mint(narrow, for_agent(cast))
    assert not ApiToken.objects.exists()


def test_an_agent_never_mints(cast: Cast) -> None:
    agent = enter(mint_for_agent(cast).text).principal
    for wishes in (OWN, for_agent(cast)):
        with pytest.raises(RefusedError, match="role_required"):
            mint(agent, wishes)


def test_an_agent_of_another_workspace_is_not_found_and_an_archived_one_gets_no_token(cast: Cast) -> None:
    admin = Membership.objects.get(user=cast.approver)
    Membership.objects.filter(pk=admin.pk).update(role=WorkspaceRole.ADMIN, workspace=cast.instance)
    local = replace(principal(cast.owner, cast.instance), instance_roles=frozenset())
    with pytest.raises(NotFoundError):
        mint(local, for_agent(cast))
    Agent.objects.filter(pk=cast.agent.pk).update(state="archived")
    with pytest.raises(InvalidError):
        mint(principal(cast.owner, cast.default), for_agent(cast))


@pytest.mark.parametrize(
    "changes",
    [
        {"expires_in_days": 0},
        {"expires_in_days": 367},
        {"rate_per_minute": 9},
        {"allowed_networks": ("x",)},
        {"kind": TokenKind.ADMIN},
        {"kind": TokenKind.USER},
        {"kind": TokenKind.SERVICE},
        {"label": ""},
        {"scopes": ()},
    ],
)
def test_wishes_outside_the_rules_are_refused(cast: Cast, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        mint(principal(cast.owner, cast.default), for_agent(cast, **changes))


def test_an_admin_token_comes_from_the_machine_alone_and_works_there_while_tokens_are_off(cast: Cast) -> None:
    def made(**changes: Any) -> MintedToken:
        facts: dict[str, Any] = {"scopes": ["tools.manage"], "days": None, "actor": SYSTEM} | changes
        with transaction.atomic():
            return mint_admin_token(
                user=cast.owner, workspace=cast.default, now=NOW, record=RecordedEvents(), **facts
            )

    enrol(cast.owner)
    minted = made()
    assert minted.token.expires_at == NOW + timedelta(days=7)
    assert rejection(minted.text) is Rejection.NETWORK
    found = enter(minted.text, ip="127.0.0.1")
    assert (found.kind, found.principal.kind) == (TokenKind.ADMIN, PrincipalKind.USER)
    assert found.principal.auth_strength is AuthStrength.MFA
    with pytest.raises(InvalidError):
        made(days=31)
    with pytest.raises(RefusedError):
        made(actor=principal(cast.owner, cast.default).actor())
    with pytest.raises(InvalidError, match="invalid"):
        rotate(principal(cast.owner, cast.default), minted.token)


def test_rotation_keeps_everything_but_the_secret_and_gives_a_full_life(cast: Cast) -> None:
    owner, record = principal(cast.owner, cast.default), RecordedEvents()
    later = principal(cast.owner, cast.default, now=NOW + timedelta(hours=48))
    wishes = for_agent(cast, rate_per_minute=33, allowed_networks=("10.0.0.0/8",), expires_in_days=5)
    old = mint(owner, wishes)
    ApiToken.objects.filter(pk=old.token.pk).update(bound_device="dev_1", from_bootstrap=True)
    new = rotate(later, old.token, hours=48, record=record)
    kept = ("kind", "label", "principal_agent_id", "workspace_id", "scopes", "rate_per_minute", "family")
    assert [getattr(new.token, name) for name in kept] == [getattr(old.token, name) for name in kept]
    assert (new.token.allowed_networks, new.token.bound_device) == (["10.0.0.0/8"], "dev_1")
    assert new.token.expires_at == NOW + timedelta(days=2 + 5)
    assert (new.token.rotated_from_id, new.token.from_bootstrap) == (old.token.pk, False)
    assert new.text != old.text
    assert record.names == ["token.minted", "token.rotated"]
    assert new.text not in repr([record.events, new])


def test_both_texts_work_for_the_overlap_and_then_only_the_new_one(cast: Cast) -> None:
    old = mint_for_agent(cast)
    new = rotate(principal(cast.owner, cast.default), old.token, overlap=2)
    first = enter(old.text, seconds=1)
    assert (first.overlap_ends_at, first.rotated_at) == (NOW + timedelta(seconds=2), NOW)
    second = enter(new.text, seconds=1)
    assert (second.overlap_ends_at, second.family) == (None, first.family)
    assert rejection(old.text, seconds=2) is Rejection.EXPIRED
    assert enter(new.text, seconds=2).principal.id == cast.agent.pk


def test_without_an_overlap_the_old_text_ends_at_once(cast: Cast) -> None:
    old = mint_for_agent(cast)
    rotate(principal(cast.owner, cast.default), old.token, overlap=0)
    assert rejection(old.text) is Rejection.EXPIRED


def test_a_token_is_rotated_once_and_not_when_revoked(cast: Cast) -> None:
    owner = principal(cast.owner, cast.default)
    old = mint_for_agent(cast).token
    new = rotate(owner, old, overlap=0).token
    with pytest.raises(ConflictError, match="already_rotated"):
        rotate(owner, old)
    revoke(new)
    with pytest.raises(ConflictError, match="already_rotated"):
        rotate(owner, old)
    with pytest.raises(ConflictError, match="state_changed"):
        rotate(owner, new)
    for seconds in (-1, 86_401):
        with pytest.raises(InvalidError):
            rotate(owner, old, overlap=seconds)


def test_an_expired_token_may_be_rotated_into_a_full_life(cast: Cast) -> None:
    old = mint_for_agent(cast, life=timedelta(hours=1))
    new = rotate(principal(cast.owner, cast.default, now=NOW + timedelta(hours=5)), old.token, hours=5)
    assert new.token.expires_at == NOW + timedelta(hours=6)
    assert rejection(old.text, seconds=5 * 3600) is Rejection.EXPIRED


def test_a_successor_holds_what_its_minter_holds_by_now(cast: Cast) -> None:
    auditor = principal(cast.auditor, cast.default)
    old = mint(auditor).token
    Membership.objects.filter(user=cast.auditor).update(role=WorkspaceRole.VIEWER)
    viewer = principal(cast.auditor, cast.default)
    new = rotate(viewer, old).token
    assert set(new.scopes) == set(old.scopes) & viewer.permissions
    assert "journal.read" in old.scopes
    assert "journal.read" not in new.scopes


def test_a_role_lost_since_the_request_began_mints_and_rotates_nothing(cast: Cast) -> None:
    Membership.objects.create(
        id="mbr_2", workspace=cast.default, user=cast.auditor, role=WorkspaceRole.VIEWER,
        granted_by=cast.owner.pk, granted_at=NOW,
    )  # fmt: skip
    owner, auditor = principal(cast.owner, cast.default), principal(cast.auditor, cast.default)
    agents, own = mint_for_agent(cast).token, mint(auditor).token
    User.objects.filter(pk=cast.owner.pk).update(is_active=False)
    with pytest.raises(RefusedError, match="role_required"):
        mint(owner, for_agent(cast))
    with pytest.raises(NotFoundError):
        rotate(owner, agents)
    Membership.objects.filter(user=cast.auditor, role=WorkspaceRole.AUDITOR).delete()
    with pytest.raises(RefusedError, match="scope_exceeds_minter"):
        mint(auditor, replace(OWN, scopes=("journal.read",)))
    Membership.objects.filter(user=cast.auditor).delete()
    with pytest.raises(RefusedError, match="role_required"):
        mint(auditor)
    with pytest.raises(RefusedError, match="role_required"):
        rotate(auditor, own)


def test_who_may_not_mint_a_token_may_not_rotate_it(cast: Cast) -> None:
    agents, own = mint_for_agent(cast).token, mint(principal(cast.auditor, cast.default)).token
    with pytest.raises(RefusedError, match="role_required"):
        rotate(principal(cast.auditor, cast.default), agents)
    with pytest.raises(RefusedError, match="role_required"):
        rotate(principal(cast.owner, cast.default), own)
    with pytest.raises(AuthenticationError, match="step_up_required"):
        rotate(principal(cast.auditor, cast.default, strength=AuthStrength.MFA), own)
    with pytest.raises(RefusedError, match="feature_disabled"):
        rotate(replace(principal(cast.auditor, cast.default), flags=TOKENS_OFF), own)
    with pytest.raises(NotFoundError):
        rotate(principal(cast.stranger, cast.default), own)


def test_a_network_and_a_device_are_asked_after_everything_else(cast: Cast) -> None:
    minted = mint_for_agent(cast)
    rows = ApiToken.objects.filter(pk=minted.token.pk)
    rows.update(allowed_networks=["10.0.0.0/24", "2001:db8::/32"], bound_device="dev_1")
    assert rejection(minted.text, ip="10.0.1.9") is Rejection.NETWORK
    assert rejection(minted.text, ip="") is Rejection.NETWORK
    assert rejection(minted.text) is Rejection.DEVICE_BINDING
    assert rejection(minted.text, device="dev_2") is Rejection.DEVICE_BINDING
    assert enter(minted.text, ip="2001:db8::1", device="dev_1").principal.id == cast.agent.pk
    assert enter(minted.text, ip="::ffff:10.0.0.3", device="dev_1").principal.id == cast.agent.pk


@pytest.mark.parametrize("stored", [["nonsense"], [7], "10.0.0.0/8", {}, None])
def test_a_list_of_networks_that_cannot_be_read_lets_nobody_in(cast: Cast, stored: object) -> None:
    minted = mint_for_agent(cast)
    row = ApiToken(pk=minted.token.pk, allowed_networks=stored)
    if stored is not None:
        row.save(update_fields=["allowed_networks"])
        assert rejection(minted.text) is Rejection.NETWORK


def test_every_state_is_found_by_the_clause_that_means_it(cast: Cast) -> None:
    owner = principal(cast.owner, cast.default)
    alive, ended = mint_for_agent(cast).token, mint_for_agent(cast, life=timedelta(minutes=1)).token
    turned, over, gone = (mint_for_agent(cast).token for _ in range(3))
    rotate(owner, turned)
    rotate(owner, over, overlap=60)
    revoke(gone)
    later = NOW + timedelta(minutes=1)
    states = {row.pk: token_state(row, later) for row in ApiToken.objects.all()}
    assert [states[row.pk] for row in (alive, ended, turned, over, gone)] == [
        "active", "expired", "overlapping", "expired", "revoked",
    ]  # fmt: skip
    for state in STATES:
        found = set(ApiToken.objects.filter(in_states([state], later)).values_list("pk", flat=True))
        assert found == {pk for pk, is_now in states.items() if is_now == state}


def test_who_sees_which_tokens(cast: Cast) -> None:
    agents, own = mint_for_agent(cast), mint(principal(cast.approver, cast.default)).token
    Membership.objects.filter(user=cast.second_approver).update(role=WorkspaceRole.VIEWER)
    viewers = mint(principal(cast.second_approver, cast.default)).token
    everything = {agents.token.pk, own.pk, viewers.pk}

    def seen(who: Principal) -> set[str]:
        return set(visible_tokens(who).values_list("pk", flat=True))

    assert seen(principal(cast.approver, cast.default)) == everything
    assert seen(principal(cast.second_approver, cast.default)) == {viewers.pk}
    assert seen(principal(cast.owner, cast.instance)) == everything
    assert seen(principal(cast.stranger, cast.default)) == set()
    assert seen(enter(agents.text).principal) == set()
    away = replace(principal(cast.approver, cast.default), workspace_id=cast.instance.pk)
    assert seen(away) == {own.pk}


def live(kind: str, who: str, token: ApiToken, cast: Cast, seconds: float = 0) -> Principal | None:
    return principal_live(
        kind=kind,
        principal_id=who,
        workspace_id=cast.default.pk,
        token_id=token.pk,
        now=NOW + timedelta(seconds=seconds),
    )


def test_what_was_begun_goes_on_under_the_successor_but_not_after_a_revocation(cast: Cast) -> None:
    owner = principal(cast.owner, cast.default)
    old = mint_for_agent(cast).token
    middle = rotate(owner, old, overlap=0).token
    heir = rotate(owner, middle, overlap=0).token
    found = live("agent", cast.agent.pk, old, cast, 10)
    assert found is not None
    assert found.token_id == heir.pk
    revoke(heir)
    assert live("agent", cast.agent.pk, old, cast, 10) is None
    assert working_token("tok_none", NOW) is None


def test_a_revoked_predecessor_ends_what_it_began_and_nothing_else(cast: Cast) -> None:
    old = mint_for_agent(cast)
    new = rotate(principal(cast.owner, cast.default), old.token)
    revoke(old.token)
    assert live("agent", cast.agent.pk, old.token, cast) is None
    assert live("agent", cast.agent.pk, new.token, cast) is not None
    assert rejection(old.text) is Rejection.REVOKED
    assert enter(new.text).token_id == new.token.pk


def test_a_service_stays_the_same_principal_through_a_rotation(cast: Cast) -> None:
    owner = principal(cast.owner, cast.default)
    old = mint(owner, TokenWishes("batch", TokenKind.SERVICE, None, ("agent",), None))
    who = enter(old.text).principal
    new = rotate(owner, old.token, overlap=0)
    assert enter(new.text).principal.id == who.id == old.token.family
    assert live("service", who.id, old.token, cast, 5) is not None
    assert live("service", "tok_other", old.token, cast, 5) is None
    User.objects.filter(pk=cast.owner.pk).update(is_active=False)
    assert live("service", who.id, old.token, cast, 5) is None


def test_a_report_of_leaked_texts_ends_those_that_work_and_counts_them(cast: Cast) -> None:
    first, second, ended = (mint_for_agent(cast) for _ in range(3))
    revoke(ended.token)
    forged = format_token(new_token(TokenKind.AGENT))
    flipped = first.text[:-1] + ("0" if first.text[-1] != "0" else "1")
    texts = [second.text, flipped, forged, ended.text, "", "\0", "plr_agt_", second.text]
    record = RecordedEvents()
    with transaction.atomic():
        assert revoke_leaked(texts=texts, actor=SYSTEM, now=NOW, record=record) == 1
        assert revoke_leaked(texts=texts, actor=SYSTEM, now=NOW, record=record) == 0
    assert record.names == ["token.revoked"]
    assert rejection(second.text) is Rejection.REVOKED
    assert ApiToken.objects.get(pk=second.token.pk).revoked_reason == "leaked"
    assert enter(first.text).token_id == first.token.pk
