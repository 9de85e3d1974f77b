"""Putting rules in force and going back, through their pages."""

from __future__ import annotations

import html as markup
import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from approvals.models import ApprovalRequest
from governance.journal.models import JournalEvent
from identity.models import User, Workspace
from identity.roles import WorkspaceRole
from kernel.clock import utc_now
from policy.models import PolicySet, SimulationRun
from policy.set_selectors import active_set, require_set
from tests.cast import enrol, make_user
from tests.governance.admin.posting import FRESH, form_on, page, post, text_of
from tests.governance.admin.test_deciding import Form
from tests.governance.admin.world import World, code_now, sign_in
from tests.policy.lifecycles import draft as draft_set, person, put, simulated, validate

LIST = "/admin/policy/"
REASON = "the network team asked for it"


@pytest.fixture
def author(world: World) -> User:
    """Another person of the whole installation who may edit and activate rules."""
    made = make_user("author", WorkspaceRole.ADMIN, workspace=Workspace.objects.get(slug="instance"))
    enrol(made)
    return made


def ready(author: User, **facts: object) -> PolicySet:
    """A validated set of this author with a finished simulation that loosens two decisions."""
    row = validate(put(draft_set(person(author)), person(author)), person(author))
    simulated(row, **({"loosened": 2, "total": 5, "available": 5} | facts))
    SimulationRun.objects.filter(policy_set=row).update(finished_at=utc_now() - timedelta(minutes=1))
    return require_set(row.pk)


def of(row: PolicySet) -> str:
    return f"{LIST}{row.pk}/"


def activate(client: Client, row: PolicySet, **values: str) -> Any:
    form = form_on(client, f"{of(row)}activate/", f"{of(row)}activate/do/")
    return form.send(**({"loosened": "2", "reason": REASON} | values))


def roll_back(client: Client, row: PolicySet, **values: str) -> Any:
    form = form_on(client, f"{of(row)}rollback/", f"{of(row)}rollback/do/")
    return form.send(**({"reason": REASON} | values))


def in_force() -> PolicySet:
    active = active_set()
    assert active is not None
    return active


def test_somebody_who_did_not_write_it_puts_it_in_force(world: World, author: User) -> None:
    row = ready(author)
    client = sign_in(world.owner, code_age=FRESH)
    html = page(client, f"{of(row)}activate/")
    assert "You wrote none of it" in html
    assert "1 added, 0 removed, 0 changed" in html
    assert "5 of 5 recorded decisions" in html
    answer = activate(client, row)
    assert answer["Location"] == of(row)
    assert in_force().pk == row.pk
    assert "in force from the next decision on" in page(client, of(row))


def test_the_author_asks_and_a_second_person_sees_the_lines_before_they_answer(
    world: World, author: User
) -> None:
    row = ready(author)
    client = sign_in(author, code_age=FRESH)
    assert "A second person confirms" in page(client, f"{of(row)}activate/")
    answer = activate(client, row)
    asked = ApprovalRequest.objects.get(subject_id=row.pk)
    assert answer["Location"] == f"/admin/approvals/{asked.pk}/"
    assert in_force().version == 1
    for path in (of(row), f"{of(row)}activate/"):
        assert f"/admin/approvals/{asked.pk}/" in page(client, path)
    second = sign_in(world.owner, code_age=FRESH)
    html = page(second, f"/admin/approvals/{asked.pk}/")
    assert '<span class="sr">added: </span>+@id(&quot;no_ftp&quot;)' in html
    assert f"{of(row)}simulations/1/" in html
    assert "1 added, 0 removed, 0 changed" in html
    form = Form(second, asked.pk)
    assert "in force" in form.send(comment="looked at it", code=code_now())
    assert in_force().pk == row.pk
    after = page(second, f"/admin/approvals/{asked.pk}/")
    assert "+@id(&quot;no_ftp&quot;)" in after


def test_what_is_missing_is_said_and_the_button_is_not_there(world: World, author: User) -> None:
    owner = sign_in(world.owner, code_age=FRESH)

    def seen(row: PolicySet) -> str:
        html = page(owner, f"{of(row)}activate/")
        assert f"{of(row)}activate/do/" not in html
        return markup.unescape(html)

    draft = draft_set(person(author))
    assert "This set is draft; validate a draft first." in seen(draft)
    row = validate(put(draft_set(person(author)), person(author)), person(author))
    assert "Simulate it once it is validated" in seen(row)
    simulated(row, asked={"tool": "echo"}, finished_at=utc_now())
    assert "a part of the records only" in seen(row)
    simulated(row, finished_at=utc_now() - timedelta(hours=25))
    assert "older than 24 hours" in seen(row)
    late = ready(author)
    activate(owner, ready(author))
    assert "draft again from those" in seen(late)


@pytest.mark.parametrize(
    ("values", "status", "said"),
    [
        ({"loosened": "1"}, 409, "The simulation loosens 2 decisions, not 1."),
        ({"loosened": ""}, 409, "loosens 2 decisions"),
        ({"loosened": "two"}, 422, "not a whole number"),
        ({"reason": "short"}, 422, "10"),
        ({"version": "99"}, 412, "changed while this page was open"),
    ],
)
def test_a_refused_activation_keeps_what_was_typed(
    world: World, author: User, values: dict[str, str], status: int, said: str
) -> None:
    row = ready(author)
    answer = activate(sign_in(world.owner, code_age=FRESH), row, **values)
    assert (answer.status_code, said in markup.unescape(text_of(answer))) == (status, True)
    assert values.get("reason", REASON) in text_of(answer)
    assert in_force().version == 1


@pytest.mark.parametrize("verb", ["activate", "rollback"])
def test_a_fresh_code_is_asked_for_and_a_wrong_one_refused(world: World, author: User, verb: str) -> None:
    row = ready(author)
    if verb == "rollback":
        activate(sign_in(world.owner, code_age=FRESH), row)
        row = PolicySet.objects.get(version=1)
    before, client = in_force().pk, sign_in(world.owner)
    send = activate if verb == "activate" else roll_back
    answer = send(client, row)
    assert answer.status_code == 401
    assert 'name="code"' in text_of(answer)
    assert REASON in text_of(answer)
    assert send(client, row, code="000000").status_code in (401, 429)
    assert in_force().pk == before
    assert send(client, row, code=code_now()).status_code in (302, 401)


def test_a_second_click_puts_in_force_once(world: World, author: User) -> None:
    row, client = ready(author), sign_in(world.owner, code_age=FRESH)
    form = form_on(client, f"{of(row)}activate/", f"{of(row)}activate/do/")
    first, second = (form.send(loosened="2", reason=REASON) for _ in range(2))
    assert (first.status_code, second.status_code) == (302, 302)
    assert JournalEvent.objects.filter(type="policy.activated", subject=row.pk).count() == 1


def test_somebody_of_one_workspace_puts_nothing_in_force(world: World, author: User) -> None:
    row = ready(author)
    client = sign_in(world.admin, code_age=FRESH)
    html = page(client, f"{of(row)}activate/")
    assert f"{of(row)}activate/do/" not in html
    assert "this needs policy.activate in it" in html
    answer = post(
        client,
        f"{of(row)}activate/do/",
        loosened="2",
        reason=REASON,
        simulation="1",
        version=str(row.edit_version),
    )
    assert answer.status_code == 403
    assert in_force().version == 1


def test_one_person_goes_back_to_the_direct_predecessor(world: World, author: User) -> None:
    owner = sign_in(world.owner, code_age=FRESH)
    activate(owner, ready(author))
    first = PolicySet.objects.get(version=1)
    html = page(owner, f"{of(first)}rollback/")
    assert "One person is enough" in html
    assert "0 added, 1 removed, 0 changed" in html
    answer = roll_back(owner, first)
    restored = in_force()
    assert answer["Location"] == of(restored)
    assert (restored.restored_from, restored.hash) == (first, first.hash)
    assert "Restores" in page(owner, of(restored))


def test_going_back_further_asks_a_second_person(world: World, author: User) -> None:
    owner = sign_in(world.owner, code_age=FRESH)
    for _ in range(2):
        activate(owner, ready(author))
    first = PolicySet.objects.get(version=1)
    assert "Going back this far takes two people" in page(owner, f"{of(first)}rollback/")
    answer = roll_back(owner, first)
    asked = ApprovalRequest.objects.get(subject_id=first.pk)
    assert answer["Location"] == f"/admin/approvals/{asked.pk}/"
    assert in_force().version == 3
    html = page(sign_in(author), f"/admin/approvals/{asked.pk}/")
    assert '<span class="sr">removed: </span>-@id(&quot;no_ftp&quot;)' in html


def test_alone_one_person_may_and_is_told_that_it_is_recorded(world: World) -> None:
    owner = sign_in(world.owner, code_age=FRESH)
    row = ready(world.owner)
    assert "Nobody else in the installation may activate rules" in page(owner, f"{of(row)}activate/")
    activate(owner, row)
    assert in_force().pk == row.pk


@pytest.mark.parametrize("changes", [{"reason": "no"}, {"version": "77"}])
def test_a_refused_way_back_keeps_the_reason(world: World, author: User, changes: dict[str, str]) -> None:
    owner = sign_in(world.owner, code_age=FRESH)
    activate(owner, ready(author))
    answer = roll_back(owner, PolicySet.objects.get(version=1), **changes)
    assert answer.status_code in (412, 422)
    assert changes.get("reason", REASON) in text_of(answer)
    assert in_force().version == 2


def test_only_what_was_in_force_is_restored(world: World, author: User) -> None:
    row = ready(author)
    html = page(sign_in(world.owner, code_age=FRESH), f"{of(row)}rollback/")
    assert "Only a set that was in force before is restored." in html
    assert not re.search(r"<form[^>]*rollback/do/", html)
