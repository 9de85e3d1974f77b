"""People through their pages: created, given roles, reset, disabled."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings
from django.test import Client, override_settings

from identity.models import Membership, User, Workspace
from kernel.clock import utc_now
from tests.governance.admin.posting import (
    FRESH,
    event_ids,
    events_since,
    form_on,
    keeps,
    page,
    post,
    revealed,
    stored,
    text_of,
)
from tests.governance.admin.world import World, code_now, sign_in


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


@override_settings(PALYRA_PUBLIC_URL="https://palyra.example.com")
def test_a_link_names_the_public_address_and_never_the_host_header(world: World) -> None:
    client = sign_in(world.owner, code_age=FRESH)
    link = revealed(text_of(post(client, "/admin/users/new/", username="linked")))
    assert link.startswith("https://palyra.example.com/admin/setup/")
