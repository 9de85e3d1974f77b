"""Which workspace a person looks at, and that a choice opens nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction
from django.test import Client

from identity.memberships import grant_membership
from identity.models import Agent, Membership, User, Workspace
from identity.roles import WorkspaceRole
from kernel.clock import utc_now
from kernel.ids import new_id
from tests.builders import RecordedEvents
from tests.cast import SYSTEM, make_agent
from tests.governance.admin.world import World, sign_in

NAME = "<b>Research\u202e</b>"


@pytest.fixture
def research(world: World) -> Workspace:
    """A second workspace in which the operator is a viewer, with an agent of its own."""
    now = utc_now()
    place = Workspace.objects.create(id=new_id("wsp", now), slug="research", name=NAME, created_at=now)
    grant(world.operator, place, WorkspaceRole.VIEWER)
    make_agent(world.operator, place, "research-agent")
    return place


def grant(person: User, place: Workspace, role: WorkspaceRole) -> None:
    with transaction.atomic():
        grant_membership(
            user=person, workspace=place, role=role, actor=SYSTEM, now=utc_now(), record=RecordedEvents()
        )


def switch(client: Client, place: str) -> int:
    return client.post("/admin/switch/", {"workspace": place}).status_code


def agents_seen(client: Client) -> set[str]:
    html = client.get("/admin/agents/").content.decode()
    return {name for name in Agent.objects.values_list("name", flat=True) if name in html}


def test_a_choice_holds_for_the_session_and_only_there(world: World, research: Workspace) -> None:
    client = sign_in(world.operator)
    assert agents_seen(client) == {"demo-agent", "kept-agent"}
    assert switch(client, research.pk) == 302
    assert agents_seen(client) == {"research-agent"}
    assert client.get("/admin/policy/").status_code == 403
    assert agents_seen(sign_in(world.operator)) == {"demo-agent", "kept-agent"}
    assert switch(client, world.workspace.pk) == 302
    assert "demo-agent" in agents_seen(client)


def test_the_name_of_a_workspace_is_shown_and_never_obeyed(world: World, research: Workspace) -> None:
    html = sign_in(world.operator).get("/admin/").content.decode()
    assert "&lt;b&gt;Research⟦U+202E⟧&lt;/b&gt;" in html
    assert NAME not in html


def test_who_works_in_one_place_sees_no_switch(world: World, research: Workspace) -> None:
    assert b'action="/admin/switch/"' not in sign_in(world.viewer).get("/admin/").content
    assert b'action="/admin/switch/"' in sign_in(world.operator).get("/admin/").content


@pytest.mark.parametrize("place", ["research", "instance", "nothing", "", "wsp_\x00", "x" * 5000])
def test_no_choice_leads_where_somebody_does_not_belong(
    world: World, research: Workspace, place: str
) -> None:
    known = {one.slug: one.pk for one in Workspace.objects.all()}
    client = sign_in(world.viewer)
    assert switch(client, known.get(place, place)) == 404
    assert "research-agent" not in agents_seen(client)


def test_a_forged_session_falls_back_to_the_default(world: World, research: Workspace) -> None:
    client = sign_in(world.viewer)
    session = client.session
    session["palyra_workspace"] = research.pk
    session.save()
    assert agents_seen(client) == {"demo-agent", "kept-agent"}


def test_a_choice_ends_with_the_role_and_with_the_workspace(world: World, research: Workspace) -> None:
    client = sign_in(world.operator)
    switch(client, research.pk)
    Workspace.objects.filter(pk=research.pk).update(archived_at=utc_now())
    assert "research-agent" not in agents_seen(client)
    Workspace.objects.filter(pk=research.pk).update(archived_at=None)
    assert agents_seen(client) == {"research-agent"}
    Membership.objects.filter(workspace=research).update(expires_at=utc_now() - timedelta(seconds=1))
    assert "research-agent" not in agents_seen(client)


def test_whoever_belongs_elsewhere_only_starts_there(world: World, research: Workspace) -> None:
    grant(world.stranger, research, WorkspaceRole.VIEWER)
    assert agents_seen(sign_in(world.stranger)) == {"research-agent"}


def test_an_owner_of_the_instance_may_look_everywhere(world: World, research: Workspace) -> None:
    client = sign_in(world.owner)
    assert switch(client, research.pk) == 302
    assert "&lt;b&gt;Research" in client.get("/admin/").content.decode()
    assert client.get("/admin/switch/").status_code == 405
