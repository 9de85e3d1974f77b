from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction

from identity.agents import register_agent, resume_agent, suspend_agent
from identity.liveness import principal_for_agent_live
from identity.memberships import grant_membership
from identity.models import Membership, User
from identity.people import create_user
from identity.roles import Permission, WorkspaceRole
from identity.selectors import (
    agent_owner,
    holders,
    permissions_of_user,
    roles_of,
    sole_holder,
)
from identity.workspaces import create_workspaces
from kernel.errors import ConflictError, InvalidError, NotFoundError, RefusedError
from kernel.record import Actor
from tests.builders import RecordedEvents
from tests.cast import NOW, PASSWORD, SYSTEM, Cast, make_agent, make_cast, make_user, mint_for_agent

pytestmark = pytest.mark.django_db
DECIDE = Permission.APPROVALS_DECIDE


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def acting(user: User) -> Actor:
    return Actor(kind="user", id=user.pk, auth="session", surface="console")


def create(username: str, password: str | None = PASSWORD, actor: Actor = SYSTEM) -> User:
    with transaction.atomic():
        return create_user(
            username=username, password=password, actor=actor, now=NOW, record=RecordedEvents()
        )


def grant(user: User, role: WorkspaceRole, cast: Cast, actor: Actor) -> Membership:
    with transaction.atomic():
        return grant_membership(
            user=user, workspace=cast.default, role=role, actor=actor, now=NOW, record=RecordedEvents()
        )


def test_making_the_workspaces_again_changes_nothing(cast: Cast) -> None:
    record = RecordedEvents()
    assert create_workspaces(actor=SYSTEM, now=NOW, record=record) == (cast.instance, cast.default)
    assert record.events == []
    with pytest.raises(RefusedError):
        create_workspaces(actor=acting(cast.owner), now=NOW, record=record)


@pytest.mark.parametrize(
    "name", ["", "ab", "Upper", "-dash", "with space", "é" * 5, "a" * 151, "nul\0x", "line\n"]
)
def test_a_user_name_outside_the_rules_is_refused(name: str) -> None:
    with pytest.raises(InvalidError):
        create(name)


@pytest.mark.parametrize(
    "password", ["", "short", "123456789012", "password1234", "x" * 257, "somebody-else"]
)
def test_a_weak_password_is_refused(password: str) -> None:
    with pytest.raises(InvalidError):
        create("somebody-else", password)


def test_a_taken_name_is_a_conflict_and_leaves_no_event() -> None:
    create("somebody")
    record = RecordedEvents()
    with pytest.raises(ConflictError), transaction.atomic():
        create_user(username="somebody", password=PASSWORD, actor=SYSTEM, now=NOW, record=record)
    assert record.events == []


def test_only_an_instance_owner_or_the_instance_creates_people(cast: Cast) -> None:
    assert create("newcomer", actor=acting(cast.owner)).can_log_in
    for actor in (acting(cast.approver), Actor("agent", cast.agent.pk, "token", "api")):
        with pytest.raises(RefusedError):
            create("other", actor=actor)


def test_nobody_grants_what_they_do_not_outrank(cast: Cast) -> None:
    admin = make_user("admin", WorkspaceRole.ADMIN, workspace=cast.default)
    grant(cast.stranger, WorkspaceRole.OPERATOR, cast, acting(admin))
    for role in (WorkspaceRole.OWNER, WorkspaceRole.ADMIN):
        with pytest.raises(RefusedError):
            grant(cast.stranger, role, cast, acting(admin))
    grant(cast.stranger, WorkspaceRole.OWNER, cast, acting(cast.owner))
    for actor in (acting(cast.approver), Actor("agent", cast.agent.pk, "token", "api")):
        with pytest.raises(RefusedError):
            grant(cast.stranger, WorkspaceRole.VIEWER, cast, actor)
    with pytest.raises(RefusedError):
        grant(cast.owner, WorkspaceRole.APPROVER, cast, acting(cast.owner))
    with pytest.raises(ConflictError):
        grant(cast.stranger, WorkspaceRole.OPERATOR, cast, SYSTEM)


def test_a_new_role_raises_the_epoch_and_an_ended_one_counts_no_more(cast: Cast) -> None:
    record = RecordedEvents()
    with pytest.raises(InvalidError), transaction.atomic():
        grant_membership(
            user=cast.stranger, workspace=cast.default, role=WorkspaceRole.VIEWER, expires_at=NOW,
            actor=SYSTEM, now=NOW, record=record,
        )  # fmt: skip
    with transaction.atomic():
        grant_membership(
            user=cast.stranger, workspace=cast.default, role=WorkspaceRole.APPROVER,
            expires_at=NOW + timedelta(days=1), actor=SYSTEM, now=NOW, record=record,
        )  # fmt: skip
    cast.stranger.refresh_from_db()
    assert cast.stranger.authority_epoch == 1
    where = cast.default.pk
    assert roles_of(user_id=cast.stranger.pk, workspace_id=where, now=NOW) == {WorkspaceRole.APPROVER}
    later = NOW + timedelta(days=1)
    assert roles_of(user_id=cast.stranger.pk, workspace_id=where, now=later) == frozenset()
    assert cast.stranger.pk not in holders(DECIDE, later)


def test_an_instance_role_reaches_every_workspace_and_a_local_one_does_not(cast: Cast) -> None:
    reach = permissions_of_user(user_id=cast.owner.pk, workspace_id=cast.default.pk, now=NOW)
    assert {Permission.USERS_MANAGE, DECIDE} <= reach
    assert (
        permissions_of_user(user_id=cast.approver.pk, workspace_id=cast.instance.pk, now=NOW) == frozenset()
    )


def test_who_may_decide_counts_only_people_who_can(cast: Cast) -> None:
    assert holders(DECIDE, NOW) == {cast.owner.pk, cast.approver.pk, cast.second_approver.pk}
    make_user("no-login", WorkspaceRole.APPROVER, workspace=cast.default, password=None)
    User.objects.filter(pk__in=[cast.approver.pk, cast.second_approver.pk]).update(is_active=False)
    assert sole_holder(DECIDE, NOW) == cast.owner.pk
    User.objects.filter(pk=cast.approver.pk).update(is_active=True)
    assert sole_holder(DECIDE, NOW) is None
    User.objects.update(is_active=False)
    assert sole_holder(DECIDE, NOW) is None


def test_an_instance_permission_is_not_held_by_a_local_owner(cast: Cast) -> None:
    make_user("local-owner", WorkspaceRole.OWNER, workspace=cast.default)
    assert holders(Permission.USERS_MANAGE, NOW) == {cast.owner.pk}


def test_an_agent_needs_an_owner_with_a_role_and_a_free_name(cast: Cast) -> None:
    assert agent_owner(cast.agent.pk) == cast.agent_owner.pk
    assert agent_owner("agt_none") is None
    with pytest.raises(InvalidError):
        make_agent(cast.stranger, cast.default, "other")
    with pytest.raises(ConflictError):
        make_agent(cast.agent_owner, cast.default, "agent")
    for name in ("", "  ", "n" * 81):
        with pytest.raises(InvalidError):
            make_agent(cast.agent_owner, cast.default, name)
    with pytest.raises(RefusedError), transaction.atomic():
        register_agent(
            owner=cast.agent_owner, workspace=cast.default, name="mine", actor=acting(cast.agent_owner),
            now=NOW, record=RecordedEvents(),
        )  # fmt: skip


def test_a_suspended_agent_is_not_live_until_resumed(cast: Cast) -> None:
    record = RecordedEvents()
    with transaction.atomic():
        suspend_agent(agent_id=cast.agent.pk, reason="odd", actor=SYSTEM, now=NOW, record=record)
    assert principal_for_agent_live(agent_id=cast.agent.pk, now=NOW) is None
    with pytest.raises(ConflictError), transaction.atomic():
        suspend_agent(agent_id=cast.agent.pk, reason="odd", actor=SYSTEM, now=NOW, record=record)
    with pytest.raises(RefusedError), transaction.atomic():
        resume_agent(agent_id=cast.agent.pk, reason="ok", actor=acting(cast.approver), now=NOW, record=record)
    with transaction.atomic():
        resume_agent(agent_id=cast.agent.pk, reason="ok", actor=acting(cast.owner), now=NOW, record=record)
    assert principal_for_agent_live(agent_id=cast.agent.pk, now=NOW) is not None
    assert record.names == ["agent.suspended", "agent.resumed"]
    with pytest.raises(NotFoundError), transaction.atomic():
        suspend_agent(agent_id="agt_none", reason="odd", actor=SYSTEM, now=NOW, record=record)


def test_an_agent_whose_owner_was_demoted_is_not_live(cast: Cast) -> None:
    Membership.objects.filter(user=cast.agent_owner).update(role=WorkspaceRole.VIEWER)
    assert principal_for_agent_live(agent_id=cast.agent.pk, now=NOW) is None
    reading = principal_for_agent_live(agent_id=cast.agent.pk, now=NOW, needs=Permission.RUNS_READ)
    assert reading is not None


def test_an_agent_is_live_only_with_the_token_that_proposed(cast: Cast) -> None:
    token = mint_for_agent(cast).token
    other = make_agent(cast.agent_owner, cast.default, "other")
    assert principal_for_agent_live(agent_id=cast.agent.pk, token_id=token.pk, now=NOW) is not None
    assert principal_for_agent_live(agent_id=other.pk, token_id=token.pk, now=NOW) is None
    later = NOW + timedelta(days=30)
    assert principal_for_agent_live(agent_id=cast.agent.pk, token_id=token.pk, now=later) is None
    assert principal_for_agent_live(agent_id="agt_none", now=NOW) is None
