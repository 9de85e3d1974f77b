"""Workspaces, roles, teams, invitations and shares over HTTP."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection, transaction

from governance.journal.models import JournalEvent
from identity.models import Agent, Invitation, Membership, User, Workspace
from identity.roles import WorkspaceRole
from kernel.clock import utc_now, wire_time
from tests.governance.api.stepping import fresh, switch_on
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.world import Caller, World, add_person, owner_principal

UNKNOWN = "wsp_01JD0000000000000000000000"


@pytest.fixture
def teams(world: World) -> World:
    switch_on("team_mode")
    return world


@pytest.fixture
def admin(world: World) -> Caller:
    return person(world, "admin", world.workspace, WorkspaceRole.ADMIN)


@pytest.fixture
def side(teams: World) -> Workspace:
    made = fresh(teams.owner).post("workspaces", {"slug": "side", "name": "Side"})
    assert made.status_code == 201, made.content
    return Workspace.objects.get(pk=made.json()["id"])


def person(world: World, name: str, place: Workspace, *roles: WorkspaceRole) -> Caller:
    now = utc_now()
    with transaction.atomic():
        return add_person(name, place, owner_principal(world, now), *roles, now=now)


def home(world: World) -> str:
    return f"workspaces/{world.workspace.pk}"


def membership_of(caller: Caller) -> Membership:
    return Membership.objects.get(user_id=caller.id)


def drop(by: Caller, membership: Membership) -> int:
    answer = by.send("DELETE", f"workspaces/{membership.workspace_id}/memberships/{membership.pk}", None)
    return answer.status_code


def test_members_see_who_holds_which_role(world: World) -> None:
    shown = world.auditor.get(home(world)).json()
    assert (shown["slug"], shown["built_in"], shown["archived_at"]) == ("default", True, None)
    assert [row["id"] for row in world.auditor.get("workspaces").json()["data"]] == [world.workspace.pk]
    rows = world.auditor.get(f"{home(world)}/memberships?role=approver").json()["data"]
    assert {row["user"]["username"] for row in rows} == {"approver", "second-approver"}
    assert {row["state"] for row in rows} == {"live"}
    one = world.auditor.get(f"{home(world)}/memberships?user={world.auditor.id}").json()["data"]
    assert [row["role"] for row in one] == ["auditor"]
    for caller in (world.stranger, world.agent):
        assert caller.get(f"{home(world)}/memberships").status_code == 403
    assert_problem(world.auditor.get(f"{home(world)}/memberships?role=king"), 400, "invalid_parameter")


def test_another_workspace_does_not_exist(side: Workspace, world: World, admin: Caller) -> None:
    there = f"workspaces/{side.pk}"
    fresh(admin)
    for path in (there, f"workspaces/{UNKNOWN}"):
        for suffix in ("", "/memberships", "/teams", "/invitations", "/shares"):
            assert_problem(admin.get(path + suffix), 404, "not_found")
        for suffix, body in (
            ("/memberships", {"user": admin.id, "role": "owner"}),
            ("/teams", {"name": "x"}),
            ("/invitations", {"email": "x@example.com", "role": "viewer"}),
            ("/archive", {}),
        ):
            assert_problem(admin.post(path + suffix, body), 404, "not_found")
    for suffix in ("memberships/mbr_", "invitations/inv_", "shares/shr_"):
        foreign = f"{there}/{suffix}01JD0000000000000000000000"
        assert_problem(admin.send("DELETE", foreign, None), 404, "not_found")
    assert_problem(admin.get("workspaces/nonsense"), 400, "invalid_id")


def test_roles_are_given_and_taken_with_a_fresh_code(world: World, admin: Caller) -> None:
    body = {"user": world.stranger.id, "role": "viewer"}
    path = f"{home(world)}/memberships"
    assert_problem(admin.post(path, body), 401, "step_up_required")
    assert_problem(fresh(world.approver).post(path, body), 403, "role_required")
    made = fresh(admin).post(path, body, Idempotency_Key="g")
    assert (made.status_code, made.json()["role"]) == (201, "viewer")
    assert admin.post(path, body, Idempotency_Key="g").json() == made.json()
    assert_problem(admin.post(path, body), 409, "conflict")
    for role in ("owner", "admin"):
        assert_problem(admin.post(path, body | {"role": role}), 403, "role_required")
    assert_problem(admin.post(path, {"user": admin.id, "role": "owner"}), 403, "role_required")
    assert drop(fresh(admin), membership_of(world.stranger)) == 204
    assert drop(admin, Membership(id="mbr_01JD0000000000000000000000", workspace=world.workspace)) == 404


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"role": "king"}, "/role"),
        ({"user": "usr_none"}, "/user"),
        ({"user": 5}, "/user"),
        ({"expires_at": "soon"}, "/expires_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"expires_at": "2030-01-01T00:00:00"}, "/expires_at"),
        ({"expires_at": "2030-01-01"}, "/expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-10:00"}, "/expires_at"),
        ({"expires_at": 5}, "/expires_at"),
        ({"team": "tm_01JD0000000000000000000000"}, None),
    ],
)
def test_a_bad_grant_is_refused(
    teams: World, admin: Caller, change: dict[str, object], pointer: str | None
) -> None:
    body = {"user": teams.stranger.id, "role": "viewer"} | change
    answer = fresh(admin).post(f"{home(teams)}/memberships", body)
    assert answer.status_code in (404, 422)
    if pointer:
        assert answer.json()["errors"][0]["pointer"] == pointer


def test_a_role_for_a_time_ends_by_itself(world: World, admin: Caller) -> None:
    end = wire_time(utc_now() + timedelta(days=1))
    body = {"user": world.stranger.id, "role": "viewer", "expires_at": end}
    made = fresh(admin).post(f"{home(world)}/memberships", body)
    assert made.json()["expires_at"] == end


def test_everybody_leaves_with_a_fresh_code_but_the_last_owner(world: World) -> None:
    mine = membership_of(world.auditor)
    assert drop(world.auditor, mine) == 401
    assert drop(fresh(world.auditor), mine) == 204
    assert world.auditor.get(home(world)).status_code == 403
    theirs = membership_of(world.approver)
    assert drop(fresh(world.agent_owner), theirs) == 403
    assert drop(world.agent, theirs) == 403
    own = Membership.objects.get(user_id=world.owner.id, workspace=world.workspace)
    answer = fresh(world.owner).send("DELETE", f"{home(world)}/memberships/{own.pk}", None)
    assert_problem(answer, 409, "last_owner")


def test_the_built_in_workspaces_take_roles_while_team_mode_is_off(world: World, admin: Caller) -> None:
    fresh(world.owner)
    fresh(admin)
    refused = (
        world.owner.post("workspaces", {"slug": "side", "name": "Side"}),
        world.owner.post(f"{home(world)}/archive"),
        admin.post(f"{home(world)}/teams", {"name": "crew"}),
        admin.post(f"{home(world)}/invitations", {"email": "x@example.com", "role": "viewer"}),
        admin.get(f"{home(world)}/invitations"),
        admin.post(
            f"{home(world)}/shares",
            {"resource_kind": "agent", "resource_id": world.agent.id, "access": "read"},
        ),
    )
    for answer in refused:
        assert_problem(answer, 403, "feature_disabled")
    body = {"user": world.stranger.id, "role": "viewer"}
    assert admin.post(f"{home(world)}/memberships", body).status_code == 201


def test_a_workspace_is_made_by_an_owner_of_the_instance_and_archived(
    side: Workspace, world: World, admin: Caller
) -> None:
    assert Membership.objects.get(workspace=side).user_id == world.owner.id
    fresh(world.owner)
    assert_problem(world.owner.post("workspaces", {"slug": "side", "name": "x"}), 409, "conflict")
    assert_problem(world.owner.post("workspaces", {"slug": "api", "name": "x"}), 422, "invalid")
    assert_problem(fresh(admin).post("workspaces", {"slug": "mine", "name": "x"}), 403, "role_required")
    assert_problem(world.owner.post(f"{home(world)}/archive"), 409, "conflict")
    member = person(world, "member", side, WorkspaceRole.OPERATOR)
    assert member.get("whoami").status_code == 200
    assert world.owner.post(f"workspaces/{side.pk}/archive").json()["archived_at"]
    assert_problem(member.get("whoami"), 401, "unauthenticated")
    assert_problem(world.owner.get(f"workspaces/{side.pk}"), 404, "not_found")


def test_a_team_gives_its_roles_to_its_members(teams: World, admin: Caller) -> None:
    path = f"{home(teams)}/teams"
    team = fresh(admin).post(path, {"name": "crew"}).json()
    assert team["members"] == []
    members = f"{path}/{team['id']}/members"
    assert admin.post(members, {"user": teams.stranger.id}).json()["members"] == [teams.stranger.id]
    granted = admin.post(f"{home(teams)}/memberships", {"team": team["id"], "role": "viewer"})
    assert granted.json()["team"] == {"id": team["id"], "name": "crew"}
    assert teams.stranger.get(path).json()["data"][0]["members"] == [teams.stranger.id]
    mine = f"{members}/{teams.stranger.id}"
    assert_problem(teams.stranger.send("DELETE", mine, None), 401, "step_up_required")
    assert fresh(teams.stranger).send("DELETE", mine, None).status_code == 204
    assert_problem(teams.stranger.get(path), 403, "role_required")
    assert_problem(admin.send("DELETE", mine, None), 404, "not_found")
    assert_problem(fresh(teams.approver).post(path, {"name": "other"}), 403, "role_required")


def invite(world: World, by: Caller, role: str = "operator", **headers: str) -> dict[str, object]:
    body = {"email": "x@example.com", "role": role, "expires_in_days": 2}
    answer = by.post(f"{home(world)}/invitations", body, **headers)
    assert answer.status_code == 201, answer.content
    made: dict[str, object] = answer.json()
    return made


def test_an_invitation_is_shown_once_and_accepted_once(teams: World, admin: Caller) -> None:
    made = invite(teams, admin, Idempotency_Key="i")
    again = invite(teams, admin, Idempotency_Key="i")
    assert again == made | {"token": None, "secret_withheld": True}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')  # noqa: S608  # names of our own tables
            assert str(made["token"]) not in str(cursor.fetchall()), table
    accepted = teams.stranger.post("invitations/accept", {"token": made["token"]})
    assert (accepted.status_code, accepted.json()["role"]) == (201, "operator")
    late = teams.agent_owner.post("invitations/accept", {"token": made["token"]})
    assert_problem(late, 409, "state_changed")
    rows = admin.get(f"{home(teams)}/invitations").json()["data"]
    assert [(row["state"], row["accepted_by"]) for row in rows] == [("accepted", teams.stranger.id)]
    assert "token" not in rows[0]


def test_an_invitation_is_for_people_behind_a_second_factor(teams: World, admin: Caller) -> None:
    made = invite(teams, admin)
    body = {"token": made["token"]}
    assert_problem(teams.agent.post("invitations/accept", body), 403, "role_required")
    User.objects.get(pk=teams.stranger.id).totpfactor_set.all().delete()
    assert_problem(teams.stranger.post("invitations/accept", body), 401, "step_up_required")
    assert_problem(admin.post("invitations/accept", body), 403, "role_required")
    for text in ("", "x", "pli_" + "A" * 43, "\0", "p" * 101):
        refused = teams.approver.post("invitations/accept", {"token": text})
        assert refused.status_code in (404, 422)


def test_a_revoked_invitation_is_dead(teams: World, admin: Caller) -> None:
    made = invite(teams, admin)
    path = f"{home(teams)}/invitations/{made['id']}"
    assert_problem(teams.auditor.send("DELETE", path, None), 403, "role_required")
    for _ in range(2):
        assert admin.send("DELETE", path, None).status_code == 204
    refused = teams.stranger.post("invitations/accept", {"token": made["token"]})
    assert_problem(refused, 409, "state_changed")
    assert Invitation.objects.get().accepted_at is None


def test_an_admin_invites_no_admin(teams: World, admin: Caller) -> None:
    for role in ("owner", "admin"):
        answer = admin.post(f"{home(teams)}/invitations", {"email": "x@example.com", "role": role})
        assert_problem(answer, 403, "role_required")


def test_shares_are_given_listed_and_closed(side: Workspace, world: World, admin: Caller) -> None:
    body = {"resource_kind": "agent", "resource_id": world.agent.id, "access": "use"}
    path = f"workspaces/{side.pk}/shares"
    taker = person(world, "taker", side, WorkspaceRole.ADMIN)
    assert_problem(taker.post(path, body), 422, "invalid")
    assert_problem(world.auditor.post(path, body), 403, "role_required")
    made = admin.post(path, body).json()
    assert (made["home_workspace_id"], made["workspace_id"]) == (world.workspace.pk, side.pk)
    assert_problem(admin.post(path, body), 409, "conflict")
    assert [row["id"] for row in admin.get(f"{home(world)}/shares").json()["data"]] == [made["id"]]
    assert taker.get(path).json()["data"] == [made]
    assert taker.get(f"agents/{world.agent.id}").json()["id"] == world.agent.id
    refused = taker.post(f"agents/{world.agent.id}/suspend", {"reason": "not mine"})
    assert_problem(refused, 403, "role_required")
    assert taker.send("DELETE", f"{path}/{made['id']}", None).status_code == 204
    assert_problem(taker.get(f"agents/{world.agent.id}"), 404, "not_found")
    changes = JournalEvent.objects.filter(type__endswith="share.changed", subject__contains=made["id"])
    assert changes.count() == 2


@pytest.mark.parametrize(
    ("kind", "name", "status"),
    [
        ("tool", "demo.ls", 201),
        ("skill", "local.echo", 201),
        ("tool", "no.such", 422),
        ("skill", "no.such", 422),
        ("agent", "agt_01JD0000000000000000000000", 422),
        ("vault", "x", 422),
    ],
)
def test_what_is_shared_exists(side: Workspace, world: World, kind: str, name: str, status: int) -> None:
    body = {"resource_kind": kind, "resource_id": name, "access": "read"}
    assert world.owner.post(f"workspaces/{side.pk}/shares", body).status_code == status


def test_a_local_admin_shares_no_tool_of_the_instance(side: Workspace, world: World, admin: Caller) -> None:
    body = {"resource_kind": "tool", "resource_id": "demo.ls", "access": "read"}
    assert_problem(admin.post(f"workspaces/{side.pk}/shares", body), 403, "role_required")


def test_an_archived_agent_is_not_shared(side: Workspace, world: World, admin: Caller) -> None:
    Agent.objects.filter(pk=world.agent.id).update(state="archived")
    body = {"resource_kind": "agent", "resource_id": world.agent.id, "access": "read"}
    assert_problem(admin.post(f"workspaces/{side.pk}/shares", body), 422, "invalid")
