from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction

from identity.agents import suspend_agent
from identity.authentication import RejectedCredentialError, Rejection, principal_of
from identity.liveness import principal_for_agent_live
from identity.minting import MintedToken, mint_token
from identity.models import ApiToken, Membership, User
from identity.revocation import revoke_token
from identity.roles import Permission, WorkspaceRole
from identity.tokens import TokenKind, format_token, new_token
from identity.types import AuthStrength, Principal, PrincipalKind
from kernel.errors import AuthenticationError
from tests.builders import RecordedEvents
from tests.cast import AGENT_SCOPES, NOW, SYSTEM, Cast, enrol, make_cast, mint_for_agent, principal

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def authenticate(*headers: str, later: timedelta = timedelta(0)) -> Principal:
    return principal_of(authorization=headers, client_ip="10.0.0.9", request_id="req_1", now=NOW + later)


def rejection(*headers: str, later: timedelta = timedelta(0)) -> RejectedCredentialError:
    with pytest.raises(RejectedCredentialError) as caught:
        authenticate(*headers, later=later)
    return caught.value


def test_the_agent_is_recognised_with_its_owner_and_scopes(cast: Cast) -> None:
    found = authenticate(f"Bearer {mint_for_agent(cast).text}")
    assert (found.kind, found.id, found.owner_id) == (PrincipalKind.AGENT, cast.agent.pk, cast.agent_owner.pk)
    assert found.permissions == {Permission(scope) for scope in AGENT_SCOPES}
    assert found.auth_strength is AuthStrength.TOKEN
    assert found.workspace_id == cast.default.pk


def test_the_scheme_word_has_no_case(cast: Cast) -> None:
    assert authenticate(f"bEaReR {mint_for_agent(cast).text}").id == cast.agent.pk


def test_an_agent_holds_no_more_than_its_token_names(cast: Cast) -> None:
    minted = mint_for_agent(cast, "runs.read")
    assert authenticate(f"Bearer {minted.text}").permissions == {Permission.RUNS_READ}


def test_an_agent_holds_no_more_than_its_owner_holds_now(cast: Cast) -> None:
    minted = mint_for_agent(cast)
    Membership.objects.filter(user=cast.agent_owner).update(role=WorkspaceRole.VIEWER)
    held = authenticate(f"Bearer {minted.text}").permissions
    assert held == {Permission.RUNS_READ, Permission.TOOLS_READ, Permission.CALLS_READ}


def test_a_row_that_says_more_than_an_agent_may_hold_gives_nothing_more(cast: Cast) -> None:
    minted = mint_for_agent(cast, "runs.read")
    Membership.objects.filter(user=cast.agent_owner).update(role=WorkspaceRole.OWNER)
    ApiToken.objects.update(scopes=["approvals.decide", "vault.get", "tools.manage", "no.such", "runs.read"])
    assert authenticate(f"Bearer {minted.text}").permissions == {Permission.RUNS_READ}


def bad_headers(minted: MintedToken) -> dict[str, tuple[str, ...]]:
    text = minted.text
    return {
        "none": (),
        "two": (f"Bearer {text}", f"Bearer {text}"),
        "no scheme": (text,),
        "basic": (f"Basic {text}",),
        "empty": ("Bearer ",),
        "nul": (f"Bearer {text}\0",),
        "long": (f"Bearer {text}" + " " * 512,),
        "10 KiB": ("Bearer " + "a" * 10_240,),
        "lower-cased": (f"Bearer {text.lower()}",),
        "flipped": (f"Bearer {text[:-1]}{'0' if text[-1] != '0' else '1'}",),
        "unknown": (f"Bearer {format_token(new_token(TokenKind.AGENT))}",),
        "two tokens": (f"Bearer {text} {text}",),
        "non-ascii": (f"Bearer {text[:-1]}é",),
    }


def test_every_bad_credential_gets_the_same_answer(cast: Cast) -> None:
    answers = {
        (
            error.code,
            error.detail,
            error.status,
            str(error),
            error.errors,
            error.retry_after,
            str(error.extra),
        )
        for error in (rejection(*headers) for headers in bad_headers(mint_for_agent(cast)).values())
    }
    assert len(answers) == 1


def test_the_inner_reason_follows_the_order_of_checks(cast: Cast) -> None:
    minted = mint_for_agent(cast)
    header = f"Bearer {minted.text}"
    assert rejection().reason is Rejection.MISSING
    assert rejection(header, header).reason is Rejection.MALFORMED
    assert rejection(f"Bearer {format_token(new_token(TokenKind.AGENT))}").reason is Rejection.UNKNOWN
    with transaction.atomic():
        suspend_agent(agent_id=cast.agent.pk, reason="test", actor=SYSTEM, now=NOW, record=RecordedEvents())
    assert rejection(header).reason is Rejection.PRINCIPAL_INACTIVE
    assert rejection(header, later=timedelta(days=30)).reason is Rejection.EXPIRED
    with transaction.atomic():
        revoke_token(token_id=minted.token.pk, reason="lost", actor=SYSTEM, now=NOW, record=RecordedEvents())
    assert rejection(header, later=timedelta(days=30)).reason is Rejection.REVOKED
    ApiToken.objects.update(digest=b"\0" * 32)
    assert rejection(header).reason is Rejection.DIGEST


def test_a_token_that_was_altered_to_another_kind_is_refused(cast: Cast) -> None:
    minted = mint_for_agent(cast)
    ApiToken.objects.update(kind=TokenKind.SERVICE)
    assert rejection(f"Bearer {minted.text}").reason is Rejection.DIGEST


@pytest.mark.parametrize("gone", ["owner", "workspace", "agent"])
def test_an_agent_ends_with_its_owner_its_workspace_and_itself(cast: Cast, gone: str) -> None:
    minted = mint_for_agent(cast)
    if gone == "owner":
        User.objects.filter(pk=cast.agent_owner.pk).update(is_active=False)
    elif gone == "workspace":
        type(cast.default).objects.filter(pk=cast.default.pk).update(archived_at=NOW)
    else:
        type(cast.agent).objects.filter(pk=cast.agent.pk).update(state="archived")
    assert rejection(f"Bearer {minted.text}").reason is Rejection.PRINCIPAL_INACTIVE
    assert principal_for_agent_live(agent_id=cast.agent.pk, now=NOW) is None


def mint_for_user(cast: Cast, user: User, kind: TokenKind, *scopes: str) -> MintedToken:
    with transaction.atomic():
        return mint_token(
            kind=kind,
            label="laptop",
            scopes=scopes,
            expires_at=NOW + timedelta(days=30),
            workspace=cast.default,
            user=user,
            minter=principal(user, cast.default),
            now=NOW,
            record=RecordedEvents(),
        )


def test_a_personal_token_gives_the_scopes_its_owner_still_holds(cast: Cast) -> None:
    enrol(cast.approver)
    minted = mint_for_user(cast, cast.approver, TokenKind.USER, "approvals.decide", "approvals.read")
    found = authenticate(f"Bearer {minted.text}")
    assert (found.kind, found.id) == (PrincipalKind.USER, cast.approver.pk)
    assert found.permissions == {Permission.APPROVALS_DECIDE, Permission.APPROVALS_READ}
    assert {type(permission) for permission in found.permissions} == {Permission}
    assert found.auth_strength is AuthStrength.MFA
    Membership.objects.filter(user=cast.approver).delete()
    assert authenticate(f"Bearer {minted.text}").permissions == frozenset()
    User.objects.filter(pk=cast.approver.pk).update(is_active=False)
    assert rejection(f"Bearer {minted.text}").reason is Rejection.PRINCIPAL_INACTIVE


def test_a_personal_token_without_an_authenticator_is_only_a_token(cast: Cast) -> None:
    minted = mint_for_user(cast, cast.approver, TokenKind.USER, "approvals.decide")
    assert authenticate(f"Bearer {minted.text}").auth_strength is AuthStrength.TOKEN


def test_a_service_token_is_a_service_and_bounded_like_an_agent(cast: Cast) -> None:
    minted = mint_for_user(cast, cast.owner, TokenKind.SERVICE, "runs.read")
    ApiToken.objects.update(scopes=["runs.read", "approvals.decide"])
    found = authenticate(f"Bearer {minted.text}")
    assert (found.kind, found.id, found.owner_id) == (
        PrincipalKind.SERVICE,
        minted.token.pk,
        cast.owner.pk,
    )
    assert found.permissions == {Permission.RUNS_READ}
    assert isinstance(rejection(), AuthenticationError)
