from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.db import transaction

from identity.invitations import Invited, accept_invitation, create_invitation, revoke_invitation, state_of
from identity.models import Invitation, Membership, User, Workspace
from identity.roles import WorkspaceRole as Role
from identity.selectors import roles_of
from identity.workspaces import archive_workspace
from kernel.errors import ConflictError, InvalidError, NotFoundError, PalyraError, RefusedError
from kernel.ids import new_id
from kernel.record import Actor
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, Cast, make_cast, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    return make_cast()


@pytest.fixture
def admin(cast: Cast) -> User:
    return make_user("admin", Role.ADMIN, workspace=cast.default)


def acting(user: User) -> Actor:
    return Actor(kind="user", id=user.pk, auth="session", surface="console")


def invite(
    cast: Cast,
    by: Actor,
    role: Role = Role.OPERATOR,
    *,
    email: str = "x@example.com",
    days: int = 7,
    place: Workspace | None = None,
) -> Invited:
    with transaction.atomic():
        return create_invitation(
            workspace_id=(place or cast.default).pk, email=email, role=role, expires_in_days=days, actor=by,
            now=NOW, record=RecordedEvents(),
        )  # fmt: skip


def accept(text: str, user: User, *, now: datetime = NOW) -> RecordedEvents:
    record = RecordedEvents()
    with transaction.atomic():
        accept_invitation(text=text, user=user, actor=acting(user), now=now, record=record)
    return record


def refusal_of(text: str, user: User, *, now: datetime = NOW) -> PalyraError:
    with pytest.raises(PalyraError) as refusal:
        accept(text, user, now=now)
    assert not Membership.objects.filter(user=user).exists()
    return refusal.value


def test_an_invitation_gives_its_role_once(cast: Cast, admin: User) -> None:
    invited = invite(cast, acting(admin))
    record = accept(invited.text, cast.stranger)
    assert record.names == ["invitation.accepted", "membership.granted"]
    assert roles_of(user_id=cast.stranger.pk, workspace_id=cast.default.pk, now=NOW) == {Role.OPERATOR}
    assert Membership.objects.get(user=cast.stranger).granted_by == admin.pk
    assert User.objects.get(pk=cast.stranger.pk).authority_epoch == 1
    other = make_user("other", workspace=cast.default)
    assert isinstance(refusal_of(invited.text, other), ConflictError)


def test_the_text_is_nowhere_but_in_the_answer(cast: Cast, admin: User) -> None:
    record = RecordedEvents()
    with transaction.atomic():
        invited = create_invitation(
            workspace_id=cast.default.pk, email="x@example.com", role=Role.VIEWER, expires_in_days=1,
            actor=acting(admin), now=NOW, record=record,
        )  # fmt: skip
    row = Invitation.objects.get()
    assert len(invited.text) == len("pli_") + 43
    assert invited.text not in repr(invited) + str(record.events) + str(row.__dict__)
    assert len(bytes(row.digest)) == 32


def test_the_address_opens_nothing(cast: Cast, admin: User) -> None:
    named = make_user("named", workspace=cast.default)
    User.objects.filter(pk=named.pk).update(email="x@example.com")
    invite(cast, acting(admin))
    assert not Membership.objects.filter(user=named).exists()


def test_an_offer_that_ended_is_refused(cast: Cast, admin: User) -> None:
    expired = invite(cast, acting(admin), days=1)
    revoked = invite(cast, acting(admin))
    later = NOW + timedelta(days=1)
    for _ in range(2):
        with transaction.atomic():
            revoke_invitation(
                invitation_id=revoked.invitation.pk, actor=acting(admin), now=NOW, record=RecordedEvents()
            )
    assert refusal_of(expired.text, cast.stranger, now=later).code == "state_changed"
    assert refusal_of(revoked.text, cast.stranger).code == "state_changed"
    assert isinstance(refusal_of("pli_" + "A" * 43, cast.stranger), NotFoundError)
    assert [state_of(row, later) for row in Invitation.objects.order_by("expires_at")] == [
        "expired",
        "revoked",
    ]


def test_whoever_invited_must_still_be_entitled(cast: Cast, admin: User) -> None:
    invited = invite(cast, acting(admin))
    Membership.objects.filter(user=admin).update(role=Role.OPERATOR)
    assert isinstance(refusal_of(invited.text, cast.stranger), RefusedError)
    Membership.objects.filter(user=admin).update(role=Role.ADMIN)
    User.objects.filter(pk=admin.pk).update(is_active=False)
    assert isinstance(refusal_of(invited.text, cast.stranger), RefusedError)


def test_whoever_invited_an_admin_must_still_outrank_one(cast: Cast) -> None:
    head = make_user("head", Role.OWNER, workspace=cast.default)
    invited = invite(cast, acting(head), Role.ADMIN)
    Membership.objects.filter(user=head).update(role=Role.ADMIN)
    assert isinstance(refusal_of(invited.text, cast.stranger), RefusedError)


def test_nobody_invites_beyond_their_rank_or_themselves(cast: Cast, admin: User) -> None:
    for role in (Role.OWNER, Role.ADMIN):
        with pytest.raises(RefusedError):
            invite(cast, acting(admin), role)
    with pytest.raises(RefusedError):
        invite(cast, acting(cast.approver), Role.VIEWER)
    with pytest.raises(RefusedError):
        invite(cast, Actor("agent", cast.agent.pk, "token", "api"), Role.VIEWER)
    invited = invite(cast, acting(cast.owner))
    with pytest.raises(RefusedError):
        accept(invited.text, cast.owner)


def test_a_role_that_is_held_leaves_the_offer_open(cast: Cast, admin: User) -> None:
    invited = invite(cast, acting(admin), Role.AUDITOR)
    with pytest.raises(ConflictError):
        accept(invited.text, cast.auditor)
    accept(invited.text, cast.stranger)


def test_a_disabled_person_accepts_nothing(cast: Cast, admin: User) -> None:
    invited = invite(cast, acting(admin))
    User.objects.filter(pk=cast.stranger.pk).update(is_active=False)
    assert isinstance(refusal_of(invited.text, cast.stranger), RefusedError)


def test_an_archived_workspace_takes_nobody_in(cast: Cast) -> None:
    place = Workspace.objects.create(id=new_id("wsp", NOW), slug="side", name="Side", created_at=NOW)
    invited = invite(cast, acting(cast.owner), place=place)
    with transaction.atomic():
        archive_workspace(workspace_id=place.pk, actor=SYSTEM, now=NOW, record=RecordedEvents())
    assert isinstance(refusal_of(invited.text, cast.stranger), NotFoundError)


@pytest.mark.parametrize(
    ("email", "days"), [("nobody", 7), ("", 7), ("x@example.com", 0), ("x@example.com", 31)]
)
def test_a_bad_offer_is_refused(cast: Cast, admin: User, email: str, days: int) -> None:
    with pytest.raises(InvalidError):
        invite(cast, acting(admin), email=email, days=days)


def test_an_accepted_offer_is_not_revoked_and_strangers_revoke_none(cast: Cast, admin: User) -> None:
    invited = invite(cast, acting(admin))
    for actor, error in ((acting(cast.approver), RefusedError),):
        with pytest.raises(error), transaction.atomic():
            revoke_invitation(
                invitation_id=invited.invitation.pk, actor=actor, now=NOW, record=RecordedEvents()
            )
    accept(invited.text, cast.stranger)
    with pytest.raises(ConflictError), transaction.atomic():
        revoke_invitation(
            invitation_id=invited.invitation.pk, actor=acting(admin), now=NOW, record=RecordedEvents()
        )
    with pytest.raises(NotFoundError), transaction.atomic():
        revoke_invitation(invitation_id="inv_none", actor=SYSTEM, now=NOW, record=RecordedEvents())
