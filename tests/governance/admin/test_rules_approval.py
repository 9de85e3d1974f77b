"""The page on which a second person lets rules come into force, or not."""

from __future__ import annotations

from datetime import timedelta

import pytest

from governance.operations import policy_activation
from identity.models import User, Workspace
from identity.roles import WorkspaceRole
from kernel.clock import utc_now
from policy.activation import ActivationWish
from policy.models import SimulationRun
from policy.set_selectors import require_set
from tests.cast import enrol, make_user, principal
from tests.governance.admin.test_deciding import Form
from tests.governance.admin.world import World, code_now, sign_in
from tests.policy.lifecycles import REASON, draft as draft_set, person, put, simulated, validate

HOSTILE = '<script>alert("x")</script>\u202e'


def asked(world: World) -> tuple[str, User]:
    """Have an author ask; return the request and the author."""
    instance = Workspace.objects.get(slug="instance")
    author = make_user("author", WorkspaceRole.ADMIN, workspace=instance)
    enrol(author)
    row = validate(put(draft_set(person(author)), person(author)), person(author))
    simulated(row, loosened=3, available=7, total=7, tightened=2)
    SimulationRun.objects.filter(policy_set=row).update(finished_at=utc_now() - timedelta(minutes=1))
    now = utc_now()
    made = policy_activation.activate(
        principal=principal(author, instance, now=now),
        set_id=row.pk,
        wish=ActivationWish(f"{REASON} {HOSTILE}", 1, 3),
        seen_version=row.edit_version,
        now=now,
    )
    assert made.request is not None
    return made.request.pk, author


@pytest.fixture
def request_id(world: World) -> str:
    return asked(world)[0]


def test_a_second_person_sees_what_changes_and_lets_it_be(world: World, request_id: str) -> None:
    before = require_set("active")
    form = Form(sign_in(world.owner), request_id)
    for text in ("wants to put in force", "no_ftp", "7 recorded decisions", "Rules that change", REASON):
        assert text in form.html
    assert "<script>alert" not in form.html
    assert "\u202e" not in form.html
    assert "Where it runs" not in form.html
    page = form.send(comment="looked at the diff", code=code_now())
    assert "Allowed. The rules are in force." in page
    assert require_set("active").parent_id == before.pk


def test_the_inbox_names_it_as_what_it_is(world: World, request_id: str) -> None:
    page = sign_in(world.owner).get("/admin/approvals/").content.decode()
    assert "author wants to put in force palyra v2" in page


def test_the_author_is_told_why_somebody_else_decides(world: World) -> None:
    request_id, author = asked(world)
    form = Form(sign_in(author), request_id)
    assert "You asked for this or wrote some of it" in form.html
    page = form.send(comment="my own", code=code_now())
    assert form.status == 403
    assert "You asked for this or wrote some of it" in page


def test_what_keeps_the_rules_out_is_told_and_the_question_waits(world: World, request_id: str) -> None:
    SimulationRun.objects.update(finished_at=utc_now() - timedelta(hours=25))
    form = Form(sign_in(world.owner), request_id)
    page = form.send(comment="looked at the diff", code=code_now())
    assert form.status == 409
    assert "older than 24 hours" in page
    assert require_set("active").version == 1


def test_who_only_decides_about_calls_in_a_workspace_does_not_see_it(world: World, request_id: str) -> None:
    assert sign_in(world.approver).get(f"/admin/approvals/{request_id}/").status_code == 404
