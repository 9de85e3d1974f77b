"""What the verbs on people, agents, workspaces and tokens do, and what becomes of what they reveal."""

from __future__ import annotations

import re
import secrets
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.test import Client, override_settings

from identity.authentication import principal_of as principal_of_token
from identity.models import Agent, ApiToken, FeatureFlag, Invitation, Membership, Team, User, Workspace
from identity.roles import Permission
from identity.tokens import parse_token
from kernel.clock import utc_now
from tests.governance.admin.posting import event_ids, events_since, form_on, keeps, post, stored, switch_on
from tests.governance.admin.test_pages import ROLES
from tests.governance.admin.world import World, code_now, sign_in

FRESH = timedelta(minutes=1)
TOKEN = r"plr_\w{3}_\w{12}_\w{49}"


def text_of(answer: Any) -> str:
    text: str = answer.content.decode()
    return text


def page(client: Client, path: str) -> str:
    return text_of(client.get(path))


def revealed(html: str) -> str:
    """Return the secret of a reveal page, which stands there once."""
    found = re.search(r'<code id="secret"[^>]*>([^<]+)</code>', html)
    assert found is not None, "nothing is revealed here"
    assert html.count(found[1]) == 1
    return found[1]


def minted(client: Client, holder: Agent, **values: Any) -> Any:
    fields: dict[str, Any] = {"agent": holder.pk, "label": "ci", "scopes": ["agent"], "days": "30"}
    return form_on(client, "/admin/tokens/new/", "/admin/tokens/new/").send(**(fields | values))


def test_a_minted_token_is_shown_once_and_works(world: World) -> None:
    client = sign_in(world.admin, code_age=FRESH)
    answer = minted(client, world.agent, networks="10.0.0.0/8\n127.0.0.1", rate="200")
    assert (answer.status_code, answer["Cache-Control"]) == (200, "no-store")
    text = revealed(text_of(answer))
    assert parse_token(text) is not None
    token = ApiToken.objects.get(label="ci")
    assert (token.rate_per_minute, token.minted_by) == (200, world.admin.pk)
    assert token.allowed_networks == ["10.0.0.0/8", "127.0.0.1/32"]
    assert "tools.propose" in token.scopes
    assert keeps(text) == []
    assert keeps(text.rpartition("_")[2]) == []
    for path in (
        f"/admin/tokens/{token.pk}/",
        "/admin/tokens/",
        f"/admin/agents/{world.agent.pk}/",
        "/admin/",
    ):
        assert text.rpartition("_")[2] not in page(client, path)


def test_the_same_form_again_shows_no_secret_and_mints_nothing(world: World) -> None:
    client = sign_in(world.admin, code_age=FRESH)
    form = form_on(client, "/admin/tokens/new/", "/admin/tokens/new/")
    values: dict[str, Any] = {
        "agent": world.agent.pk,
        "label": "twice",
        "scopes": ["runs.read"],
        "days": "30",
    }
    text = revealed(text_of(form.send(**values)))
    token = ApiToken.objects.get(label="twice")
    again = form.send(**values)
    assert (again.status_code, again["Location"]) == (302, f"/admin/tokens/{token.pk}/")
    html = page(client, again["Location"])
    assert "is not shown again" in html
    assert text not in html
    other = form.send(**(values | {"label": "thrice"}))
    assert other.status_code == 422
    assert ApiToken.objects.filter(label__in=("twice", "thrice")).count() == 1


@pytest.mark.parametrize(
    ("values", "status", "sentence"),
    [
        ({"scopes": []}, 422, "at least one scope"),
        ({"scopes": ["approvals.decide"]}, 422, "Some scopes cannot be given"),
        ({"scopes": ["no.such"]}, 422, "Some scopes cannot be given"),
        ({"label": ""}, 422, "1 to 80"), ({"label": "x" * 81}, 422, "1 to 80"),
        ({"label": "a\u202eb"}, 422, "1 to 80"), ({"days": "367"}, 422, "1 to 366"),
        ({"days": "0"}, 422, "1 to 366"), ({"days": "-1"}, 422, "not a whole number"),
        ({"days": "9" * 30}, 422, "not a whole number"), ({"days": "\u0661"}, 422, "not a whole number"),
        ({"rate": "9"}, 422, "10 to 10000"), ({"networks": "10.0.0.0/99"}, 422, "no network"),
        ({"networks": " ".join(f"10.0.{n}.0/24" for n in range(33))}, 422, "At most 32"),
    ],
)  # fmt: skip
def test_a_token_that_cannot_be_is_refused_at_its_field(
    world: World, values: dict[str, str | list[str]], status: int, sentence: str
) -> None:
    client, before = sign_in(world.admin, code_age=FRESH), stored()
    answer = minted(client, world.agent, **values)
    html = text_of(answer)
    assert answer.status_code == status
    assert sentence in html
    assert 'id="secret"' not in html
    assert stored() == before
    if "label" not in values:
        assert 'value="ci"' in html


def test_what_was_chosen_is_still_chosen_when_the_form_comes_back(world: World) -> None:
    html = text_of(minted(sign_in(world.admin, code_age=FRESH), world.agent, label="", scopes=["runs.read"]))
    checked = re.findall(r'name="scopes" value="([\w.]+)" checked', html)
    assert checked == ["runs.read"]


@pytest.mark.parametrize(
    ("agent_id", "status"),
    [("agt_01ARZ3NDEKTSV4RRFFQ69G5FAV", 404), ("", 422), ("\x00", 422), ("usr_x", 404)],
)
def test_no_token_is_minted_for_an_agent_that_is_not_there(world: World, agent_id: str, status: int) -> None:
    before = stored()
    answer = minted(sign_in(world.admin, code_age=FRESH), world.agent, agent=agent_id)
    assert answer.status_code == status
    assert stored() == before


def test_rotation_reveals_a_successor_and_the_old_one_overlaps(world: World) -> None:
    client = sign_in(world.admin, code_age=FRESH)
    old = ApiToken.objects.get(principal_agent=world.agent)
    path = f"/admin/tokens/{old.pk}/"
    text = revealed(text_of(form_on(client, path, path + "rotate/").send(overlap="600")))
    heir = ApiToken.objects.get(rotated_from=old)
    assert heir.scopes == old.scopes
    assert keeps(text) == []
    html = page(client, path)
    assert "Overlapping" in html
    assert heir.pk in html
    assert "This token has a successor already." in html
    assert post(client, path + "rotate/", overlap="600").status_code == 409
    assert post(client, path + "rotate/", overlap="90000").status_code in (409, 422)


@pytest.mark.parametrize("name", sorted(ROLES))
def test_everybody_mints_rotates_and_revokes_tokens_of_their_own(world: World, name: str) -> None:
    client = sign_in(world.people[name], code_age=FRESH)
    assert "You have no tokens" in page(client, "/admin/my-tokens/") or name == "owner"
    form = form_on(client, "/admin/my-tokens/new/", "/admin/my-tokens/new/")
    text = revealed(text_of(form.send(label="laptop", scopes=["readonly"])))
    token = ApiToken.objects.get(label="laptop")
    assert (token.kind, token.principal_user_id) == ("usr", world.people[name].pk)
    assert f"/admin/tokens/{token.pk}/" in page(client, "/admin/my-tokens/")
    principal = principal_of_token(
        authorization=[f"Bearer {text}"], client_ip="127.0.0.1", request_id="r", now=utc_now()
    )
    assert {permission.value for permission in getattr(principal, "principal", principal).permissions} <= set(
        token.scopes
    )
    path = f"/admin/tokens/{token.pk}/"
    revealed(text_of(form_on(client, path, path + "rotate/").send(overlap="0")))
    heir = ApiToken.objects.get(rotated_from=token)
    path = f"/admin/tokens/{heir.pk}/"
    assert form_on(client, path, path + "revoke/").send(reason="Sold the laptop.").status_code == 302
    assert ApiToken.objects.get(pk=heir.pk).revoked_reason == "Sold the laptop."


def test_nobody_puts_more_into_an_own_token_than_they_hold(world: World) -> None:
    client, before = sign_in(world.viewer, code_age=FRESH), stored()
    html = page(client, "/admin/my-tokens/new/")
    offered = set(re.findall(r'name="scopes" value="([\w.]+)"', html)) - {"readonly"}
    assert offered
    assert all(scope.endswith(".read") for scope in offered)
    for scope in ("agents.manage", "users.manage", "approvals.decide"):
        answer = post(client, "/admin/my-tokens/new/", label="more", scopes=[scope])
        assert answer.status_code == 403
        assert "Some scopes cannot be given" in text_of(answer)
    assert stored() == before


def test_nobody_touches_a_personal_token_of_somebody_else(world: World) -> None:
    client = sign_in(world.operator, code_age=FRESH)
    post(client, "/admin/my-tokens/new/", label="mine", scopes=["runs.read"])
    token = ApiToken.objects.get(label="mine")
    path, before = f"/admin/tokens/{token.pk}/", stored()
    viewer = sign_in(world.viewer, code_age=FRESH)
    assert viewer.get(path).status_code == 404
    for verb in ("rotate/", "revoke/"):
        assert post(viewer, path + verb, overlap="0", reason="Not mine.").status_code == 404
    admin = sign_in(world.admin, code_age=FRESH)
    assert "Only the person it belongs to rotates a personal token." in page(admin, path)
    assert post(admin, path + "rotate/", overlap="0").status_code == 403
    assert stored() == before
    assert post(admin, path + "revoke/", reason="Left the company.").status_code == 302


def test_minting_is_off_with_its_feature_and_revoking_is_not(world: World) -> None:
    FeatureFlag.objects.update_or_create(
        key="api_tokens", defaults={"enabled": False, "stage": "general", "changed_at": utc_now()}
    )
    client = sign_in(world.owner, code_age=FRESH)
    assert "The feature api_tokens is off here." in page(client, "/admin/tokens/")
    assert minted_refused(client, world.agent).status_code == 403
    token = ApiToken.objects.get(principal_agent=world.agent)
    assert post(client, f"/admin/tokens/{token.pk}/revoke/", reason="Not needed.").status_code == 302


def minted_refused(client: Client, agent: Agent) -> Any:
    return post(client, "/admin/tokens/new/", agent=agent.pk, label="x", scopes=["runs.read"])


def test_a_person_is_created_with_a_link_that_is_shown_once(world: World) -> None:
    client = sign_in(world.owner, code_age=FRESH)
    form = form_on(client, "/admin/users/new/", "/admin/users/new/")
    values = {"username": "ada", "display_name": "Ada", "email": "ada@example.com"}
    link = revealed(text_of(form.send(**values)))
    assert link.startswith(f"{settings.PALYRA_PUBLIC_URL}/admin/setup/")
    text = link.rstrip("/").rpartition("/")[2]
    assert keeps(text) == []
    user = User.objects.get(username="ada")
    assert (user.can_log_in, user.is_active) == (False, True)
    assert Client().get(link.removeprefix(settings.PALYRA_PUBLIC_URL)).status_code == 200
    again = form.send(**values)
    assert again["Location"] == f"/admin/users/{user.pk}/"
    html = page(client, again["Location"])
    assert "is not shown again" in html
    assert text not in html
    assert "Setup pending" in html


@pytest.mark.parametrize(
    ("values", "status", "sentence"),
    [
        ({"username": "A B"}, 422, "Lower-case letters"), ({"username": ""}, 422, "Lower-case letters"),
        ({"username": "x" * 200}, 422, "Lower-case letters"), ({"username": "owner"}, 409, "taken"),
        ({"username": "ab\x00c"}, 200, "abc"), ({"display_name": "x" * 121}, 422, "printable"),
        ({"display_name": "a\u202eb"}, 422, "printable"), ({"email": "no"}, 422, "no e-mail"),
        ({"email": f"a@{'b.' * 130}example.com"}, 422, "At most 254"),
    ],
)  # fmt: skip
def test_a_person_that_cannot_be_is_refused_at_the_field(
    world: World, values: dict[str, str], status: int, sentence: str
) -> None:
    answer = post(
        sign_in(world.owner, code_age=FRESH), "/admin/users/new/", **({"username": "grace"} | values)
    )
    assert answer.status_code == status
    assert sentence in text_of(answer)
    assert User.objects.filter(username="grace").count() == 0


def test_a_wrong_code_does_nothing_counts_and_keeps_what_was_typed(world: World) -> None:
    client = sign_in(world.owner)
    form = form_on(client, "/admin/users/new/", "/admin/users/new/")
    assert 'name="code"' in form.html
    wrong = f"{(int(code_now()) + 500_000) % 1_000_000:06d}"
    before, events = stored(), event_ids()
    answer = form.send(username="grace", display_name="Grace", code=wrong)
    assert answer.status_code == 401
    html = text_of(answer)
    assert 'value="Grace"' in html
    assert wrong not in html
    assert stored() == before
    assert events_since(events) == ["step_up.failed"]
    right = form.send(username="grace", display_name="Grace", code=code_now())
    assert right.status_code == 200
    assert User.objects.filter(username="grace").exists()


def test_a_code_counts_for_the_next_minutes_and_is_used_up(world: World) -> None:
    client, code = sign_in(world.owner), code_now()
    assert post(client, "/admin/users/new/", username="first", code=code).status_code == 200
    assert post(client, "/admin/users/new/", username="second").status_code == 200
    assert post(client, "/admin/users/new/", username="third", code=code).status_code == 401
    assert not User.objects.filter(username="third").exists()


def test_disabling_stops_a_person_and_enabling_restores_them(world: World) -> None:
    client = sign_in(world.owner, code_age=FRESH)
    path = f"/admin/users/{world.keeper.pk}/"
    seen = sign_in(world.keeper)
    assert form_on(client, path, path + "disable/").send(reason="  ").status_code == 422
    assert form_on(client, path, path + "disable/").send(reason="On leave.").status_code == 302
    assert seen.get("/admin/").status_code == 302
    html = page(client, path)
    assert "Disabled" in html
    assert "This person is disabled and may do nothing." in html
    assert "On leave." not in html
    assert f'<tr class="past">\n<td class="whole"><div><a class="lead" href="{path}"' in page(
        client, "/admin/users/"
    )
    assert post(client, path + "disable/", reason="Again.").status_code == 409
    assert form_on(client, path, path + "enable/").send(reason="Back again.").status_code == 302
    assert User.objects.get(pk=world.keeper.pk).is_active


def test_a_reset_reveals_a_link_and_takes_everything_else_away(world: World) -> None:
    client = sign_in(world.owner, code_age=FRESH)
    path = f"/admin/users/{world.keeper.pk}/"
    form = form_on(client, path, path + "reset/")
    link = revealed(text_of(form.send(reason="Lost the phone.")))
    assert keeps(link.rstrip("/").rpartition("/")[2]) == []
    html = page(client, path)
    assert "Not enrolled" in html
    assert link not in text_of(form.send(reason="Lost the phone."))


def test_a_form_that_is_older_than_the_person_changes_nothing(world: World) -> None:
    client = sign_in(world.owner, code_age=FRESH)
    path = f"/admin/users/{world.keeper.pk}/"
    late = form_on(client, path, path + "change/")
    assert form_on(client, path, path + "change/").send(display_name="First", email="").status_code == 302
    answer = late.send(display_name="Late", email="")
    assert answer.status_code == 412
    assert "changed meanwhile" in text_of(answer)
    assert User.objects.get(pk=world.keeper.pk).display_name == "First"


def test_roles_are_given_until_a_day_and_taken_away(world: World) -> None:
    client = sign_in(world.admin, code_age=FRESH)
    path = f"/admin/users/{world.viewer.pk}/"
    day = (utc_now() + timedelta(days=3)).date().isoformat()
    form = form_on(client, path, path + "grant/")
    assert form.send(workspace=world.workspace.pk, role="auditor", until=day).status_code == 302
    given = Membership.objects.get(user=world.viewer, role="auditor")
    assert given.expires_at is not None
    assert given.expires_at.isoformat()[11:19] == "00:00:00"
    assert form_on(client, path, path + "remove/").send(membership=given.pk).status_code == 302
    assert not Membership.objects.filter(pk=given.pk).exists()


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"role": "owner"}, 403), ({"role": "admin"}, 403), ({"role": "king"}, 422), ({"until": "soon"}, 422),
        ({"until": "2020-01-01"}, 422), ({"until": "9999-12-31"}, 422), ({"role": "viewer"}, 409),
        ({"workspace": "wsp_01ARZ3NDEKTSV4RRFFQ69G5FAV"}, 404), ({"workspace": "instance"}, 404),
        ({"workspace": ""}, 404),
    ],
)  # fmt: skip
def test_a_role_that_an_admin_may_not_give_is_not_given(
    world: World, values: dict[str, str], status: int
) -> None:
    instance = Workspace.objects.get(slug="instance").pk
    wanted = {"workspace": world.workspace.pk, "role": "auditor"} | values
    wanted["workspace"] = instance if wanted["workspace"] == "instance" else wanted["workspace"]
    client, before = sign_in(world.admin, code_age=FRESH), stored()
    assert post(client, f"/admin/users/{world.viewer.pk}/grant/", **wanted).status_code == status
    assert stored() == before


def test_nobody_gives_themselves_a_role_but_everybody_may_drop_one(world: World) -> None:
    client = sign_in(world.admin, code_age=FRESH)
    path = f"/admin/users/{world.admin.pk}/"
    answer = post(client, path + "grant/", workspace=world.workspace.pk, role="auditor")
    assert answer.status_code == 403
    viewer = sign_in(world.viewer, code_age=FRESH)
    own = Membership.objects.get(user=world.viewer)
    path = f"/admin/users/{world.viewer.pk}/"
    assert form_on(viewer, path, path + "remove/").send(membership=own.pk).status_code == 302
    assert not Membership.objects.filter(pk=own.pk).exists()


def test_a_role_of_somebody_else_is_not_taken_through_this_page(world: World) -> None:
    client, before = sign_in(world.owner, code_age=FRESH), stored()
    other = Membership.objects.get(user=world.auditor)
    answer = post(client, f"/admin/users/{world.viewer.pk}/remove/", membership=other.pk)
    assert answer.status_code == 404
    assert stored() == before


def test_the_last_owner_stays(world: World) -> None:
    client = sign_in(world.owner, code_age=FRESH)
    path = f"/admin/users/{world.owner.pk}/"
    own = Membership.objects.get(user=world.owner, workspace__slug="instance")
    answer = post(client, path + "remove/", membership=own.pk)
    assert answer.status_code == 409
    assert "own the workspace for good" in text_of(answer)
    assert Membership.objects.filter(pk=own.pk).exists()


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


@override_settings(PALYRA_PUBLIC_URL="https://palyra.example.com")
def test_a_link_names_the_public_address_and_never_the_host_header(world: World) -> None:
    client = sign_in(world.owner, code_age=FRESH)
    link = revealed(text_of(post(client, "/admin/users/new/", username="linked")))
    assert link.startswith("https://palyra.example.com/admin/setup/")


def test_every_permission_of_a_token_page_is_known(world: World) -> None:
    html = page(sign_in(world.owner), "/admin/tokens/new/")
    offered = set(re.findall(r'name="scopes" value="([\w.]+)"', html)) - {"agent", "compat", "readonly"}
    assert offered <= {permission.value for permission in Permission}
