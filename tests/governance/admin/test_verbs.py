"""Every verb on people, agents, workspaces and tokens, as every kind of person: the matrix decides."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest
from django.db import transaction
from django.test import Client

from governance.admin.site import PAGES
from governance.admin.verbs import NEEDS
from identity.agents import suspend_agent
from identity.models import Agent, ApiToken, Invitation, Membership, ResourceShare, Team, User, Workspace
from identity.people import disable_user
from identity.roles import INSTANCE_ONLY, MATRIX, Permission, WorkspaceRole
from identity.teams import add_team_member, create_team
from kernel.clock import utc_now
from kernel.ids import new_id
from tests.builders import RecordedEvents
from tests.cast import SYSTEM, make_agent, make_user
from tests.governance.admin.posting import event_ids, events_since, post, stored, switch_on
from tests.governance.admin.test_pages import ROLES
from tests.governance.admin.world import World, sign_in

FRESH = timedelta(minutes=1)
P = Permission


@dataclass(frozen=True)
class Scene:
    """What the verbs act on: made anew for each test, so that nobody of the cast is harmed."""

    world: World
    target: User
    agent: Agent
    token: ApiToken
    membership: Membership
    research: Workspace

    @property
    def place(self) -> str:
        return self.world.workspace.pk


@pytest.fixture
def scene(world: World) -> Scene:
    target = make_user("target", WorkspaceRole.VIEWER, workspace=world.workspace)
    now = utc_now()
    agent = make_agent(target, world.workspace, "subject")
    given = ApiToken.objects.filter(principal_agent=world.agent)[0]
    research = Workspace.objects.create(
        id=new_id("wsp", now), slug="research", name="Research", created_at=now
    )
    return Scene(world, target, agent, given, target.memberships.get(), research)


def suspended(scene: Scene) -> None:
    with transaction.atomic():
        suspend_agent(
            agent_id=scene.agent.pk, reason="test", actor=SYSTEM, now=utc_now(), record=RecordedEvents()
        )


def disabled(scene: Scene) -> None:
    with transaction.atomic():
        disable_user(
            user_id=scene.target.pk, reason="test", actor=SYSTEM, now=utc_now(), record=RecordedEvents()
        )


def with_team(scene: Scene) -> Team:
    with transaction.atomic():
        team = create_team(
            workspace_id=scene.place, name="Ops", actor=SYSTEM, now=utc_now(), record=RecordedEvents()
        )
        add_team_member(
            team_id=team.pk, user=scene.target, actor=SYSTEM, now=utc_now(), record=RecordedEvents()
        )
    return team


def invitation(scene: Scene) -> Invitation:
    now = utc_now()
    return Invitation.objects.create(
        id=new_id("inv", now), workspace=scene.world.workspace, email="new@example.com", role="viewer",
        digest=secrets.token_bytes(32), invited_by=scene.world.owner.pk, created_at=now,
        expires_at=now + timedelta(days=1),
    )  # fmt: skip


def shared(scene: Scene) -> ResourceShare:
    now = utc_now()
    return ResourceShare.objects.create(
        id=new_id("shr", now), resource_kind="agent", resource_id=scene.agent.pk, home_id=scene.place,
        workspace=scene.research, access="read", shared_by=scene.world.owner.pk, created_at=now,
    )  # fmt: skip


Values = dict[str, str | list[str]]


@dataclass(frozen=True)
class Deed:
    """A verb with a form that succeeds: its address, its fields and the permission it asks for."""

    path: str
    needs: Permission
    values: Callable[[Scene], Values]
    feature: str = ""

    def url(self, scene: Scene) -> str:
        return "/admin/" + self.path.format(
            u=scene.target.pk, a=scene.agent.pk, w=scene.place, t=scene.token.pk
        )


WHY = "Because of a test."


def reason(scene: Scene) -> Values:
    return {"reason": WHY}


def enabling(scene: Scene) -> Values:
    disabled(scene)
    return {"reason": WHY}


def resuming(scene: Scene) -> Values:
    suspended(scene)
    return {"reason": WHY}


def joining(scene: Scene) -> Values:
    return {"team": with_team(scene).pk, "user": scene.world.keeper.pk}


def leaving(scene: Scene) -> Values:
    return {"member": f"{with_team(scene).pk}:{scene.target.pk}"}


def minting(scene: Scene) -> Values:
    return {"agent": scene.agent.pk, "label": "ci", "scopes": ["runs.read"], "days": "5"}


def sharing(scene: Scene) -> Values:
    return {
        "kind": "agent", "resource": scene.agent.pk, "target": scene.research.pk, "access": "read",
    }  # fmt: skip


MEMBERSHIPS, TEAM = P.WORKSPACE_MEMBERSHIPS_MANAGE, "team_mode"
DEEDS = {
    deed.path: deed
    for deed in (
        Deed("users/new/", P.USERS_MANAGE, lambda s: {"username": "fresh.face"}),
        Deed("users/{u}/change/", P.USERS_MANAGE, lambda s: {"display_name": "T", "version": "1"}),
        Deed("users/{u}/reset/", P.USERS_MANAGE, reason),
        Deed("users/{u}/disable/", P.USERS_MANAGE, reason),
        Deed("users/{u}/enable/", P.USERS_MANAGE, enabling),
        Deed("users/{u}/grant/", MEMBERSHIPS, lambda s: {"workspace": s.place, "role": "operator"}),
        Deed("users/{u}/remove/", MEMBERSHIPS, lambda s: {"membership": s.membership.pk}),
        Deed("agents/new/", P.AGENTS_MANAGE, lambda s: {"name": "new", "owner": s.target.pk}),
        Deed(
            "agents/{a}/change/",
            P.AGENTS_MANAGE,
            lambda s: {"name": "renamed", "owner": s.target.pk, "version": "1"},
        ),
        Deed("agents/{a}/suspend/", P.AGENTS_MANAGE, reason),
        Deed("agents/{a}/resume/", P.AGENTS_MANAGE, resuming),
        Deed("agents/{a}/archive/", P.AGENTS_MANAGE, reason),
        Deed("tokens/new/", P.TOKENS_MINT, minting),
        Deed("tokens/{t}/rotate/", P.TOKENS_MINT, lambda s: {"overlap": "60"}),
        Deed("tokens/{t}/revoke/", P.API_TOKENS_MANAGE, reason),
        Deed("workspaces/new/", P.WORKSPACE_MANAGE, lambda s: {"name": "New", "slug": "new"}, TEAM),
        Deed("workspaces/{w}/grant/", MEMBERSHIPS, lambda s: {"holder": s.target.pk, "role": "auditor"}),
        Deed("workspaces/{w}/remove/", MEMBERSHIPS, lambda s: {"membership": s.membership.pk}),
        Deed(
            "workspaces/{w}/invite/",
            P.INVITATIONS_MANAGE,
            lambda s: {"email": "a@example.com", "role": "viewer", "days": "3"},
            TEAM,
        ),
        Deed(
            "workspaces/{w}/withdraw/",
            P.INVITATIONS_MANAGE,
            lambda s: {"invitation": invitation(s).pk},
            TEAM,
        ),
        Deed("workspaces/{w}/team/", MEMBERSHIPS, lambda s: {"name": "Night shift"}, TEAM),
        Deed("workspaces/{w}/join/", MEMBERSHIPS, joining, TEAM),
        Deed("workspaces/{w}/leave/", MEMBERSHIPS, leaving, TEAM),
        Deed("workspaces/{w}/share/", P.WORKSPACE_SHARING_MANAGE, sharing, TEAM),
        Deed("workspaces/{w}/unshare/", P.WORKSPACE_SHARING_MANAGE, lambda s: {"share": shared(s).pk}, TEAM),
    )
}


def may(name: str, deed: Deed) -> bool:
    """Tell what the matrix says; `workspace.manage` of the console is asked of the whole instance."""
    wide = deed.needs in INSTANCE_ONLY or deed.path == "workspaces/new/"
    return ROLES[name] in MATRIX[deed.needs] and (name == "owner" or not wide)


@pytest.mark.parametrize("path", sorted(DEEDS))
@pytest.mark.parametrize("name", sorted(ROLES))
def test_a_verb_does_what_the_matrix_says_and_nothing_else(scene: Scene, name: str, path: str) -> None:
    deed = DEEDS[path]
    if deed.feature:
        switch_on(deed.feature)
    values = deed.values(scene)
    client, before, events = sign_in(scene.world.people[name], code_age=FRESH), stored(), event_ids()
    answer = post(client, deed.url(scene), **values)
    left = events_since(events)
    if may(name, deed):
        assert answer.status_code in (200, 302), answer.content.decode()[:3000]
        assert stored() != before
        assert left
        assert "request.refused" not in left
    else:
        assert answer.status_code in (403, 404)
        assert stored() == before
        sees = name != "viewer" or not path.startswith("tokens/")
        assert left == (["request.refused"] if sees else [])


@pytest.mark.parametrize("path", sorted(path for path, deed in DEEDS.items() if deed.feature))
def test_what_belongs_to_team_mode_is_refused_while_it_is_off(scene: Scene, path: str) -> None:
    deed = DEEDS[path]
    values = deed.values(scene)
    before, events = stored(), event_ids()
    answer = post(sign_in(scene.world.owner, code_age=FRESH), deed.url(scene), **values)
    assert answer.status_code == 403
    assert b"team_mode" in answer.content
    assert stored() == before
    assert events_since(events) == ["request.refused"]


@pytest.mark.parametrize("path", sorted(DEEDS))
@pytest.mark.parametrize("name", ["stranger", "nobody"])
def test_whoever_is_not_let_in_posts_to_the_door(scene: Scene, name: str, path: str) -> None:
    deed, world = DEEDS[path], scene.world
    values = deed.values(scene)
    client = Client() if name == "nobody" else sign_in(world.stranger, code_age=FRESH)
    before = stored()
    answer = post(client, deed.url(scene), **values)
    assert (answer.status_code, answer["Location"].partition("?")[0]) == (302, "/admin/login/")
    assert stored() == before


@pytest.mark.parametrize("path", sorted(DEEDS))
def test_a_post_without_the_csrf_token_does_nothing(scene: Scene, path: str) -> None:
    deed = DEEDS[path]
    values = deed.values(scene)
    before = stored()
    client = sign_in(scene.world.owner, code_age=FRESH, enforce_csrf_checks=True)
    assert post(client, deed.url(scene), **values).status_code == 403
    assert stored() == before


@pytest.mark.parametrize("path", sorted(DEEDS))
def test_a_second_click_gets_the_first_answer_and_does_nothing(scene: Scene, path: str) -> None:
    deed = DEEDS[path]
    if deed.feature:
        switch_on(deed.feature)
    values = deed.values(scene) | {"intent": secrets.token_hex(16)}
    client = sign_in(scene.world.owner, code_age=FRESH)
    first = client.post(deed.url(scene), values)
    assert first.status_code in (200, 302)
    before, events = stored(), event_ids()
    again = client.post(deed.url(scene), values)
    assert again.status_code in (302, 404)
    assert stored() == before
    assert events_since(events) == []


@pytest.mark.parametrize("path", sorted(DEEDS))
@pytest.mark.parametrize("intent", ["", "0" * 33])
def test_a_form_without_its_intent_does_nothing(scene: Scene, path: str, intent: str) -> None:
    deed = DEEDS[path]
    if deed.feature:
        switch_on(deed.feature)
    values = deed.values(scene) | {"intent": intent}
    before = stored()
    answer = sign_in(scene.world.owner, code_age=FRESH).post(deed.url(scene), values)
    assert answer.status_code == 422
    assert b"The form is not complete" in answer.content
    assert stored() == before


@pytest.mark.parametrize("path", sorted(path for path in DEEDS if not path.endswith("new/")))
def test_a_verb_is_never_a_link(scene: Scene, path: str) -> None:
    assert sign_in(scene.world.owner).get(DEEDS[path].url(scene)).status_code == 405


FRESH_ONLY = sorted(
    path
    for path, deed in DEEDS.items()
    if deed.needs in (P.USERS_MANAGE, MEMBERSHIPS, P.WORKSPACE_MANAGE, P.TOKENS_MINT)
)


@pytest.mark.parametrize("path", FRESH_ONLY)
def test_a_high_risk_verb_asks_for_a_code_of_the_last_minutes(scene: Scene, path: str) -> None:
    deed = DEEDS[path]
    if deed.feature:
        switch_on(deed.feature)
    values = deed.values(scene)
    before = stored()
    client = sign_in(scene.world.owner, code_age=timedelta(minutes=6))
    answer = post(client, deed.url(scene), **values)
    assert answer.status_code == 401
    assert b'name="code"' in answer.content
    assert b'aria-invalid="true"' in answer.content
    assert stored() == before


def test_every_verb_of_the_table_is_walked() -> None:
    named = {"user_id": "u", "agent_id": "a", "workspace_id": "w", "token_id": "t"}
    areas = ("users/", "agents/", "tokens/", "workspaces/")
    verbs = {route for route, view, _ in PAGES if hasattr(view, NEEDS) and route.startswith(areas)}
    for name, letter in named.items():
        verbs = {route.replace(f"<palyra_id:{name}>", "{" + letter + "}") for route in verbs}
    assert verbs - set(DEEDS) == {"workspaces/{w}/archive/"}
    views = (view for route, view, _ in PAGES if hasattr(view, NEEDS) and route.startswith(areas))
    asked = {getattr(view, NEEDS) for view in views}
    assert asked <= set(Permission)
