"""What the pages of people, agents, workspaces and tokens show, to whom, and at which cost."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from governance.admin.rights import rights_of, rights_of_agent
from governance.admin.site import PAGES
from governance.admin.tokens import _in_state
from governance.admin.verbs import NEEDS
from governance.models import Run
from identity.memberships import grant_membership
from identity.minting import mint_token
from identity.models import Agent, ApiToken, Invitation, Membership, ResourceShare, Team, User, Workspace
from identity.roles import AGENT_PERMISSIBLE, MATRIX, Permission, WorkspaceRole, permissions_of
from identity.teams import add_team_member, create_team
from identity.token_selectors import STATES, token_state
from identity.tokens import TokenKind
from kernel.clock import utc_now
from kernel.ids import new_id
from tests.builders import RecordedEvents
from tests.cast import SYSTEM, enrol, make_agent, make_user, principal
from tests.governance.admin.posting import post, stored, switch_on
from tests.governance.admin.test_pages import CORPUS, ROLES, Elements
from tests.governance.admin.world import World, sign_in

FRESH = timedelta(minutes=1)
MOST_QUERIES, MOST_OF_ONE = 15, 22


def make_place(slug: str, name: str = "") -> Workspace:
    now = utc_now()
    return Workspace.objects.create(id=new_id("wsp", now), slug=slug, name=name or slug, created_at=now)


def mint(world: World, agent: Agent, label: str = "t", days: int = 30) -> ApiToken:
    now = utc_now()
    with transaction.atomic():
        minted = mint_token(
            kind=TokenKind.AGENT,
            label=label,
            scopes=["runs.read"],
            expires_at=now + timedelta(days=days),
            workspace=agent.workspace,
            agent=agent,
            minter=principal(world.owner, agent.workspace, now=now),
            now=now,
            record=RecordedEvents(),
        )
    return minted.token


def team_in(place: Workspace, name: str, *people: User) -> Team:
    now, record = utc_now(), RecordedEvents()
    with transaction.atomic():
        team = create_team(workspace_id=place.pk, name=name, actor=SYSTEM, now=now, record=record)
        for person in people:
            add_team_member(team_id=team.pk, user=person, actor=SYSTEM, now=now, record=record)
    return team


def grant(place: Workspace, role: WorkspaceRole, **to: User | Team) -> Membership:
    with transaction.atomic():
        return grant_membership(
            workspace=place,
            role=role,
            actor=SYSTEM,
            now=utc_now(),
            record=RecordedEvents(),
            **to,  # type: ignore[arg-type]  # user or team
        )


def text_of(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, path
    return answer.content.decode()


@pytest.fixture
def elsewhere(world: World) -> dict[str, str]:
    """One thing of each kind that lives in another workspace only, by the name of its id in paths."""
    place = make_place("research")
    person = make_user("foreigner", WorkspaceRole.OPERATOR, workspace=place)
    enrol(person)
    agent = make_agent(person, place, "foreign-agent")
    return {
        "user_id": person.pk,
        "agent_id": agent.pk,
        "workspace_id": place.pk,
        "token_id": mint(world, agent).pk,
    }


IDENTITY = [
    (route, view)
    for route, view, _ in PAGES
    if re.search("<palyra_id:(user|agent|workspace|token)_id>", route)
]


@pytest.mark.parametrize("route", [route for route, _ in IDENTITY])
@pytest.mark.parametrize("name", sorted(set(ROLES) - {"owner"}))
def test_what_lives_in_another_workspace_does_not_exist(
    world: World, elsewhere: dict[str, str], route: str, name: str
) -> None:
    path = "/admin/" + re.sub(r"<palyra_id:(\w+)>", lambda found: elsewhere[found[1]], route)
    client, before = sign_in(world.people[name], code_age=FRESH), stored()
    view = dict(IDENTITY)[route]
    answer = post(client, path, reason="Out of reach.") if hasattr(view, NEEDS) else client.get(path)
    assert answer.status_code == 404
    assert b"foreign" not in answer.content
    assert stored() == before


def test_lists_name_nothing_of_another_workspace(world: World, elsewhere: dict[str, str]) -> None:
    for name in ("admin", "auditor"):
        client = sign_in(world.people[name])
        for path in ("users", "agents", "workspaces", "tokens", "my-tokens", "tokens/new", "agents/new"):
            if name == "admin" or "new" not in path:
                assert "foreign" not in text_of(client, f"/admin/{path}/"), path
    assert "foreign-agent" in text_of(sign_in(world.owner), "/admin/agents/")


def test_roles_elsewhere_stay_there_and_addresses_are_for_those_who_manage(world: World) -> None:
    place = make_place("research", "Secret research")
    grant(place, WorkspaceRole.OWNER, user=world.operator)
    User.objects.filter(pk=world.operator.pk).update(email="op@example.com")
    path = f"/admin/users/{world.operator.pk}/"
    for name, sees in (("viewer", False), ("auditor", False), ("admin", True), ("owner", True)):
        html = text_of(sign_in(world.people[name]), path)
        assert ("op@example.com" in html) == sees
        assert ("Secret research" in html) == (name == "owner")
    assert "op@example.com" in text_of(sign_in(world.operator), path)


@pytest.mark.parametrize("text", CORPUS)
def test_hostile_names_are_shown_and_never_obeyed(world: World, text: str) -> None:
    switch_on("team_mode")
    place = world.workspace
    team = team_in(place, "crew", world.keeper)
    grant(place, WorkspaceRole.VIEWER, team=team)
    token = mint(world, world.agent)
    now = utc_now()
    Invitation.objects.create(
        id=new_id("inv", now), workspace=place, email=text, role="viewer", digest=b"x" * 32,
        invited_by=world.owner.pk, created_at=now, expires_at=now + timedelta(days=1),
    )  # fmt: skip
    ResourceShare.objects.create(
        id=new_id("shr", now), resource_kind="tool", resource_id=text, home_id=make_place("lab", text).pk,
        workspace=place, access="read", shared_by=world.owner.pk, created_at=now,
    )  # fmt: skip
    User.objects.filter(pk=world.keeper.pk).update(display_name=text, email=text)
    Agent.objects.filter(pk=world.agent.pk).update(name=text, purpose=text, owner=world.keeper)
    Workspace.objects.filter(pk=place.pk).update(name=text)
    Team.objects.filter(pk=team.pk).update(name=text)
    ApiToken.objects.filter(pk=token.pk).update(
        label=text, revoked_at=now, revoked_reason=text, exposed_at=now
    )
    client = sign_in(world.owner)
    here = f"/admin/workspaces/{place.pk}/"
    for path in (
        "/admin/users/", f"/admin/users/{world.keeper.pk}/", "/admin/agents/", "/admin/agents/new/",
        f"/admin/agents/{world.agent.pk}/", "/admin/workspaces/", here, f"{here}permissions/",
        f"{here}permissions/?principal={world.agent.pk}", "/admin/tokens/", f"/admin/tokens/{token.pk}/",
        "/admin/tokens/new/",
    ):  # fmt: skip
        html = text_of(client, path)
        assert Elements.faults_of(html) == [], path
        shown = re.sub(r'value="[^"]*"|<textarea.*?</textarea>', "", html, flags=re.DOTALL)
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\x1b\x07]", shown), path
        if re.search(r"[<>\"']", text):
            assert text not in html, path


@pytest.mark.parametrize("route", ["users/", "agents/", "workspaces/", "tokens/", "my-tokens/"])
def test_a_list_costs_the_same_however_long_it_is(world: World, route: str) -> None:
    client = sign_in(world.owner)
    few = queries(client, f"/admin/{route}")
    for n in range(5):
        person = make_user(f"person-{n}", WorkspaceRole.VIEWER, workspace=world.workspace)
        grant(make_place(f"place-{n}"), WorkspaceRole.VIEWER, user=person)
        mint(world, make_agent(person, world.workspace, f"agent-{n}"), f"token-{n}")
    many = queries(client, f"/admin/{route}")
    assert len(many) <= len(few)
    assert len(many) <= MOST_QUERIES
    assert not [one for one in many if "COUNT(" in one.upper()]


def test_a_page_of_one_thing_costs_the_same_however_much_hangs_on_it(world: World) -> None:
    switch_on("team_mode")
    person = make_user("busy", WorkspaceRole.OPERATOR, workspace=world.workspace)
    agent = make_agent(person, world.workspace, "busy-agent")
    token = mint(world, agent)
    team = team_in(world.workspace, "first", person)
    grant(world.workspace, WorkspaceRole.VIEWER, team=team)
    paths = [
        f"/admin/users/{person.pk}/", f"/admin/agents/{agent.pk}/", f"/admin/tokens/{token.pk}/",
        f"/admin/workspaces/{world.workspace.pk}/",
        f"/admin/workspaces/{world.workspace.pk}/permissions/?principal={agent.pk}",
    ]  # fmt: skip
    client = sign_in(world.owner)
    few = {path: len(queries(client, path)) for path in paths}
    for n in range(4):
        mint(world, agent, f"more-{n}")
        other = make_user(f"other-{n}", WorkspaceRole.VIEWER, workspace=world.workspace)
        make_agent(person, world.workspace, f"also-{n}")
        grant(
            world.workspace, WorkspaceRole.AUDITOR, team=team_in(world.workspace, f"team-{n}", other, person)
        )
    many = {path: len(queries(client, path)) for path in paths}
    assert many == few
    assert max(many.values()) <= MOST_OF_ONE


def queries(client: Client, path: str) -> list[str]:
    client.get(path)
    with CaptureQueriesContext(connection) as context:
        client.get(path)
    return [query["sql"] for query in context.captured_queries]


@pytest.mark.parametrize("name", sorted(ROLES))
def test_the_explanation_of_a_person_is_the_matrix(world: World, name: str) -> None:
    switch_on("team_mode")
    person = world.people[name]
    rights = rights_of(person, world.workspace, utc_now())
    held = {right.permission for right in rights.held}
    on = held | {right.permission for right in rights.missing if "feature" not in right.why_not}
    expected = permissions_of(frozenset({ROLES[name]}), in_instance=name == "owner")
    assert held == expected & on
    assert {right.permission for right in rights.missing} == set(Permission) - held
    role = ROLES[name].value
    assert all(right.source.startswith(f"{role} in ") for right in rights.held)
    assert all(right.why_not for right in rights.missing)
    named = {right.permission: right.why_not for right in rights.missing}
    for permission, why in named.items():
        if why.startswith("Given by"):
            assert all(one.value in why for one in MATRIX[permission])


def test_an_explanation_names_team_instance_and_disablement(world: World) -> None:
    person = make_user("teamed", workspace=world.workspace)
    grant(world.workspace, WorkspaceRole.AUDITOR, team=team_in(world.workspace, "Night watch", person))
    now = utc_now()
    sources = {right.source for right in rights_of(person, world.workspace, now).held}
    assert sources == {"auditor in Default, through the team Night watch"}
    User.objects.filter(pk=person.pk).update(is_active=False)
    rights = rights_of(User.objects.get(pk=person.pk), world.workspace, now)
    assert (rights.held, bool(rights.barrier)) == ((), True)
    html = text_of(sign_in(world.owner), f"/admin/users/{person.pk}/")
    assert "This person is disabled and may do nothing." in html


def test_an_ended_role_gives_nothing_and_says_so(world: World) -> None:
    person = make_user("former", WorkspaceRole.ADMIN, workspace=world.workspace)
    Membership.objects.filter(user=person).update(expires_at=utc_now() - timedelta(seconds=1))
    assert rights_of(person, world.workspace, utc_now()).held == ()
    html = text_of(sign_in(world.owner), f"/admin/users/{person.pk}/")
    assert "Ended" in html
    assert "No permission here" in html


def test_an_agent_holds_what_token_kind_and_owner_have_in_common(world: World) -> None:
    agent, now = world.agent, utc_now()
    tokens = list(ApiToken.objects.filter(principal_agent=agent))
    scopes = {scope for token in tokens for scope in token.scopes}
    rows = {right.permission: right for right in rights_of_agent(agent, tokens, now)}
    held = {permission for permission, right in rows.items() if right.holds}
    assert held == {Permission(scope) for scope in scopes} & AGENT_PERMISSIBLE
    Membership.objects.filter(user=agent.owner).update(role=WorkspaceRole.VIEWER)
    demoted = {right.permission for right in rights_of_agent(agent, tokens, now) if right.holds}
    assert demoted == held & permissions_of(frozenset({WorkspaceRole.VIEWER}), in_instance=False)
    ApiToken.objects.filter(principal_agent=agent).update(expires_at=now)
    ended = rights_of_agent(agent, list(ApiToken.objects.filter(principal_agent=agent)), now)
    assert not any(right.holds for right in ended)


def test_a_scope_that_no_agent_may_hold_opens_nothing(world: World) -> None:
    token = mint(world, world.agent)
    ApiToken.objects.filter(pk=token.pk).update(scopes=["approvals.decide"])
    rows = rights_of_agent(world.agent, [ApiToken.objects.get(pk=token.pk)], utc_now())
    row = next(right for right in rows if right.permission == Permission.APPROVALS_DECIDE)
    assert (row.in_token, row.is_permissible, row.holds) == (True, False, False)


def test_a_suspended_agent_is_said_to_hold_nothing(world: World) -> None:
    Agent.objects.filter(pk=world.agent.pk).update(state="suspended")
    html = text_of(sign_in(world.viewer), f"/admin/agents/{world.agent.pk}/")
    assert "The agent, its owner or the workspace is not in use." in html
    assert ">Yes<" not in html


def one_in_each_state(world: World, now: datetime) -> None:
    hour = timedelta(hours=1)
    columns: list[dict[str, datetime]] = [
        {}, {"expires_at": now}, {"overlap_ends_at": now + hour}, {"overlap_ends_at": now},
        {"revoked_at": now}, {"revoked_at": now, "expires_at": now},
        {"revoked_at": now, "overlap_ends_at": now}, {"overlap_ends_at": now + hour, "expires_at": now},
    ]  # fmt: skip
    for n, given in enumerate(columns):
        token = mint(world, world.agent, f"case-{n}")
        ApiToken.objects.filter(pk=token.pk).update(**given)


@pytest.mark.parametrize("state", STATES)
def test_a_list_by_state_holds_what_the_state_is_derived_for(world: World, state: str) -> None:
    now = utc_now()
    one_in_each_state(world, now)
    named = ApiToken.objects.filter(_in_state(state, now))
    assert {row.pk for row in named} == {
        row.pk for row in ApiToken.objects.all() if token_state(row, now) == state
    }
    html = text_of(sign_in(world.auditor), f"/admin/tokens/?state={state}")
    shown = {row.label for row in named}
    assert shown
    for label in ApiToken.objects.filter(label__startswith="case-").values_list("label", flat=True):
        assert (f">{label}<" in html) == (label in shown)


def test_what_ends_soon_was_exposed_or_is_over_looks_like_it(world: World) -> None:
    soon, later = mint(world, world.agent, "soon", days=6), mint(world, world.agent, "later", days=8)
    ApiToken.objects.filter(pk=later.pk).update(exposed_at=utc_now())
    html = text_of(sign_in(world.auditor), "/admin/tokens/")
    rows = {label: row for row in html.split("<tr") for label in ("soon", "later") if f">{label}<" in row}
    assert 'class="chip warn"' in rows["soon"]
    assert 'class="chip warn"' not in rows["later"]
    assert "Exposed" in rows["later"]
    assert "in a query string or a body" in text_of(sign_in(world.auditor), f"/admin/tokens/{later.pk}/")
    ApiToken.objects.filter(pk=soon.pk).update(revoked_at=utc_now(), revoked_reason="leaked")
    html = text_of(sign_in(world.owner), f"/admin/tokens/{soon.pk}/")
    assert "leaked" in html
    assert "A revoked token has no successor" in html


def test_a_token_is_found_by_its_public_part(world: World) -> None:
    token, other = mint(world, world.agent, "sought"), mint(world, world.agent, "other")
    prefix = f"plr_agt_{token.lookup}"
    for text in (token.lookup, prefix, f"{prefix}_{'x' * 49}", "sough"):
        html = text_of(sign_in(world.auditor), f"/admin/tokens/?text={text}")
        assert (token.pk in html, other.pk in html) == (True, False), text
    for text in ("plr_agt_", "plr_agt_x", "no such"):
        assert token.pk not in text_of(sign_in(world.auditor), f"/admin/tokens/?text={text}"), text


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("?name=keep", {"keeper"}), ("?role=auditor", {"auditor"}), ("?state=disabled", {"viewer"}),
        ("?state=no_login", {"demo-owner"}), ("?role=odd&name=second", {"second-approver"}),
        ("?role=operator", {"operator", "keeper", "demo-owner"}),
    ],
)  # fmt: skip
def test_people_are_found_by_name_role_and_state(world: World, query: str, names: set[str]) -> None:
    User.objects.filter(pk=world.viewer.pk).update(is_active=False)
    html = text_of(sign_in(world.admin), f"/admin/users/{query}")
    found = set(re.findall(r'class="sub">([\w-]+)</div>', html))
    assert found == names


def test_buttons_that_would_be_refused_are_disabled_and_say_why(world: World) -> None:
    html = text_of(sign_in(world.viewer), f"/admin/users/{world.keeper.pk}/")
    assert "<form" not in html.partition("<h2>Actions</h2>")[2]
    assert "Your roles do not include users.manage" in html
    own = text_of(sign_in(world.owner), f"/admin/users/{world.owner.pk}/")
    assert "Nobody disables themselves." in own
    assert "Nobody changes their own roles" in own
    assert "Drop a role of mine" in own
    assert f'action="/admin/users/{world.owner.pk}/remove/"' in own
    page = text_of(sign_in(world.operator), "/admin/agents/")
    assert re.search(r"<button[^>]*disabled>.*?New agent", page, re.DOTALL)
    admin = text_of(sign_in(world.admin), f"/admin/users/{world.keeper.pk}/")
    assert f'action="/admin/users/{world.keeper.pk}/grant/"' in admin
    assert f'action="/admin/users/{world.keeper.pk}/disable/"' not in admin


def test_an_admin_is_offered_only_roles_that_an_admin_outranks(world: World) -> None:
    html = text_of(sign_in(world.admin), f"/admin/users/{world.keeper.pk}/")
    offered = set(
        re.findall(r'<option value="(\w+)"', html.partition('name="role"')[2].partition("</select>")[0])
    )
    assert offered == {"operator", "approver", "auditor", "viewer"}
    owner = text_of(sign_in(world.owner), f"/admin/users/{world.keeper.pk}/")
    offered = set(
        re.findall(r'<option value="(\w+)"', owner.partition('name="role"')[2].partition("</select>")[0])
    )
    assert offered == {role.value for role in WorkspaceRole}


def test_without_team_mode_the_pages_say_so_and_how_to_have_it(world: World) -> None:
    for path in ("/admin/workspaces/", f"/admin/workspaces/{world.workspace.pk}/"):
        html = text_of(sign_in(world.owner), path)
        assert "Team mode is off" in html
        assert "palyra auth access feature team_mode on" in html
        assert 'href="/admin/flags/team_mode/"' in html
        assert "Invite" not in html
        assert 'href="/admin/flags/' not in text_of(sign_in(world.viewer), path).partition("<main")[2]
    switch_on("team_mode")
    html = text_of(sign_in(world.owner), f"/admin/workspaces/{world.workspace.pk}/")
    assert "Team mode is off" not in html
    assert "Invite" in html


def test_the_page_of_an_agent_leads_to_its_work(world: World) -> None:
    now = utc_now()
    Run.objects.create(
        id=new_id("run", now), workspace_id=world.workspace.pk, principal_kind="agent",
        principal_id=world.agent.pk, owner_id=world.agent.owner_id, purpose="sorting mail", origin="manual",
        approval_channel="interactive", max_calls=5, opened_at=now, deadline_at=now + timedelta(hours=1),
    )  # fmt: skip
    html = text_of(sign_in(world.viewer), f"/admin/agents/{world.agent.pk}/")
    assert "sorting mail" in html
    assert "/admin/calls/?agent=demo-agent" in html
    assert "bootstrap demo agent" not in html
    assert "bootstrap demo agent" in text_of(sign_in(world.auditor), f"/admin/agents/{world.agent.pk}/")


@pytest.mark.parametrize(
    "wanted", ["agt_01ARZ3NDEKTSV4RRFFQ69G5FAV", "usr_01ARZ3NDEKTSV4RRFFQ69G5FAV", "x", "", "\x00", "' OR 1"]
)
def test_an_unknown_principal_is_a_404(world: World, wanted: str) -> None:
    path = f"/admin/workspaces/{world.workspace.pk}/permissions/"
    assert sign_in(world.viewer).get(path, {"principal": wanted}).status_code == 404
