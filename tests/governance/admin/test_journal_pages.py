"""The journal in the console: lines for every event, gaps, trees, one event, and whether all of it holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django.plugin import DjangoDbBlocker

from governance.admin.event_sentences import SENTENCES, sentence_of
from governance.admin.journal_gaps import gaps_between
from governance.admin.journal_tree import STAGES
from governance.evidence_checks import CheckState, call_checks, event_checks
from governance.journal.event_names import EventName
from governance.journal.models import (
    JournalArchive,
    JournalCheckpoint,
    JournalEvent,
    JournalLeaf,
    JournalPayload,
    JournalPending,
    JournalSubjectKey,
)
from governance.journal.sealing import seal
from governance.models import ToolCall
from governance.operations.evidence import EvidenceFile
from governance.selectors import CallView, view_of
from identity.models import User, Workspace
from identity.roles import WorkspaceRole
from kernel.clock import utc_now
from kernel.errors import AuthenticationError
from tests.cast import enrol, make_user
from tests.governance.admin.answering import answered
from tests.governance.admin.world import World, code_now, count_words, make_world, propose, sign_in
from tests.governance.journal.tampering import flipped, remove, set_columns
from tests.module_worlds import rolled_back

EVENT = re.compile(r"/admin/journal/(evt_\w+)/")


@pytest.fixture(scope="module")
def told(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[tuple[World, User, CallView]]:
    """A sealed journal with a denied call in it, and somebody who reads all of it."""
    with rolled_back(django_db_blocker):
        world = make_world()
        guardian = make_user(
            "guardian", WorkspaceRole.OWNER, workspace=Workspace.objects.get(slug="instance")
        )
        enrol(guardian)
        denied = propose(world.agent, "no.such.tool", {"password": "hunter2-hunter2"})
        count_words(world.kept)
        seal(now=utc_now())
        yield world, guardian, denied


@pytest.fixture
def world(told: tuple[World, User, CallView], db: None) -> World:
    return told[0]


@pytest.fixture
def guardian(told: tuple[World, User, CallView], db: None) -> Client:
    return sign_in(told[1])


@pytest.fixture
def denied(told: tuple[World, User, CallView], db: None) -> CallView:
    return view_of(ToolCall.objects.get(pk=told[2].call.pk))


def html_of(client: Client, path: str) -> str:
    return client.get(path).content.decode()


def event_of(view: CallView, name: str) -> JournalEvent:
    return JournalEvent.objects.get(call_id=view.call.pk, type=name)


def gone(events: list[str]) -> None:
    """Delete events with their payloads, as somebody would who owns the database."""
    remove(JournalPayload.objects.filter(event__in=events))
    remove(JournalEvent.objects.filter(pk__in=events))


def test_every_event_that_can_be_recorded_has_a_sentence() -> None:
    assert {name.value for name in EventName} - set(SENTENCES) == set()
    for text in SENTENCES.values():
        assert re.fullmatch(r"[a-z][^{}]*(\{(tool|it)\})?[^{}.]*", text), text
    assert len(set(SENTENCES.values())) == len(SENTENCES)
    assert sentence_of("new_thing.made").before == "recorded new thing made"


def test_a_line_tells_who_did_what_and_links_to_both(
    world: World, guardian: Client, denied: CallView
) -> None:
    rows = re.findall(r"<tr>(.*?)</tr>", html_of(guardian, "/admin/journal/?type=tool_call.*"), re.S)
    proposed = next(row for row in rows if event_of(denied, "tool_call.proposed").pk in row)
    assert re.search(r"<b>demo-agent</b> proposed a call of <a href=\"/admin/calls/call_\w+/\">", proposed)
    assert "Redacted" in proposed
    assert "hunter2" not in proposed


def test_the_timeline_costs_the_same_whatever_it_shows(world: World, guardian: Client) -> None:
    def cost() -> int:
        with CaptureQueriesContext(connection) as context:
            guardian.get("/admin/journal/")
        return len(context.captured_queries)

    cost()
    few = cost()
    for n in range(3):
        propose(world.kept, "no.such.tool", {"n": n})
    assert cost() == few
    assert few <= 25  # with the frame and the session, which every page has


@pytest.mark.parametrize("by", ["actor", "subject", "run", "call", "type"])
def test_each_filter_leaves_only_what_it_names(guardian: Client, denied: CallView, by: str) -> None:
    event = event_of(denied, "tool_call.decided")
    columns = {"actor": "actor", "subject": "subject", "run": "run_id", "call": "call_id", "type": "type"}
    value = getattr(event, columns[by])
    found = set(EVENT.findall(html_of(guardian, f"/admin/journal/?{by}={value}")))
    wanted = JournalEvent.objects.filter(**{columns[by]: value}).values_list("pk", flat=True)
    assert found == set(wanted)


def test_a_period_is_days_and_an_odd_one_is_said_and_ignored(guardian: Client) -> None:
    today = f"{utc_now():%Y-%m-%d}"
    assert EVENT.findall(html_of(guardian, f"/admin/journal/?since={today}&until={today}"))
    assert "No events here" in html_of(guardian, "/admin/journal/?until=2020-01-01")
    for odd in ("since=2026-13-40", "type=no.such", "until=9999-12-31x", "type=*"):
        html = html_of(guardian, f"/admin/journal/?{odd}")
        assert "Ignored, because nothing can be looked for by it" in html
        assert EVENT.search(html)


def test_a_call_is_shown_as_a_tree_in_the_order_of_its_path(guardian: Client, denied: CallView) -> None:
    html = html_of(guardian, f"/admin/journal/?call={denied.call.pk}")
    stages = re.findall(r'class="stage">(\w+)<', html)
    assert stages == [name for name in STAGES if name in stages]
    assert stages[0] == "Proposal"
    assert stages[-1] == "Outcome"
    shown = EVENT.findall(html)
    by_number = dict(JournalEvent.objects.filter(pk__in=shown).values_list("pk", "run_seq"))
    assert by_number[shown[-1]] == max(number or 0 for number in by_number.values())


def test_what_waits_is_shown_as_the_unsealed_tail(world: World, guardian: Client) -> None:
    assert "Unsealed tail" not in html_of(guardian, "/admin/journal/?type=tool_call.*")
    propose(world.kept, "no.such.tool", {})
    waiting = JournalPending.objects.filter(event__type__startswith="tool_call.").count()
    html = html_of(guardian, "/admin/journal/?type=tool_call.*")
    assert f"Unsealed tail: {waiting} events" in html
    assert html.count("Not sealed yet") == waiting > 1


def test_an_event_that_was_put_in_beside_the_ledger_is_marked(guardian: Client, denied: CallView) -> None:
    before = event_of(denied, "tool_call.decided")
    forged = JournalEvent.objects.create(
        id="evt_7ZZZZZZZZZZZZZZZZZZZZZZZZZ", envelope=before.envelope, type="policy.activated",
        time=before.time, actor="system", subject="pol_1",
    )  # fmt: skip
    html = html_of(guardian, "/admin/journal/")
    assert "Not in the log" in html
    states = {check.code: check.state for check in event_checks(forged)}
    assert states["envelope"] is CheckState.BROKEN
    assert states["inclusion"] is CheckState.BROKEN


def test_a_deleted_row_leaves_a_gap_that_names_its_number(guardian: Client, denied: CallView) -> None:
    event = event_of(denied, "tool_call.decided")
    leaf = JournalLeaf.objects.get(event_id=event.pk)
    gone([event.pk])
    assert f"Event {leaf.seq} was sealed and is gone." in html_of(guardian, "/admin/journal/")
    html = html_of(guardian, f"/admin/journal/?run={denied.call.run_id}")
    assert f"Number {event.run_seq} of the run is not here." in html
    assert "is gone" not in html_of(guardian, "/admin/journal/?type=run.*")
    assert guardian.get(f"/admin/journal/{event.pk}/").status_code == 404
    states = {check.code: check.state for check in call_checks(denied)}
    assert states["story"] is CheckState.BROKEN


def test_gaps_are_looked_for_between_two_ids_and_cut_short_with_a_word(
    guardian: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaves = list(JournalLeaf.objects.order_by("event_id"))
    assert gaps_between("", "") == []
    gone([leaf.event_id for leaf in leaves[2:5]])
    assert sum(gap.count for gap in gaps_between("", "")) == 3
    assert gaps_between("", leaves[2].event_id) == []
    assert sum(gap.count for gap in gaps_between(leaves[2].event_id, leaves[4].event_id)) == 1
    monkeypatch.setattr("governance.admin.journal_gaps.MOST_LOOKED_AT", 2)
    assert gaps_between("", "")[-1].more


def test_an_event_is_verified_item_by_item(guardian: Client, denied: CallView) -> None:
    event = event_of(denied, "tool_call.decided")
    path = f"/admin/journal/{event.pk}/"
    assert "Verified just now" not in html_of(guardian, path)
    html = html_of(guardian, f"{path}?verify=now")
    assert re.findall(r'id="check-(\w+)"', html) == ["envelope", "leaf", "chain", "inclusion", "signature"]
    assert html.count("</svg>Holds</span>") == 5
    proof = guardian.get(f"{path}proof/")
    assert proof.content.startswith(b"c2sp.org/tlog-proof@v1\n")
    assert event.pk in proof["Content-Disposition"]


def test_an_event_that_waits_has_no_proof_yet_and_says_so(world: World, guardian: Client) -> None:
    event = event_of(propose(world.kept, "no.such.tool", {}), "tool_call.proposed")
    answer = guardian.get(f"/admin/journal/{event.pk}/proof/", follow=True)
    assert "waits to be sealed" in answer.content.decode()
    states = {check.code: check.state for check in event_checks(event)}
    assert set(states.values()) == {CheckState.HOLDS, CheckState.UNCHECKED}


@pytest.mark.parametrize(
    ("model", "column", "broken"),
    [
        (JournalEvent, "envelope", {"leaf", "inclusion"}),
        (JournalEvent, "type", {"envelope"}),
        (JournalLeaf, "leaf_hash", {"leaf", "chain"}),
        (JournalLeaf, "chain_hash", {"chain"}),
        (JournalCheckpoint, "root", {"signature"}),
        (JournalCheckpoint, "note", {"signature"}),
    ],
)
def test_a_changed_bit_is_named_by_the_item_it_breaks(
    denied: CallView, model: type[Any], column: str, broken: set[str]
) -> None:
    event = event_of(denied, "tool_call.decided")
    change(model, column, event)
    checks = event_checks(JournalEvent.objects.get(pk=event.pk))
    assert {check.code for check in checks if check.state is CheckState.BROKEN} == broken


def change(model: type[Any], column: str, event: JournalEvent) -> None:
    """Change one bit of a stored value, or one sign of a text."""
    leaf = JournalLeaf.objects.get(event_id=event.pk)
    keys = {JournalEvent: event.pk, JournalLeaf: leaf.pk, JournalCheckpoint: leaf.checkpoint}
    value = getattr(model.objects.get(pk=keys[model]), column)
    if isinstance(value, str):
        at = max(0, len(value) - 20)
        spoiled: object = value[:at] + ("B" if value[at] != "B" else "C") + value[at + 1 :]
    else:
        spoiled = flipped(value, len(value) // 2)
    set_columns(model, keys[model], **{column: spoiled})


def test_data_opens_only_with_the_permission_and_a_code_and_is_recorded(
    world: World, guardian: Client, denied: CallView
) -> None:
    event = event_of(denied, "tool_call.proposed")
    path = f"/admin/journal/{event.pk}/reveal/"
    assert guardian.get(path).status_code == 405
    for client, status in ((sign_in(world.viewer), 403), (sign_in(world.operator), 403)):
        assert client.post(path).status_code == status
    assert guardian.post(path).status_code == 401
    assert not JournalEvent.objects.filter(type="record.viewed").exists()
    answer = guardian.post(path, {"code": code_now()})
    html = answer.content.decode()
    assert "no.such.tool" in html.partition("What the event says")[2]
    assert "hunter2" not in html
    assert answer["Cache-Control"] == "no-store"
    assert JournalEvent.objects.filter(type="record.viewed").count() == 1
    assert "What the event says" not in html_of(guardian, f"/admin/journal/{event.pk}/")


def test_a_call_that_ended_shows_evidence_that_holds(guardian: Client, denied: CallView) -> None:
    html = html_of(guardian, f"/admin/calls/{denied.call.pk}/")
    found = dict(re.findall(r'id="check-(\w+)"><b>[^<]+</b><span class="chip (\w+)"', html))
    items = ["action", "execution", "attestation", "story", "leaf", "chain", "inclusion", "signature"]
    assert list(found) == [*items, "policy"]
    assert {found[item] for item in items} == {"ok"}
    assert f"palyra evidence verify evidence-{denied.call.pk}.zip" in html


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({"input": {"password": "another"}}, {"action", "execution"}),
        ({"action_digest": "sha256:" + "0" * 64}, {"action"}),
        ({"tool_name": "fs.write"}, {"action", "execution"}),
        ({"salt": b"x" * 32}, {"execution"}),
    ],
)
def test_a_changed_call_is_found_by_what_was_signed(
    denied: CallView, change: dict[str, object], broken: set[str]
) -> None:
    ToolCall.objects.filter(pk=denied.call.pk).update(**change)
    checks = call_checks(view_of(ToolCall.objects.get(pk=denied.call.pk)))
    assert {check.code for check in checks if check.state is CheckState.BROKEN} == broken


def test_an_attestation_by_no_key_of_ours_ends_the_list_of_what_holds(denied: CallView) -> None:
    row = denied.attestation
    assert row is not None
    row.envelope = row.envelope.replace('"sig":"', '"sig":"AAAA', 1)
    checks = {check.code: check.state for check in call_checks(denied)}
    assert checks == {"action": CheckState.HOLDS, "attestation": CheckState.BROKEN}


def test_the_evidence_is_taken_by_post_and_by_who_may(world: World, denied: CallView) -> None:
    path = f"/admin/calls/{denied.call.pk}/evidence/"
    html = html_of(sign_in(world.operator), f"/admin/calls/{denied.call.pk}/")
    assert "disabled>Take the evidence away" in html
    assert sign_in(world.operator).post(path).status_code == 403
    assert sign_in(world.owner).get(path).status_code == 405


def test_every_page_about_something_leads_to_its_slice(
    world: World, guardian: Client, denied: CallView
) -> None:
    waiting = count_words(world.kept).call
    slices = {
        f"/admin/calls/{waiting.pk}/": f"call={waiting.pk}",
        f"/admin/runs/{waiting.run_id}/": f"run={waiting.run_id}",
        f"/admin/approvals/{waiting.approval_id}/": f"subject={waiting.approval_id}",
        f"/admin/agents/{world.kept.pk}/": f"actor={world.kept.pk}",
        "/admin/tools/demo.wc/": "subject=demo.wc",
    }
    for path, query in slices.items():
        assert f'href="/admin/journal/?{query}"' in html_of(guardian, path), path
        assert guardian.get(f"/admin/journal/?{query}").status_code == 200
    viewer = sign_in(world.viewer)
    assert "/admin/journal/" not in html_of(viewer, f"/admin/calls/{waiting.pk}/")


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
def test_no_method_changes_the_journal(guardian: Client, denied: CallView, method: str) -> None:
    event = event_of(denied, "tool_call.decided")
    before = list(JournalEvent.objects.order_by("pk").values_list("pk", "envelope"))
    for path in ("/admin/journal/", f"/admin/journal/{event.pk}/", f"/admin/journal/{event.pk}/proof/"):
        getattr(guardian, method)(path, {"envelope": "x", "action": "delete_selected"})
    assert list(JournalEvent.objects.order_by("pk").values_list("pk", "envelope")) == before
    for path in ("add/", "change/", "delete/", f"{event.pk}/change/", f"{event.pk}/delete/"):
        assert guardian.get(f"/admin/journal/{path}").status_code == 404


def test_the_answers_of_people_stand_in_the_tree_of_their_call(world: World, guardian: Client) -> None:
    view = count_words(world.kept)
    answered(world, view)
    call = ToolCall.objects.get(pk=view.call.pk)
    reviewed = JournalEvent.objects.get(type="approval.reviewed", subject=call.approval_id)
    assert reviewed.call_id is None
    for query in (f"call={call.pk}", f"run={call.run_id}"):
        html = html_of(guardian, f"/admin/journal/?{query}")
        approval = html.partition('class="stage">Approval<')[2].partition('class="stage">')[0]
        assert reviewed.pk in approval
        assert html.count("<details open>") == 1


def test_an_erased_event_shows_when_and_keeps_its_proof(guardian: Client, denied: CallView) -> None:
    event = event_of(denied, "tool_call.proposed")
    JournalSubjectKey.objects.filter(subject=denied.call.run_id).update(
        wrapped_key=None, destroyed_at=utc_now(), destroyed_event="evt_1"
    )
    assert "Erased" in html_of(guardian, f"/admin/journal/?call={denied.call.pk}")
    html = html_of(guardian, f"/admin/journal/{event.pk}/?verify=now")
    assert "Its key was destroyed" in html
    assert "/reveal/" not in html
    assert html.count("</svg>Holds</span>") == 5
    ToolCall.objects.filter(pk=denied.call.pk).update(input={"_erased": True}, salt=b"", action_digest="")
    states = {
        check.code: check.state for check in call_checks(view_of(ToolCall.objects.get(pk=denied.call.pk)))
    }
    assert {code for code, state in states.items() if state is CheckState.UNCHECKED} == {
        "action", "execution", "policy",
    }  # fmt: skip
    assert CheckState.BROKEN not in states.values()


def test_an_archived_event_is_named_in_the_timeline_and_has_a_page_of_its_leaf(
    world: World, guardian: Client, denied: CallView
) -> None:
    event = event_of(denied, "tool_call.decided")
    leaf, now = JournalLeaf.objects.get(event_id=event.pk), utc_now()
    JournalArchive.objects.create(
        first_seq=leaf.seq, end_seq=leaf.seq + 1, uri="unit.zip", sha256="0" * 64, bytes=1, verified_at=now,
        removed_at=now, event="evt_1",
    )  # fmt: skip
    gone([event.pk])
    html = html_of(guardian, "/admin/journal/")
    assert f"Event {leaf.seq} lies in an archive." in html
    assert "is gone" not in html
    html = html_of(guardian, f"/admin/journal/{event.pk}/?verify=now")
    assert "unit.zip" in html
    assert re.findall(r'id="check-(\w+)"', html) == ["chain", "inclusion", "signature"]
    assert html.count("</svg>Holds</span>") == 3
    assert sign_in(world.auditor).get(f"/admin/journal/{event.pk}/").status_code == 404
    states = {check.code: check.state for check in call_checks(denied)}
    assert states["story"] is CheckState.UNCHECKED
    assert CheckState.BROKEN not in states.values()


def test_what_an_agent_wrote_is_shown_and_never_obeyed(world: World, guardian: Client) -> None:
    text = "<script>alert(1)</script>\u202egpj.exe\"'</pre>"
    view = propose(world.kept, text, {text: text}, purpose=text)
    event = event_of(view, "tool_call.proposed")
    pages = [
        html_of(guardian, path)
        for path in ("/admin/journal/", f"/admin/journal/?call={view.call.pk}", f"/admin/journal/{event.pk}/")
    ]
    opened = guardian.post(f"/admin/journal/{event.pk}/reveal/", {"code": code_now()}).content.decode()
    assert "⟦U+202E⟧" in opened
    for html in (*pages, opened):
        assert "<script>alert" not in html
        assert "\u202e" not in html
        assert "&lt;script&gt;" in html


def test_the_evidence_leaves_the_console_as_the_bundle_of_the_interface(
    guardian: Client, denied: CallView, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def take(**wishes: Any) -> EvidenceFile:
        asked.append(wishes)
        if wishes["reveal"]:
            raise AuthenticationError("step_up_required", "Type a fresh code.")
        return EvidenceFile("evidence.zip", b"PK")

    monkeypatch.setattr("governance.admin.evidence.take_evidence", take)
    path = f"/admin/calls/{denied.call.pk}/evidence/"
    for _ in range(2):
        answer = guardian.post(path)
        assert (answer.status_code, answer.content) == (200, b"PK")
        assert answer["Content-Disposition"] == 'attachment; filename="evidence.zip"'
    answer = guardian.post(path, {"reveal": "yes"})
    assert answer.status_code == 401
    assert "Type a fresh code." in answer.content.decode()
    assert [one["reveal"] for one in asked] == [False, False, True]


@pytest.mark.parametrize("odd", ["evt_zz", "x/../y", "evt_\u202e<b>"])
def test_a_row_put_in_with_an_odd_id_hides_nothing(guardian: Client, denied: CallView, odd: str) -> None:
    like = event_of(denied, "tool_call.decided")
    JournalEvent.objects.create(
        id=odd, envelope=b"no envelope", type="odd<b>\u202e.type", time=like.time, actor=odd, subject=odd,
        run_id=like.run_id, run_seq=1 << 40, call_id=odd,
    )  # fmt: skip
    for path in ("/admin/journal/", f"/admin/journal/?run={like.run_id}"):
        answer = guardian.get(path)
        html = answer.content.decode()
        assert answer.status_code == 200
        assert "Not in the log" in html
        assert "Unreadable" in html
        assert "<b>.type" not in html
        assert "\u202e" not in html
