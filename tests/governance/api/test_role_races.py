"""Owners who act on each other at once, and offers taken twice: real threads, committed rows."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier

import pytest
from django.db import connection, transaction

from governance.journal.ledger import record
from governance.journal.models import JournalEvent
from governance.operations import people, workspaces
from identity import memberships
from identity.models import Membership, TeamMember, User, Workspace
from identity.owners import lasting_ownerships
from identity.roles import WorkspaceRole
from identity.selectors import principal_of_user
from identity.types import AuthStrength, Principal
from kernel.clock import utc_now
from kernel.errors import PalyraError
from tests.governance.api.stepping import switch_on
from tests.governance.api.world import SHELL, Caller, World, add_person, owner_principal

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]
ROUNDS = 5
Work = Callable[[], object]


def together(*works: Work) -> list[str]:
    """Run all at once on connections of their own; return the code of each refusal, or `done`."""
    barrier = Barrier(len(works))

    def run(work: Work) -> str:
        try:
            barrier.wait(timeout=30)
            work()
        except PalyraError as error:
            return error.code
        finally:
            connection.close()
        return "done"

    with ThreadPoolExecutor(len(works)) as pool:
        return sorted(pool.map(run, works))


def principal(user_id: str, workspace: Workspace) -> Principal:
    now = utc_now()
    return principal_of_user(
        user=User.objects.get(pk=user_id), workspace_id=workspace.pk, strength=AuthStrength.FRESH_MFA,
        client_ip="127.0.0.1", request_id="req_test", authenticated_at=now, now=now,
    )  # fmt: skip


def owners_of(world: World, place: Workspace, *names: str) -> list[str]:
    """Make these people the only owners of a workspace and return their ids."""
    with transaction.atomic():
        ids = [known(world, name) for name in names]
        for user_id in ids:
            grant(user_id, place)
        others = Membership.objects.filter(workspace=place, role="owner").exclude(user_id__in=ids)
        for row in others:
            memberships.remove_membership(membership_id=row.pk, actor=SHELL, now=utc_now(), record=record)
    return ids


def known(world: World, name: str) -> str:
    """Return a new person who can log in."""
    now = utc_now()
    return add_person(name, world.workspace, owner_principal(world, now), now=now).id


def grant(user_id: str, place: Workspace) -> None:
    if not Membership.objects.filter(user_id=user_id, workspace=place, role="owner").exists():
        memberships.grant_membership(
            user=User.objects.get(pk=user_id), workspace=place, role=WorkspaceRole.OWNER, actor=SHELL,
            now=utc_now(), record=record,
        )  # fmt: skip


def ownership(user_id: str, place: Workspace) -> str:
    return Membership.objects.get(user_id=user_id, workspace=place, role="owner").pk


def removing(by: Principal, membership_id: str) -> Work:
    return partial(workspaces.remove, principal=by, membership_id=membership_id, now=utc_now())


def disabling(by: Principal, user_id: str) -> Work:
    return partial(people.disable, principal=by, user_id=user_id, reason="a race", now=utc_now())


REFUSED_LAST = (["done", "last_owner"], ["done", "role_required"])
"""Whoever comes second is the last owner's reason to stay, or finds that the rules no longer know them."""


def test_two_owners_who_act_on_each_other_leave_one(committed_world: World) -> None:
    world = committed_world
    instance = Workspace.objects.get(slug="instance")
    for number in range(ROUNDS):
        first, second = owners_of(world, world.workspace, f"head-{number}", f"tail-{number}")
        ways = (
            removing(principal(first, world.workspace), ownership(second, world.workspace)),
            removing(principal(second, world.workspace), ownership(first, world.workspace)),
        )
        before = JournalEvent.objects.filter(type__endswith="membership.removed").count()
        assert together(*ways) in REFUSED_LAST
        assert len(lasting_ownerships(world.workspace.pk)) == 1
        assert JournalEvent.objects.filter(type__endswith="membership.removed").count() == before + 1
    for number in range(ROUNDS):
        first, second = owners_of(world, instance, f"chief-{number}", f"deputy-{number}")
        by_first, by_second = principal(first, world.workspace), principal(second, world.workspace)
        assert together(disabling(by_first, second), disabling(by_second, first)) in REFUSED_LAST
        assert len(lasting_ownerships(instance.pk)) == 1
    for number in range(ROUNDS):
        first, second = owners_of(world, instance, f"left-{number}", f"right-{number}")
        by_first, by_second = principal(first, world.workspace), principal(second, world.workspace)
        leaving = removing(by_second, ownership(second, instance))
        assert together(disabling(by_second, first), leaving) in (
            ["done", "last_owner"],
            ["done", "role_required"],
        )
        assert len(lasting_ownerships(instance.pk)) == 1
        assert by_first.id == first


def test_an_offer_a_team_place_and_a_role_are_taken_once(committed_world: World) -> None:
    world = committed_world
    switch_on("team_mode")
    owner = principal(world.owner.id, world.workspace)
    takers = [principal(person.id, world.workspace) for person in (world.stranger, world.auditor)]
    invited = workspaces.invite(
        principal=owner, workspace_id=world.workspace.pk, email="x@example.com",
        role=WorkspaceRole.OPERATOR, now=utc_now(),
    )  # fmt: skip
    accept = [
        partial(workspaces.accept_invitation, principal=taker, text=invited.text, now=utc_now())
        for taker in takers
    ]
    assert together(*accept) == ["done", "state_changed"]
    assert JournalEvent.objects.filter(type__endswith="invitation.accepted").count() == 1
    team = workspaces.create_team(
        principal=owner, workspace_id=world.workspace.pk, name="crew", now=utc_now()
    )
    add = partial(
        workspaces.add_team_member, principal=owner, workspace_id=world.workspace.pk, team_id=team.pk,
        user_id=world.auditor.id, now=utc_now(),
    )  # fmt: skip
    assert together(add, add) == ["conflict", "done"]
    assert TeamMember.objects.count() == 1
    give = partial(
        workspaces.grant, principal=owner, workspace_id=world.workspace.pk, user_id=world.approver.id,
        role=WorkspaceRole.VIEWER, now=utc_now(),
    )  # fmt: skip
    assert together(give, give, give) == ["conflict", "conflict", "done"]


def test_a_person_is_disabled_or_granted_but_never_left_as_a_dead_last_owner(
    committed_world: World,
) -> None:
    world = committed_world
    switch_on("team_mode")
    chief = principal(world.owner.id, world.workspace)
    for number in range(ROUNDS):
        side = workspaces.create(principal=chief, slug=f"side-{number}", name="Side", now=utc_now())
        with transaction.atomic():
            heir = known(world, f"heir-{number}")
            grant(heir, side)
        mine = ownership(world.owner.id, side)
        assert together(disabling(chief, heir), removing(chief, mine)) == ["done", "last_owner"]
        assert len(lasting_ownerships(side.pk)) == 1


def test_one_name_is_given_to_one_agent(committed_world: World) -> None:
    callers: list[Caller] = [committed_world.owner] * 2
    results: list[int] = []

    def register(caller: Caller) -> None:
        results.append(caller.post("agents", {"name": "twin"}).status_code)

    together(*[partial(register, caller) for caller in callers])
    assert sorted(results) == [201, 409]
