"""Workspaces, what they share, and who reaches what."""

from __future__ import annotations

from dataclasses import replace

import pytest
from django.db import transaction

from identity.access import FlagSetting, Registry, Stage
from identity.liveness import principal_for_agent_live, principal_live
from identity.models import Agent, ResourceShare, User, Workspace
from identity.reach import (
    require_agent,
    require_workspace,
    shared_ids,
    shares_about,
    visible_agents,
    visible_workspaces,
)
from identity.roles import WorkspaceRole as Role
from identity.selectors import roles_of
from identity.shares import share_resource, unshare_resource
from identity.types import Principal
from identity.workspaces import archive_workspace, create_workspace
from kernel.errors import ConflictError, InvalidError, NotFoundError, RefusedError
from kernel.record import Actor
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, Cast, make_agent, make_cast, make_user, principal

pytestmark = pytest.mark.django_db
TEAMS = Registry({"team_mode": FlagSetting(enabled=True, stage=Stage.GENERAL)})


@pytest.fixture
def cast() -> Cast:
    return make_cast()


@pytest.fixture
def side(cast: Cast) -> Workspace:
    return create(cast, "side")


def acting(user: User) -> Actor:
    return Actor(kind="user", id=user.pk, auth="session", surface="console")


def create(cast: Cast, slug: str, name: str = "Side", actor: Actor | None = None) -> Workspace:
    with transaction.atomic():
        return create_workspace(
            slug=slug, name=name, owner=cast.owner, actor=actor or acting(cast.owner), now=NOW,
            record=RecordedEvents(),
        )  # fmt: skip


def archive(place: Workspace, actor: Actor) -> RecordedEvents:
    record = RecordedEvents()
    with transaction.atomic():
        archive_workspace(workspace_id=place.pk, actor=actor, now=NOW, record=record)
    return record


def share(cast: Cast, agent: Agent, to: Workspace, *, access: str = "read", actor: Actor) -> ResourceShare:
    with transaction.atomic():
        return share_resource(
            kind="agent", resource_id=agent.pk, home_id=agent.workspace_id, workspace_id=to.pk,
            access=access, actor=actor, now=NOW, record=RecordedEvents(),
        )  # fmt: skip


def teaming(user: User, place: Workspace) -> Principal:
    return replace(principal(user, place), flags=TEAMS)


def test_who_creates_a_workspace_owns_it(cast: Cast, side: Workspace) -> None:
    assert roles_of(user_id=cast.owner.pk, workspace_id=side.pk, now=NOW) == {Role.OWNER}
    with pytest.raises(ConflictError):
        create(cast, "side")


@pytest.mark.parametrize(
    "slug", ["", "instance", "default", "admin", "api", "Side", "-a", "a-", "a b", "a" * 64, "ä", "a\n"]
)
def test_a_bad_or_reserved_slug_is_refused(cast: Cast, slug: str) -> None:
    with pytest.raises(InvalidError):
        create(cast, slug)


@pytest.mark.parametrize("name", ["", " ", "x" * 121, "a\tb"])
def test_a_bad_name_is_refused(cast: Cast, name: str) -> None:
    with pytest.raises(InvalidError):
        create(cast, "side", name)


def test_only_owners_of_the_instance_create_and_only_owners_archive(cast: Cast, side: Workspace) -> None:
    head = make_user("head", Role.OWNER, workspace=cast.default)
    admin = make_user("side-admin", Role.ADMIN, workspace=side)
    with pytest.raises(RefusedError):
        create(cast, "more", actor=acting(head))
    for actor in (acting(head), acting(admin), Actor("agent", cast.agent.pk, "token", "api")):
        with pytest.raises(RefusedError):
            archive(side, actor)


def test_an_archived_workspace_stops_everything_in_it(cast: Cast, side: Workspace) -> None:
    member = make_user("member", Role.OPERATOR, workspace=side)
    agent = make_agent(member, side)
    assert principal_for_agent_live(agent_id=agent.pk, now=NOW) is not None
    assert archive(side, acting(cast.owner)).events[0].data == {"change": "archived", "slug": "side"}
    assert principal_for_agent_live(agent_id=agent.pk, now=NOW) is None
    assert roles_of(user_id=member.pk, workspace_id=side.pk, now=NOW) == frozenset()
    assert User.objects.get(pk=member.pk).authority_epoch == 2
    with pytest.raises(NotFoundError):
        archive(side, acting(cast.owner))
    with pytest.raises(NotFoundError):
        require_workspace(principal(cast.owner, cast.default), side.pk)


def test_what_a_person_began_in_an_archived_workspace_ends_with_it_whatever_they_are_elsewhere(
    cast: Cast, side: Workspace
) -> None:
    def live() -> bool:
        found = principal_live(
            kind="user", principal_id=cast.owner.pk, workspace_id=side.pk, token_id=None, now=NOW
        )
        return found is not None

    assert live()
    archive(side, acting(cast.owner))
    assert not live()


def test_the_built_in_workspaces_stay(cast: Cast) -> None:
    for place in (cast.instance, cast.default):
        with pytest.raises(ConflictError):
            archive(place, acting(cast.owner))


def test_a_member_reaches_the_own_workspace_and_a_member_of_the_instance_all(
    cast: Cast, side: Workspace
) -> None:
    member = make_user("member", Role.OWNER, workspace=side)
    foreign = make_agent(member, side)
    assert list(visible_workspaces(principal(member, side))) == [side]
    assert visible_workspaces(principal(cast.owner, cast.default)).count() == 3
    assert list(visible_agents(principal(cast.auditor, cast.default))) == [cast.agent]
    assert set(visible_agents(principal(cast.owner, cast.default))) == {cast.agent, foreign}
    with pytest.raises(NotFoundError):
        require_agent(principal(cast.auditor, cast.default), foreign.pk)
    with pytest.raises(NotFoundError):
        require_workspace(principal(cast.auditor, cast.default), side.pk)


def test_a_shared_agent_is_seen_while_team_mode_is_on(cast: Cast, side: Workspace) -> None:
    member = make_user("member", Role.VIEWER, workspace=side)
    made = share(cast, cast.agent, side, actor=acting(cast.owner))
    assert list(visible_agents(teaming(member, side))) == [cast.agent]
    assert not visible_agents(principal(member, side)).exists()
    assert shared_ids(teaming(member, side), "agent", access="use") == frozenset()
    assert shared_ids(teaming(member, side), "tool") == frozenset()
    for place in (side, cast.default):
        assert list(shares_about(place.pk)) == [made]


def test_a_share_of_an_archived_workspace_shows_nothing(cast: Cast, side: Workspace) -> None:
    agent = make_agent(cast.owner, side, "sides")
    share(cast, agent, cast.default, access="use", actor=acting(cast.owner))
    watcher = teaming(cast.auditor, cast.default)
    assert shared_ids(watcher, "agent", access="use") == {agent.pk}
    archive(side, acting(cast.owner))
    assert shared_ids(watcher, "agent") == frozenset()


def test_only_who_manages_sharing_at_home_shares(cast: Cast, side: Workspace) -> None:
    taker = make_user("taker", Role.OWNER, workspace=side)
    giver = make_user("giver", Role.ADMIN, workspace=cast.default)
    with pytest.raises(RefusedError):
        share(cast, cast.agent, side, actor=acting(taker))
    share(cast, cast.agent, side, actor=acting(giver))
    with pytest.raises(ConflictError):
        share(cast, cast.agent, side, access="use", actor=acting(giver))
    with pytest.raises(InvalidError):
        share(cast, cast.agent, cast.default, actor=acting(giver))
    with pytest.raises(InvalidError):
        share(cast, cast.agent, side, access="own", actor=acting(giver))
    with pytest.raises(NotFoundError):
        share(cast, cast.agent, Workspace(id="wsp_none"), actor=acting(giver))


def test_either_side_closes_a_share_and_nobody_else(cast: Cast, side: Workspace) -> None:
    third = create(cast, "third")
    stranger = make_user("third-owner", Role.OWNER, workspace=third)
    taker = make_user("taker", Role.ADMIN, workspace=side)
    made = share(cast, cast.agent, side, actor=acting(cast.owner))
    for place, actor, error in (
        (third, acting(stranger), NotFoundError),
        (side, acting(stranger), RefusedError),
        (cast.default, acting(taker), RefusedError),
    ):
        with pytest.raises(error):
            close(made, place, actor)
    assert close(made, side, acting(taker)).events[0].data["present"] is False
    with pytest.raises(NotFoundError):
        close(made, side, acting(taker))


def close(made: ResourceShare, place: Workspace, actor: Actor) -> RecordedEvents:
    record = RecordedEvents()
    with transaction.atomic():
        unshare_resource(share_id=made.pk, workspace_id=place.pk, actor=actor, now=NOW, record=record)
    return record


def test_the_system_may_do_what_people_may(cast: Cast) -> None:
    assert create(cast, "by-system", actor=SYSTEM).slug == "by-system"
