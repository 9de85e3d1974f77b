"""Tokens through their pages: minted, shown once, rotated, revoked."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from identity.authentication import principal_of as principal_of_token
from identity.models import Agent, ApiToken, FeatureFlag
from identity.roles import Permission
from identity.tokens import parse_token
from kernel.clock import utc_now
from tests.governance.admin.posting import (
    FRESH,
    form_on,
    keeps,
    page,
    post,
    revealed,
    stored,
    text_of,
)
from tests.governance.admin.test_pages import ROLES
from tests.governance.admin.world import World, sign_in


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


def test_every_permission_of_a_token_page_is_known(world: World) -> None:
    html = page(sign_in(world.owner), "/admin/tokens/new/")
    offered = set(re.findall(r'name="scopes" value="([\w.]+)"', html)) - {"agent", "compat", "readonly"}
    assert offered <= {permission.value for permission in Permission}
