"""Somebody nobody knows yet: an open invitation to the address that the provider verified lets them in."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import transaction
from django.test import Client
from pytest_django.fixtures import Settings

from governance.journal.ledger import record
from identity.invitations import create_invitation, revoke_invitation
from identity.models import ConsoleSession, Invitation, Membership, User
from identity.roles import WorkspaceRole
from kernel.clock import utc_now
from kernel.record import Actor
from tests.governance.admin.signing_in import CONFIRM, Idp, come_back, new_subject, switch, text_of
from tests.governance.admin.world import World

EMAIL = "new.person@example.com"


@pytest.fixture
def inviting(world: World, idp: Idp, settings: Settings) -> Idp:
    settings.PALYRA_OIDC_ISSUER, settings.PALYRA_OIDC_CLIENT_ID = idp.url, "palyra-test"
    settings.PALYRA_OIDC_CLIENT_SECRET = "a secret of the client"
    switch("oidc_login", enabled=True)
    switch("team_mode", enabled=True, stage="general")
    return idp


def invite(world: World, email: str = EMAIL, role: WorkspaceRole = WorkspaceRole.APPROVER) -> Invitation:
    with transaction.atomic():
        return create_invitation(
            workspace_id=world.workspace.pk,
            email=email,
            role=role,
            expires_in_days=7,
            actor=Actor(kind="user", id=world.owner.pk, auth="session", surface="console"),
            now=utc_now(),
            record=record,
        ).invitation


def arrives(idp: Idp, browser: Client | None = None, **claims: Any) -> Any:
    honest = {"email": EMAIL, "email_verified": True, "name": "New Person"}
    return come_back(browser or Client(), idp, idp.knows(new_subject(), **honest | claims))


def made() -> User | None:
    return User.objects.filter(oidc_issuer__isnull=False).first()


def test_an_invited_person_is_made_with_the_offered_role_and_enrols_a_factor(
    inviting: Idp, world: World
) -> None:
    invitation = invite(world)
    browser = Client()
    assert arrives(inviting, browser).status_code == 200
    user = made()
    assert user is not None
    assert (user.username, user.display_name, user.email) == (EMAIL, "New Person", EMAIL)
    assert (user.can_log_in, user.has_usable_password()) == (True, False)
    assert list(Membership.objects.filter(user=user).values_list("role", flat=True)) == ["approver"]
    invitation.refresh_from_db()
    assert invitation.accepted_by == user.pk
    assert browser.post(CONFIRM).status_code == 302
    assert "authenticator" in text_of(browser.get("/admin/", follow=True))
    assert ConsoleSession.objects.get(user=user).mfa_at is None


def test_an_invitation_lets_one_person_in(inviting: Idp, world: World) -> None:
    invite(world)
    assert arrives(inviting).status_code == 200
    assert arrives(inviting).status_code == 403
    assert User.objects.filter(oidc_issuer__isnull=False).count() == 1


@pytest.mark.parametrize(
    "claims",
    [
        {"email_verified": False},
        {"email_verified": "true"},
        {"email_verified": None},
        {"email": "other@example.com"},
        {"email": ""},
        {"email": None},
        {"email": [EMAIL]},
        {"email": "new.person@example.com "},
        {"email": "new.per\u017fon@example.com"},
    ],
)
def test_another_or_an_unverified_address_is_not_invited(
    inviting: Idp, world: World, claims: dict[str, Any]
) -> None:
    invite(world)
    assert arrives(inviting, **claims).status_code == 403
    assert made() is None


def test_the_case_of_an_address_does_not_matter(inviting: Idp, world: World) -> None:
    invite(world, "New.Person@Example.com")
    assert arrives(inviting).status_code == 200


def revoke(world: World, invitation: Invitation) -> None:
    actor = Actor(kind="user", id=world.owner.pk, auth="session", surface="console")
    with transaction.atomic():
        revoke_invitation(invitation_id=invitation.pk, actor=actor, now=utc_now(), record=record)


def expire(world: World, invitation: Invitation) -> None:
    Invitation.objects.filter(pk=invitation.pk).update(expires_at=utc_now())


def lose_the_right(world: World, invitation: Invitation) -> None:
    Invitation.objects.filter(pk=invitation.pk).update(invited_by=world.viewer.pk)


def switch_off(world: World, invitation: Invitation) -> None:
    switch("team_mode", enabled=False)


@pytest.mark.parametrize("end", [revoke, expire, lose_the_right, switch_off])
def test_an_offer_that_does_not_stand_lets_nobody_in(
    inviting: Idp, world: World, end: Callable[[World, Invitation], None]
) -> None:
    invitation = invite(world)
    end(world, invitation)
    assert arrives(inviting).status_code == 403
    assert made() is None
    invitation.refresh_from_db()
    assert invitation.accepted_at is None


def test_an_existing_person_of_the_same_name_stays_apart(inviting: Idp, world: World) -> None:
    User.objects.filter(pk=world.viewer.pk).update(username=EMAIL, email=EMAIL)
    invite(world)
    assert arrives(inviting).status_code == 200
    user = made()
    assert user is not None
    assert user.username == f"{EMAIL}-2"
    assert User.objects.get(pk=world.viewer.pk).oidc_subject is None


@pytest.mark.parametrize("name", ["\u202eevil", "a" * 300, "x\ny", 7, None])
def test_a_name_that_is_none_is_left_out(inviting: Idp, world: World, name: object) -> None:
    invite(world)
    assert arrives(inviting, name=name).status_code == 200
    user = made()
    assert user is not None
    assert user.display_name == ""


def test_the_command_links_and_unlinks(inviting: Idp, world: World) -> None:
    said = StringIO()
    call_command("link_oidc", user="auditor", subject="sub-of-auditor", stdout=said)
    assert User.objects.get(pk=world.auditor.pk).oidc_subject == "sub-of-auditor"
    call_command("link_oidc", user="auditor", remove=True, stdout=said)
    assert User.objects.get(pk=world.auditor.pk).oidc_subject is None
    assert said.getvalue() == "auditor: linked\nauditor: unlinked\n"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"user": "nobody", "subject": "x"}, "No such person"),
        ({"user": "auditor", "subject": ""}, "1 to 255"),
        ({"user": "auditor", "subject": "x" * 256}, "1 to 255"),
        ({"user": "auditor", "subject": "taken"}, "another person"),
    ],
)
def test_the_command_says_why_not(inviting: Idp, options: dict[str, str], sentence: str) -> None:
    call_command("link_oidc", user="viewer", subject="taken", stdout=StringIO())
    with pytest.raises(CommandError, match=sentence):
        call_command("link_oidc", **options)


def test_without_a_provider_there_is_nothing_to_link(inviting: Idp, settings: Settings) -> None:
    settings.PALYRA_OIDC_ISSUER = ""
    with pytest.raises(CommandError, match="PALYRA_OIDC_ISSUER"):
        call_command("link_oidc", user="auditor", subject="x")


def test_a_person_linked_without_a_password_may_sign_in_and_unlinked_may_not(
    inviting: Idp, world: World
) -> None:
    User.objects.filter(pk=world.auditor.pk).update(password="!", can_log_in=False)
    call_command("link_oidc", user="auditor", subject="a", stdout=StringIO())
    assert User.objects.get(pk=world.auditor.pk).can_log_in is True
    call_command("link_oidc", user="auditor", remove=True, stdout=StringIO())
    assert User.objects.get(pk=world.auditor.pk).can_log_in is False
