from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction

from identity.memberships import grant_membership, remove_membership
from identity.models import Membership, Team, User, Workspace
from identity.people import disable_user
from identity.roles import WorkspaceRole as Role
from identity.selectors import roles_of
from identity.teams import add_team_member, create_team, remove_team_member
from kernel.errors import ConflictError, InvalidError, NotFoundError, RefusedError
from kernel.record import Actor
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, Cast, make_cast, make_user

pytestmark = pytest.mark.django_db
SOON = NOW + timedelta(days=1)


@pytest.fixture
def cast() -> Cast:
    return make_cast()


@pytest.fixture
def head(cast: Cast) -> User:
    """The only owner of `default` itself."""
    return make_user("head", Role.OWNER, workspace=cast.default)


def acting(user: User) -> Actor:
    return Actor(kind="user", id=user.pk, auth="session", surface="console")


def epoch(user: User) -> int:
    return User.objects.get(pk=user.pk).authority_epoch


def held(user: User, role: Role) -> Membership:
    return Membership.objects.get(user=user, role=role)


def remove(membership: Membership, actor: Actor) -> RecordedEvents:
    record = RecordedEvents()
    with transaction.atomic():
        remove_membership(membership_id=membership.pk, actor=actor, now=NOW, record=record)
    return record


def grant(
    workspace: Workspace, role: Role, actor: Actor, *, user: User | None = None, team: Team | None = None
) -> Membership:
    with transaction.atomic():
        return grant_membership(
            user=user, team=team, workspace=workspace, role=role, actor=actor, now=NOW,
            record=RecordedEvents(),
        )  # fmt: skip


def make_team(cast: Cast, *members: User, role: Role | None = None) -> Team:
    with transaction.atomic():
        record = RecordedEvents()
        team = create_team(workspace_id=cast.default.pk, name="crew", actor=SYSTEM, now=NOW, record=record)
        for member in members:
            add_team_member(team_id=team.pk, user=member, actor=SYSTEM, now=NOW, record=record)
    if role is not None:
        grant(cast.default, role, SYSTEM, team=team)
    return team


def leave(team: Team, user: User, actor: Actor) -> None:
    with transaction.atomic():
        remove_team_member(team_id=team.pk, user_id=user.pk, actor=actor, now=NOW, record=RecordedEvents())


def test_a_removed_role_counts_no_more_and_raises_the_epoch(cast: Cast) -> None:
    before = epoch(cast.approver)
    record = remove(held(cast.approver, Role.APPROVER), acting(cast.owner))
    assert roles_of(user_id=cast.approver.pk, workspace_id=cast.default.pk, now=NOW) == frozenset()
    assert epoch(cast.approver) == before + 1
    assert record.names == ["membership.removed"]
    assert record.events[0].data["role"] == "approver"


def test_anybody_drops_an_own_role_and_no_other(cast: Cast, head: User) -> None:
    remove(held(cast.auditor, Role.AUDITOR), acting(cast.auditor))
    with pytest.raises(RefusedError):
        remove(held(cast.approver, Role.APPROVER), acting(cast.agent_owner))
    with pytest.raises(RefusedError):
        remove(held(cast.approver, Role.APPROVER), Actor("agent", cast.agent.pk, "token", "api"))
    with pytest.raises(NotFoundError):
        remove(Membership(id="mbr_none"), acting(head))


def test_an_admin_takes_away_what_an_admin_grants_and_no_more(cast: Cast, head: User) -> None:
    admin = make_user("admin", Role.ADMIN, workspace=cast.default)
    other = make_user("other-admin", Role.ADMIN, workspace=cast.default)
    make_user("second-head", Role.OWNER, workspace=cast.default)
    remove(held(cast.approver, Role.APPROVER), acting(admin))
    for target, role in ((other, Role.ADMIN), (head, Role.OWNER)):
        with pytest.raises(RefusedError):
            remove(held(target, role), acting(admin))
    remove(held(other, Role.ADMIN), acting(head))


def test_an_admin_makes_nobody_an_owner_and_nothing_of_themselves(cast: Cast, head: User) -> None:
    admin = make_user("admin", Role.ADMIN, workspace=cast.default)
    for user, role in ((admin, Role.OWNER), (cast.stranger, Role.OWNER), (admin, Role.VIEWER)):
        with pytest.raises(RefusedError):
            grant(cast.default, role, acting(admin), user=user)
    with pytest.raises(RefusedError):
        grant(cast.instance, Role.VIEWER, acting(head), user=cast.stranger)


def test_the_last_owner_can_neither_leave_nor_be_removed(cast: Cast, head: User) -> None:
    for actor in (acting(head), acting(cast.owner)):
        with pytest.raises(ConflictError) as refusal:
            remove(held(head, Role.OWNER), actor)
        assert refusal.value.code == "last_owner"
    second = make_user("second-head", Role.OWNER, workspace=cast.default)
    remove(held(head, Role.OWNER), acting(second))
    with pytest.raises(ConflictError):
        remove(held(second, Role.OWNER), acting(second))


@pytest.mark.parametrize("change", [{"is_active": False}, {"can_log_in": False}])
def test_an_owner_who_cannot_act_is_no_other_owner(cast: Cast, head: User, change: dict[str, bool]) -> None:
    second = make_user("second-head", Role.OWNER, workspace=cast.default)
    User.objects.filter(pk=second.pk).update(**change)
    with pytest.raises(ConflictError):
        remove(held(head, Role.OWNER), acting(head))
    remove(held(second, Role.OWNER), acting(head))


def test_an_owner_for_a_time_is_no_other_owner_and_never_the_only_one(cast: Cast, head: User) -> None:
    record = RecordedEvents()
    second = make_user("second-head", workspace=cast.default)
    with transaction.atomic():
        grant_membership(
            user=second, workspace=cast.default, role=Role.OWNER, expires_at=SOON, actor=SYSTEM,
            now=NOW, record=record,
        )  # fmt: skip
    with pytest.raises(ConflictError):
        remove(held(head, Role.OWNER), acting(second))
    Membership.objects.filter(user=head).delete()
    with pytest.raises(InvalidError), transaction.atomic():
        grant_membership(
            user=cast.stranger, workspace=cast.default, role=Role.OWNER, expires_at=SOON, actor=SYSTEM,
            now=NOW, record=record,
        )  # fmt: skip


def test_a_role_that_has_ended_is_granted_anew(cast: Cast) -> None:
    record = RecordedEvents()
    Membership.objects.filter(user=cast.auditor).update(expires_at=NOW)
    with transaction.atomic():
        grant_membership(
            user=cast.auditor, workspace=cast.default, role=Role.AUDITOR, actor=acting(cast.owner),
            now=NOW, record=record,
        )  # fmt: skip
    assert record.names == ["membership.removed", "membership.granted"]
    assert held(cast.auditor, Role.AUDITOR).expires_at is None


def test_a_disabled_person_gets_no_role(cast: Cast) -> None:
    User.objects.filter(pk=cast.stranger.pk).update(is_active=False)
    with pytest.raises(InvalidError):
        grant(cast.default, Role.VIEWER, acting(cast.owner), user=cast.stranger)
    team = make_team(cast)
    with pytest.raises(InvalidError), transaction.atomic():
        add_team_member(team_id=team.pk, user=cast.stranger, actor=SYSTEM, now=NOW, record=RecordedEvents())


def test_the_roles_of_a_team_come_and_go_with_it(cast: Cast) -> None:
    team = make_team(cast, cast.stranger, role=Role.OPERATOR)
    place = cast.default.pk
    assert roles_of(user_id=cast.stranger.pk, workspace_id=place, now=NOW) == {Role.OPERATOR}
    assert epoch(cast.stranger) == 2
    leave(team, cast.stranger, acting(cast.stranger))
    assert roles_of(user_id=cast.stranger.pk, workspace_id=place, now=NOW) == frozenset()
    assert epoch(cast.stranger) == 3
    with pytest.raises(NotFoundError):
        leave(team, cast.stranger, acting(cast.owner))


def test_taking_a_teams_role_raises_the_epoch_of_its_members(cast: Cast) -> None:
    team = make_team(cast, cast.stranger, cast.auditor, role=Role.OPERATOR)
    before = epoch(cast.auditor)
    remove(Membership.objects.get(team=team), acting(cast.owner))
    assert epoch(cast.auditor) == before + 1


def test_a_team_is_no_way_around_the_ranks(cast: Cast, head: User) -> None:
    admin = make_user("admin", Role.ADMIN, workspace=cast.default)
    team = make_team(cast, head, role=Role.OWNER)
    with pytest.raises(RefusedError), transaction.atomic():
        add_team_member(
            team_id=team.pk, user=cast.stranger, actor=acting(admin), now=NOW, record=RecordedEvents()
        )
    with pytest.raises(RefusedError), transaction.atomic():
        add_team_member(
            team_id=team.pk, user=cast.owner, actor=acting(cast.owner), now=NOW, record=RecordedEvents()
        )
    with pytest.raises(RefusedError):
        leave(team, head, acting(admin))
    with pytest.raises(RefusedError):
        grant(cast.default, Role.APPROVER, acting(head), team=team)


def test_an_owner_by_team_is_an_owner(cast: Cast, head: User) -> None:
    team = make_team(cast, cast.stranger, role=Role.OWNER)
    remove(held(head, Role.OWNER), acting(head))
    for end in (
        lambda: leave(team, cast.stranger, acting(cast.stranger)),
        lambda: remove(Membership.objects.get(team=team), acting(cast.stranger)),
        lambda: disable(cast.stranger, acting(cast.owner)),
    ):
        with pytest.raises(ConflictError) as refusal:
            end()
        assert refusal.value.code == "last_owner"


def disable(user: User, actor: Actor) -> None:
    with transaction.atomic():
        disable_user(user_id=user.pk, reason="test", actor=actor, now=NOW, record=RecordedEvents())


def test_a_team_holds_roles_at_home_only_and_has_a_name_of_its_own(cast: Cast) -> None:
    team = make_team(cast)
    with pytest.raises(InvalidError):
        grant(cast.instance, Role.VIEWER, SYSTEM, team=team)
    with pytest.raises(ConflictError):
        make_team(cast)
    for user, both in ((None, None), (cast.stranger, team)):
        with pytest.raises(InvalidError):
            grant(cast.default, Role.VIEWER, SYSTEM, user=user, team=both)
    with pytest.raises(NotFoundError), transaction.atomic():
        remove_team_member(
            team_id="tm_none", user_id=cast.stranger.pk, actor=SYSTEM, now=NOW, record=RecordedEvents()
        )
    for name in ("", "  ", "a\nb", "a\u202eb", "x" * 81):
        with pytest.raises(InvalidError), transaction.atomic():
            create_team(
                workspace_id=cast.default.pk, name=name, actor=SYSTEM, now=NOW, record=RecordedEvents()
            )
