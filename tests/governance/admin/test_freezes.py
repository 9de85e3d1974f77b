"""Freezes in the console: the switch on Home, the bar on every page, the second person who lifts."""

from __future__ import annotations

import re

import pytest
from django.db import transaction
from django.test import Client

from governance.journal.ledger import record
from governance.journal.models import JournalEvent
from governance.models import Freeze
from identity import memberships
from identity.models import User, Workspace
from identity.roles import WorkspaceRole
from kernel.clock import utc_now
from kernel.record import system_actor
from sandbox.models import Execution
from tests.governance.admin.posting import FRESH, form_on, post, text_of
from tests.governance.admin.world import World, code_now, propose, sign_in

REASON = "the agent runs wild"
HOSTILE = "<script>alert(1)</script> \u202ereversed"
SET, PAGE = "/admin/freezes/set/", "/admin/freezes/"
LS: dict[str, object] = {}


def rule_everywhere(person: User) -> User:
    with transaction.atomic():
        memberships.grant_membership(
            user=person,
            workspace=Workspace.objects.get(slug="instance"),
            role=WorkspaceRole.OWNER,
            actor=system_actor("shell"),
            now=utc_now(),
            record=record,
        )
    return person


def freeze_from_home(client: Client, **values: str) -> Freeze:
    answer = form_on(client, "/admin/", SET).send(**{"scope": "global", "reason": REASON} | values)
    assert answer.status_code == 302, text_of(answer)
    return Freeze.objects.latest("id")


def bars(client: Client, path: str) -> list[str]:
    found = re.findall(r'<div class="frozen-bar">.*?<p>(.*?)</p>', text_of(client.get(path)), re.DOTALL)
    return [re.sub(r"<[^>]+>", "", one) for one in found]


def test_a_freeze_from_home_to_the_lifting_by_another_person(world: World) -> None:
    """The thirteenth scenario: denied, refused, a bar on all pages; not lifted by who set it."""
    queued = propose(world.agent, "demo.ls", LS)
    owner = sign_in(world.owner, code_age=FRESH)
    rule_everywhere(world.admin)
    row = freeze_from_home(owner)
    assert Execution.objects.get(call_id=queued.call.id).state == "refused"
    assert propose(world.agent, "demo.ls", LS).call.reason_code == "run.frozen"
    viewer = sign_in(world.viewer)
    for path in ("/admin/", PAGE, "/admin/runs/", f"/admin/calls/{queued.call.id}/", "/admin/nowhere/"):
        (bar,) = bars(viewer, path)
        assert bar.startswith("Everything is frozen.")
        assert "Owner" in bar
        assert REASON in bar
    lift = f"/admin/freezes/{row.id}/lift/"
    page = text_of(owner.get(PAGE))
    assert lift not in page
    assert "You set it, so another person lifts it: admin." in page
    forged = post(owner, lift)
    assert forged.status_code == 403
    assert JournalEvent.objects.filter(type="request.refused", subject=row.id).exists()
    assert form_on(sign_in(world.admin, code_age=FRESH), PAGE, lift).send(reason="fixed").status_code == 302
    assert bars(viewer, "/admin/") == []
    assert propose(world.agent, "demo.ls", LS).state == "queued"
    assert "fixed" in text_of(viewer.get(PAGE))


def test_alone_the_setter_lifts_and_the_page_says_so(world: World) -> None:
    owner = sign_in(world.owner, code_age=FRESH)
    row = freeze_from_home(owner)
    assert form_on(owner, PAGE, f"/admin/freezes/{row.id}/lift/").send().status_code == 302
    assert "alone, as nobody else could" in text_of(owner.get(PAGE))


def test_an_old_code_asks_for_a_new_one_and_keeps_what_was_typed(world: World) -> None:
    owner = sign_in(world.owner)
    form = form_on(owner, "/admin/", SET)
    assert 'name="code"' in form.html
    values = {"scope": "global", "reason": REASON, "kill_running": "yes"}
    answer = form.send(**values)
    assert answer.status_code == 401
    assert REASON in text_of(answer)
    assert not Freeze.objects.exists()
    assert form.send(**values, code=code_now()).status_code == 302
    assert Freeze.objects.get().kill_running


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"scope": "agent"}, "Name the agent to freeze."),
        ({"scope": "tool", "scope_id": "fs.wriet"}, "There is no such tool."),
        ({"scope": "everything"}, "Choose what to freeze."),
        ({"reason": "short"}, "Say why, in 10 to 1000 characters."),
    ],
)
def test_a_mistake_comes_back_with_what_was_typed(
    world: World, values: dict[str, str], sentence: str
) -> None:
    owner = sign_in(world.owner, code_age=FRESH)
    answer = form_on(owner, PAGE, SET).send(**{"scope": "global", "reason": REASON} | values)
    assert answer.status_code == 422
    assert sentence in text_of(answer)
    assert not Freeze.objects.exists()


def test_who_may_not_freeze_finds_no_switch_and_no_way_round_it(world: World) -> None:
    for person in (world.viewer, world.auditor):
        client = sign_in(person, code_age=FRESH)
        assert SET not in text_of(client.get("/admin/"))
        assert "Your roles do not include freeze.set" in text_of(client.get(PAGE))
        assert post(client, SET, scope="global", reason=REASON).status_code == 403
    local = sign_in(world.approver, code_age=FRESH)
    assert 'value="global"' not in form_on(local, PAGE, SET).html
    assert post(local, SET, scope="global", reason=REASON).status_code == 403
    assert sign_in(world.stranger).get(PAGE).status_code == 302
    assert not Freeze.objects.exists()


def test_a_wish_to_unfreeze_stands_for_who_may_lift(world: World) -> None:
    row = freeze_from_home(sign_in(world.owner, code_age=FRESH))
    viewer = sign_in(world.viewer)
    ask = f"/admin/freezes/{row.id}/request/"
    assert f'href="{PAGE}#{row.id}">Request unfreeze' in text_of(viewer.get("/admin/runs/"))
    assert f'href="{PAGE}#{row.id}">Request unfreeze' in text_of(sign_in(world.approver).get("/admin/"))
    assert form_on(viewer, PAGE, ask).send(reason="the agent was fixed").status_code == 302
    page = text_of(sign_in(world.owner).get(PAGE))
    assert "asks to lift it" in page
    assert "the agent was fixed" in page
    assert "You asked for it already." in text_of(viewer.get(PAGE))
    row.refresh_from_db()
    assert row.state == "active"


def test_what_a_person_wrote_is_shown_and_never_run(world: World) -> None:
    owner = sign_in(world.owner, code_age=FRESH)
    freeze_from_home(owner, reason=HOSTILE)
    for path in ("/admin/", PAGE):
        html = text_of(owner.get(path))
        assert "<script>alert" not in html
        assert "⟦U+202E⟧" in html


def test_a_fourth_freeze_does_not_push_the_page_away(world: World) -> None:
    owner = sign_in(world.owner, code_age=FRESH)
    for tool in ("echo", "sleep", "fs.read", "fs.write"):
        freeze_from_home(owner, scope="tool", scope_id=tool)
    freeze_from_home(owner)
    shown = bars(owner, "/admin/")
    assert (len(shown), shown[-1]) == (4, "2 more freezes in force.")
    assert shown[0].startswith("Everything is frozen.")
