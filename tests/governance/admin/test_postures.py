"""Postures in the console: the matrix, one tool in one scope, presets, history and recommendations."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from django.test import Client

from approvals.types import ReviewInput
from governance import pipeline
from governance.admin.posture_words import ENDS, end_of
from governance.admin.postures import query_of
from governance.models import Session
from governance.operations import runs
from governance.proposals import Proposal
from identity.roles import WorkspaceRole
from identity.selectors import principal_of_user
from identity.types import AuthStrength
from kernel.clock import utc_now
from policy.models import PostureEvent, PostureOverride
from policy.posture import GLOBAL, Place
from tests.cast import make_agent, make_user
from tests.governance.admin.posting import post
from tests.governance.admin.test_identity_pages import make_place
from tests.governance.admin.world import World, principal_of, sign_in

FRESH, OLD = timedelta(minutes=1), timedelta(hours=1)
REASON = "asked for in a test"
BASE = "/admin/tools/posture/"


def html(client: Client, path: str, status: int = 200) -> str:
    answer = client.get(path)
    assert answer.status_code == status, answer.content[:300]
    return unescape(answer.content.decode())


def tool_path(tool: str, place: Place, verb: str = "") -> str:
    return f"{BASE}tool/{tool}/{verb}?{query_of(place)}"


@pytest.fixture
def here(world: World) -> Place:
    return Place("workspace", world.workspace.pk, world.workspace.pk)


@pytest.fixture
def agent(world: World) -> Place:
    return Place("agent", world.agent.pk, world.workspace.pk, world.agent.pk)


def cells(client: Client, query: str = "") -> dict[str, list[str]]:
    """Return the states of each tool of the matrix, in the order of its columns."""
    found = {}
    for row in html(client, f"{BASE}{query}").split("<tr>")[1:]:
        name = re.search(r'class="lead">([^<]+)<', row)
        if name:
            found[name[1]] = re.findall(r'class="cell[^>]*>.*?</svg>([^<]+)</span>', row)
    return found


def put(client: Client, tool: str, place: Place, state: str, **values: str) -> int:
    seen = re.search(r'name="seen" value="([^"]*)"', html(client, tool_path(tool, place)))
    assert seen is not None
    sent = {"state": state, "end": "", "reason": REASON, "seen": seen[1]} | values
    return int(post(client, tool_path(tool, place, "set/"), **sent).status_code)


def test_the_matrix_shows_each_scope_that_was_chosen(world: World, agent: Place) -> None:
    client = sign_in(world.owner, code_age=FRESH)
    assert cells(client)["fs.write"] == ["Ask each time"] * 2
    assert put(client, "fs.write", agent, "disabled") == 302
    assert cells(client, f"?agent={world.agent.pk}")["fs.write"] == ["Ask each time"] * 2 + ["Disabled"]
    runs.open_run(principal=principal_of(world.agent), wishes={"session_key": "one"}, now=utc_now())
    session = Session.objects.get(principal_id=world.agent.pk)
    four = cells(client, f"?agent={world.agent.pk}&session={session.pk}")
    assert four["fs.write"] == ["Ask each time"] * 2 + ["Disabled"] * 2
    assert set(cells(client, "?tool=FS.")) >= {"fs.write", "fs.read"}
    assert "echo" not in cells(client, "?tool=FS.")


def test_a_cell_has_a_lock_where_something_above_decides(world: World, here: Place) -> None:
    client = sign_in(world.owner, code_age=FRESH)
    assert put(client, "echo", GLOBAL, "disabled") == 302
    page = html(client, f"{BASE}?tool=echo")
    assert page.count('class="held"') == 1
    assert "set for everywhere" in page
    assert "A broader scope decides" in html(client, tool_path("echo", here))
    assert "Locked" in html(client, tool_path("browser.click", here))


def test_a_posture_is_set_against_the_row_that_was_seen(world: World, agent: Place) -> None:
    client = sign_in(world.owner, code_age=FRESH)
    assert put(client, "echo", agent, "disabled", end="24", fixed="yes") == 302
    row = PostureOverride.objects.get(tool="echo")
    assert (row.state, row.overridable, row.reason, row.actor) == ("disabled", False, REASON, world.owner.pk)
    assert row.expires_at is not None
    assert row.expires_at - row.created_at == timedelta(hours=24)
    stale = {"state": "disabled", "end": "", "reason": REASON}
    for seen in ("", "0:0"):
        answer = post(client, tool_path("echo", agent, "set/"), seen=seen, **stale)
        assert answer.status_code in (412, 428)
        assert b"changed while this page was open" in answer.content
    assert PostureOverride.objects.get(tool="echo").version == 1
    page = html(client, tool_path("echo", agent))
    assert REASON in page
    assert "Set" in page


def test_loosening_asks_for_a_code_on_the_form(world: World, agent: Place) -> None:
    client = sign_in(world.owner, code_age=OLD)
    assert put(client, "fs.read", agent, "disabled") == 302
    assert put(client, "fs.read", agent, "ask_each_time") == 401
    row = PostureOverride.objects.get(tool="fs.read")
    seen = f"{row.pk}:{row.version}"
    answer = post(client, tool_path("fs.read", agent, "clear/"), reason=REASON, seen=seen)
    assert answer.status_code == 401
    assert b'name="code"' in answer.content
    assert put(sign_in(world.owner, code_age=FRESH), "fs.read", agent, "ask_each_time") == 302


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"state": "maybe"}, 422),
        ({"end": "9999"}, 422),
        ({"reason": "no"}, 422),
        ({"tool": "no.such"}, 404),
        ({"tool": "browser.click", "state": "ask_each_time"}, 409),
        ({"tool": "fs.write", "state": "always_allow"}, 422),
    ],
)
def test_bad_forms_change_nothing(world: World, here: Place, values: dict[str, str], status: int) -> None:
    client = sign_in(world.owner, code_age=FRESH)
    sent = {"tool": "echo", "state": "disabled", "end": "", "reason": REASON, "seen": ""} | values
    tool = sent.pop("tool")
    before = PostureOverride.objects.count()
    assert post(client, tool_path(tool, here, "set/"), **sent).status_code == status
    assert PostureOverride.objects.count() == before


def test_a_preset_is_previewed_applied_and_undone(world: World, agent: Place) -> None:
    client = sign_in(world.owner, code_age=FRESH)
    page = html(client, f"{BASE}presets/read_mostly_research/?{query_of(agent)}")
    assert "Stricter" in page
    assert "Skipped" in page
    path = f"{BASE}presets/read_mostly_research/apply/?{query_of(agent)}"
    assert post(client, path, reason=REASON, end="").status_code == 302
    event = PostureEvent.objects.get(action="preset_applied")
    assert PostureOverride.objects.filter(scope_id=world.agent.pk).count() == len(event.changes) > 0
    assert "Preset applied: read_mostly_research" in html(client, f"{BASE}history/")
    undo = f"{BASE}history/{event.pk}/undo/"
    stale = sign_in(world.owner, code_age=OLD)
    assert post(stale, undo, reason="").status_code == 401
    assert post(sign_in(world.owner, code_age=FRESH), undo, reason="").status_code == 302
    assert not PostureOverride.objects.filter(scope_id=world.agent.pk).exists()
    assert f"{event.pk}/undo/" not in html(client, f"{BASE}history/")
    assert post(sign_in(world.owner, code_age=FRESH), undo, reason="").status_code == 409
    assert html(client, f"{BASE}presets/party/", 404)


def asked(world: World, decision: str, session: str) -> None:
    now = utc_now()
    principal = principal_of(world.agent)
    run = runs.open_run(principal=principal, wishes={"session_key": session}, now=now)
    proposal = Proposal(run_id=run.id, tool="demo.wc", input={"path": f"notes/{run.id}.txt"})
    view = pipeline.submit(proposal=proposal, principal=principal, now=now)
    reviewer = principal_of_user(
        user=world.approver,
        workspace_id=world.workspace.pk,
        strength=AuthStrength.FRESH_MFA,
        client_ip="127.0.0.1",
        request_id="req_test",
        authenticated_at=now,
        now=now,
        session_digest="sha256:" + "0" * 64,
    )
    pipeline.review(
        request_id=view.call.approval_id or "",
        answer=ReviewInput(verdict=decision, scope="once", comment="a test", otp_verified_at=now),
        principal=reviewer,
        now=now,
    )


def test_a_recommendation_is_put_off_or_accepted(world: World) -> None:
    for number in range(5):
        asked(world, "allow", f"s{number % 2}")
    page = html(sign_in(world.viewer), BASE)
    (found,) = set(re.findall(r'name="recommendation" value="([^"]+)"', html(sign_in(world.owner), BASE)))
    assert "Allowed 5 times in 2 sessions" in page
    assert 'name="recommendation"' not in page
    answer = f"{BASE}answer/"
    stale = sign_in(world.owner, code_age=OLD)
    assert post(stale, answer, recommendation=found, answer="accept").status_code == 401
    assert post(stale, answer, recommendation=found, answer="defer").status_code == 302
    assert "Recommendations" not in html(stale, BASE)
    fresh = sign_in(world.owner, code_age=FRESH)
    assert post(fresh, answer, recommendation=found, answer="maybe").status_code == 422
    assert post(fresh, answer, recommendation=found, answer="accept").status_code == 302
    assert PostureOverride.objects.get(tool="demo.wc").source == f"recommendation:{found}"
    assert post(fresh, answer, recommendation=found, answer="accept").status_code == 409


def test_only_managers_are_offered_the_forms_and_only_owners_the_whole_instance(
    world: World, here: Place
) -> None:
    for person in (world.viewer, world.auditor, world.approver, world.operator):
        client = sign_in(person, code_age=FRESH)
        assert "/set/" not in html(client, tool_path("echo", here))
        sent = {"state": "disabled", "end": "", "reason": REASON, "seen": ""}
        assert post(client, tool_path("echo", here, "set/"), **sent).status_code == 403
    admin = sign_in(world.admin, code_age=FRESH)
    assert "/set/" in html(admin, tool_path("echo", here))
    page = html(admin, tool_path("echo", GLOBAL))
    assert "Only who manages postures of the whole instance" in page
    sent = {"state": "disabled", "end": "", "reason": REASON, "seen": ""}
    assert post(admin, tool_path("echo", GLOBAL, "set/"), **sent).status_code == 403
    assert not PostureOverride.objects.filter(tool="echo").exists()


def test_an_agent_of_another_workspace_does_not_exist(world: World) -> None:
    place = make_place("research")
    person = make_user("foreigner", WorkspaceRole.OPERATOR, workspace=place)
    foreign = make_agent(person, place, "foreign-agent")
    client = sign_in(world.admin, code_age=FRESH)
    target = Place("agent", foreign.pk, place.pk, foreign.pk)
    assert html(client, tool_path("echo", target), 404)
    assert html(client, f"{BASE}tool/echo/?scope_kind=planet&scope_id=x", 404)
    assert "foreign-agent" not in html(client, f"{BASE}?agent={foreign.pk}")
    sent = {"state": "disabled", "end": "", "reason": REASON, "seen": ""}
    assert post(client, tool_path("echo", target, "set/"), **sent).status_code == 404


def test_what_an_agent_named_is_shown_and_not_run(world: World, here: Place) -> None:
    runs.open_run(
        principal=principal_of(world.agent),
        wishes={"session_key": "<script>alert(1)</script>"},
        now=utc_now(),
    )
    answer = sign_in(world.owner).get(f"{BASE}?agent={world.agent.pk}")
    assert b"<script>alert" not in answer.content
    assert b"&lt;script&gt;alert" in answer.content


def test_every_end_that_is_offered_is_understood() -> None:
    lengths = [end_of(key) for key, _ in ENDS]
    assert lengths[0] is None
    assert lengths[1:] == sorted(length for length in lengths if length is not None)
    assert lengths[-1] == timedelta(days=30)
