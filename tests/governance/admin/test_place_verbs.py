"""Agents and workspaces through their pages, from their first form to their last."""

from __future__ import annotations

import re
import secrets

import pytest

from identity.models import Agent, Invitation, Membership, Team, Workspace
from tests.governance.admin.posting import (
    FRESH,
    form_on,
    keeps,
    page,
    post,
    revealed,
    stored,
    switch_on,
    text_of,
)
from tests.governance.admin.world import World, sign_in


def test_an_agent_is_registered_changed_and_moved_through_its_states(world: World) -> None:
    client = sign_in(world.admin)
    form = form_on(client, "/admin/agents/new/", "/admin/agents/new/")
    answer = form.send(name="mail-sorter", owner=world.keeper.pk, purpose="Sorts mail.")
    agent = Agent.objects.get(name="mail-sorter")
    path = f"/admin/agents/{agent.pk}/"
    assert answer["Location"] == path
    change = form_on(client, path, path + "change/")
    late = form_on(client, path, path + "change/")
    assert change.send(name="sorter", owner=world.operator.pk, purpose="").status_code == 302
    assert late.send(name="late", owner=world.operator.pk, purpose="").status_code == 412
    agent.refresh_from_db()
    assert (agent.name, agent.owner_id, agent.purpose) == ("sorter", world.operator.pk, "")
    assert form_on(client, path, path + "suspend/").send(reason="Acts up.").status_code == 302
    assert "Suspended" in page(client, path)
    assert post(client, path + "suspend/", reason="Again.").status_code == 409
    assert form_on(client, path, path + "resume/").send(reason="Fixed it.").status_code == 302
    assert form_on(client, path, path + "archive/").send(reason="No more mail.").status_code == 302
    html = page(client, path)
    assert "An archived agent stays as it is." in html
    assert post(client, path + "resume/", reason="Come back.").status_code == 409
    assert '<tr class="past">' in page(client, "/admin/agents/")


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"name": ""}, 422), ({"name": "x" * 81}, 422), ({"name": "a\u202eb"}, 422), ({"owner": ""}, 422),
        ({"owner": "usr_01ARZ3NDEKTSV4RRFFQ69G5FAV"}, 422), ({"purpose": "x" * 501}, 422),
        ({"name": "kept-agent"}, 409),
    ],
)  # fmt: skip
def test_an_agent_that_cannot_be_is_refused(world: World, values: dict[str, str], status: int) -> None:
    before = stored()
    fields = {"name": "new", "owner": world.keeper.pk, "purpose": "p"} | values
    assert post(sign_in(world.admin), "/admin/agents/new/", **fields).status_code == status
    assert stored() == before


def test_a_workspace_lives_through_its_pages(world: World) -> None:
    switch_on("team_mode")
    client = sign_in(world.owner, code_age=FRESH)
    answer = post(client, "/admin/workspaces/new/", name="Research", slug="research")
    place = Workspace.objects.get(slug="research")
    path = f"/admin/workspaces/{place.pk}/"
    assert answer["Location"] == path
    assert form_on(client, path, path + "team/").send(name="Night shift").status_code == 401
    client = sign_in(world.owner, code_age=FRESH)  # one's roles changed, so the code counts no more
    assert form_on(client, path, path + "team/").send(name="Night shift").status_code == 302
    team = Team.objects.get(name="Night shift")
    assert form_on(client, path, path + "join/").send(team=team.pk, user=world.keeper.pk).status_code == 302
    assert form_on(client, path, path + "grant/").send(holder=team.pk, role="operator").status_code == 302
    html = page(client, f"{path}permissions/?principal={world.keeper.pk}")
    assert "operator in Research, through the team Night shift" in html
    form = form_on(client, path, path + "invite/")
    text = revealed(text_of(form.send(email="new@example.com", role="viewer", days="3")))
    assert keeps(text) == []
    offer = Invitation.objects.get(email="new@example.com")
    assert text not in page(client, form.send(email="new@example.com", role="viewer", days="3")["Location"])
    assert form_on(client, path, path + "withdraw/").send(invitation=offer.pk).status_code == 302
    member = f"{team.pk}:{world.keeper.pk}"
    assert form_on(client, path, path + "leave/").send(member=member).status_code == 302
    assert form_on(client, path, path + "archive/").send()["Location"] == "/admin/workspaces/"
    assert client.get(path).status_code == 404
    assert '<tr class="past">' in page(client, "/admin/workspaces/")


def test_a_built_in_workspace_is_never_archived(world: World) -> None:
    switch_on("team_mode")
    client, before = sign_in(world.owner, code_age=FRESH), stored()
    path = f"/admin/workspaces/{world.workspace.pk}/"
    assert "The built-in workspaces stay." in page(client, path)
    assert post(client, path + "archive/").status_code == 409
    assert stored() == before


def test_a_share_opens_one_agent_to_another_workspace_and_closes_again(world: World) -> None:
    switch_on("team_mode")
    client = sign_in(world.owner, code_age=FRESH)
    post(client, "/admin/workspaces/new/", name="Lab", slug="lab")
    place, path = Workspace.objects.get(slug="lab"), f"/admin/workspaces/{world.workspace.pk}/"
    values = {"kind": "agent", "resource": world.agent.pk, "target": place.pk, "access": "read"}
    assert form_on(client, path, path + "share/").send(**values).status_code == 302
    html = page(client, path)
    assert f"agent {world.agent.pk}" in html
    share = re.findall(r'<option value="(shr_\w+)"', html)
    assert form_on(client, path, path + "unshare/").send(share=share[0]).status_code == 302
    assert "Nothing is shared" in page(client, path)


def test_no_form_is_answered_in_the_name_of_a_foreign_workspace_id(world: World) -> None:
    switch_on("team_mode")
    owner = sign_in(world.owner, code_age=FRESH)
    post(owner, "/admin/workspaces/new/", name="Lab", slug="lab")
    lab = Workspace.objects.get(slug="lab")
    admin, before = sign_in(world.admin, code_age=FRESH), stored()
    membership = Membership.objects.get(workspace=lab)
    mine = f"/admin/workspaces/{world.workspace.pk}/"
    assert post(admin, mine + "remove/", membership=membership.pk).status_code == 404
    assert post(admin, mine + "withdraw/", invitation="inv_01ARZ3NDEKTSV4RRFFQ69G5FAV").status_code == 404
    assert post(admin, mine + "unshare/", share="shr_01ARZ3NDEKTSV4RRFFQ69G5FAV").status_code == 404
    assert post(admin, mine + "leave/", member="nothing").status_code == 404
    assert post(admin, mine + "join/", team=secrets.token_hex(4), user=world.keeper.pk).status_code == 404
    assert stored() == before
