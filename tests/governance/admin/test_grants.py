"""Grants and denials in the console: what is listed, what is taken back, and who may."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from approvals.models import DenialMemory, Grant
from governance.journal.models import JournalEvent
from identity.models import Agent
from kernel.clock import utc_now
from tests.governance.admin.answering import answered, denied, granted
from tests.governance.admin.approving import count
from tests.governance.admin.posting import event_ids, events_since, form_on, page, post, text_of
from tests.governance.admin.world import World, count_words, sign_in, write_file

GRANTS, DENIALS = "/admin/grants/", "/admin/grants/denials/"
BULK, FORGET = "/admin/grants/revoke/", "/admin/grants/denials/forget/"
UNDER_NOTES = {
    "v": 1,
    "constraints": [{"pointer": "/path", "op": "path_prefix", "value": "notes"}],
    "rest": "equal",
}
HOSTILE = "<script>alert(1)</script> \u202ereversed"


def ids_on(html: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r'href="/admin/grants/(grt_\w+)/"', html)))


def test_a_grant_stands_in_words_with_who_allowed_it_and_its_uses(world: World) -> None:
    grant = granted(world, count_words(world.agent), pattern=UNDER_NOTES)
    client = sign_in(world.auditor)
    row = page(client, GRANTS).partition("<tbody>")[2].partition("</tr>")[0]
    for words in ("demo.wc under notes", "notes/ideas.txt", "demo-agent", "0 of 100", "approver", "Active",
                  "Session"):  # fmt: skip
        assert words in row, words
    detail = page(client, f"{GRANTS}{grant.pk}/")
    for words in (
        "demo.wc under notes",
        "for the test",
        f"/admin/approvals/{grant.request_id}/",
        "Not used yet",
    ):
        assert words in detail, words


def test_a_use_leads_to_its_call_for_who_may_see_it(world: World) -> None:
    view = count_words(world.agent)
    grant = granted(world, view)
    grant.used.create(call_id=view.call.pk, execution_id="exe_1", used_at=utc_now())
    assert f'href="/admin/calls/{view.call.pk}/"' in page(sign_in(world.auditor), f"{GRANTS}{grant.pk}/")


def test_filters_keep_what_they_name(world: World) -> None:
    session = granted(world, count_words(world.agent))
    always = granted(world, count_words(world.kept), scope="always")
    ended = granted(world, count(world.agent, "notes/b.txt"), scope="temporary", ttl_ms=60_000)
    lasting = granted(world, count(world.agent, "notes/c.txt"), scope="temporary", ttl_ms=6 * 86_400_000)
    client = sign_in(world.auditor)
    with time_machine.travel(utc_now() + timedelta(minutes=2), tick=False):
        client = sign_in(world.auditor)

        def found(query: str) -> set[str]:
            return set(ids_on(page(client, f"{GRANTS}?{query}")))

        assert found("") == {session.pk, always.pk, lasting.pk}
        assert found("state=expired") == {ended.pk}
        assert found("state=any") == {session.pk, always.pk, ended.pk, lasting.pk}
        assert found("scope=always") == found("agent=kept") == {always.pk}
        assert found("tool=demo.wc&agent=demo") == {session.pk, lasting.pk}
        assert found("view=soon") == {lasting.pk}
        assert found("view=stale") == found("tool=no.such") == set()


def test_a_stale_grant_says_why_and_is_found_by_it(world: World) -> None:
    changed, suspended = granted(world, count_words(world.agent)), granted(world, count_words(world.kept))
    denied_now = granted(world, count(world.agent, "notes/b.txt"), scope="always")
    counts = granted(world, count(world.agent, "notes/c.txt"))
    Grant.objects.filter(pk=changed.pk).update(tool_definition_hash="sha256:" + "0" * 64)
    Grant.objects.filter(pk=denied_now.pk).update(obligations_digest="sha256:" + "0" * 64)
    Agent.objects.filter(pk=world.kept.pk).update(state="suspended")
    client = sign_in(world.approver)
    assert set(ids_on(page(client, f"{GRANTS}?view=stale"))) == {changed.pk, suspended.pk, denied_now.pk}
    plain = page(client, GRANTS)
    for words in ("The tool has another definition", "may not act at present"):
        assert words in plain
        assert words in page(client, f"{GRANTS}?view=stale")
    assert "It covers nothing at present." in page(client, f"{GRANTS}{denied_now.pk}/")
    assert "It covers nothing" not in page(client, f"{GRANTS}{counts.pk}/")


def test_the_list_asks_as_often_for_many_as_for_few(world: World) -> None:
    client = sign_in(world.approver)
    denied(world, write_file(world.kept))
    granted(world, count_words(world.agent))
    few = queries(client, GRANTS), queries(client, DENIALS)
    for number in range(3):
        granted(world, count(world.agent, f"notes/{number}.txt"))
        denied(world, write_file(world.kept, path=f"notes/{number}.md"))
    assert (queries(client, GRANTS), queries(client, DENIALS)) == few
    assert max(few) <= 22


def test_a_grant_is_revoked_with_a_comment_and_once(world: World) -> None:
    grant = granted(world, count_words(world.agent))
    client, path = sign_in(world.approver), f"{GRANTS}{grant.pk}/"
    form, before = form_on(client, path, f"{path}revoke/"), event_ids()
    empty = form.send(comment=" ")
    assert (empty.status_code, "At least 3 characters." in text_of(empty)) == (422, True)
    assert Grant.objects.get(pk=grant.pk).status == "active"
    form = form_on(client, path, f"{path}revoke/")
    assert form.send(comment="the work is done").status_code == 302
    assert form.send(comment="the work is done").status_code == 302
    assert events_since(before).count("grant.revoked") == 1
    html = page(client, path)
    for words in ("the work is done", "It has ended; there is nothing to take back.", "Revoked"):
        assert words in html, words
    assert f'action="{path}revoke/"' not in html


def test_the_ticked_ones_are_revoked_each_by_itself(world: World) -> None:
    first, second = granted(world, count_words(world.agent)), granted(world, count_words(world.kept))
    gone = granted(world, count(world.agent, "notes/b.txt"))
    client = sign_in(world.approver)
    form = form_on(client, GRANTS, BULK)
    post(client, f"{GRANTS}{gone.pk}/revoke/", comment="first")
    answer = form.send(grant=[first.pk, gone.pk, second.pk, "grt_none", first.pk], comment="tidy up")
    assert answer.status_code == 302
    assert "2 of 3 revoked. 1 not: The grant has ended already." in page(client, GRANTS)
    assert set(Grant.objects.values_list("status", flat=True)) == {"revoked"}
    assert JournalEvent.objects.filter(type="grant.revoked").count() == 3


def test_a_form_is_worked_on_once_and_for_the_rows_it_was_sent_with(world: World) -> None:
    first, second = granted(world, count_words(world.agent)), granted(world, count_words(world.kept))
    form = form_on(sign_in(world.approver), GRANTS, BULK)
    assert form.send(grant=[first.pk], comment="tidy up").status_code == 302
    again = form.send(grant=[second.pk], comment="tidy up")
    assert (again.status_code, "sent before with other values" in text_of(again)) == (422, True)
    many = [f"grt_01ARZ3NDEKTSV4RRFFQ69G5{number:03d}" for number in range(51)]
    assert post(sign_in(world.approver), BULK, grant=many, comment="tidy up").status_code == 422
    assert Grant.objects.get(pk=second.pk).status == "active"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"comment": "tidy up"}, "Tick 1 to 50 rows."),
        ({"comment": "x", "tick": True}, "At least 3 characters."),
        ({"comment": "tidy up", "grant": ["'; drop", "usr_1"]}, "Tick 1 to 50 rows."),
    ],
)
def test_a_mistake_revokes_nothing_and_keeps_the_ticks(
    world: World, values: dict[str, object], sentence: str
) -> None:
    grant = granted(world, count_words(world.agent))
    if values.pop("tick", False):
        values["grant"] = [grant.pk]
    answer = form_on(sign_in(world.approver), GRANTS, BULK).send(**values)
    html = text_of(answer)
    assert (answer.status_code, sentence in html) == (422, True)
    assert Grant.objects.get(pk=grant.pk).status == "active"
    assert (" checked" in html) is (values.get("grant") == [grant.pk])


def test_who_may_not_revoke_finds_no_tick_and_no_way_round_it(world: World) -> None:
    grant = granted(world, count_words(world.agent))
    client, path = sign_in(world.auditor), f"{GRANTS}{grant.pk}/"
    listed = page(client, GRANTS)
    assert 'type="checkbox" form=' not in listed
    assert "Your roles do not include grants.revoke" in listed
    assert "Your roles do not include grants.revoke" in page(client, path)
    for forged in (
        post(client, f"{path}revoke/", comment="please"),
        post(client, BULK, grant=[grant.pk], comment="please"),
    ):
        assert forged.status_code in (302, 403)
    assert Grant.objects.get(pk=grant.pk).status == "active"
    assert JournalEvent.objects.filter(type="request.refused", subject=grant.pk).count() == 2
    assert sign_in(world.viewer).get(GRANTS).status_code == 403
    assert post(sign_in(world.viewer), f"{path}revoke/", comment="please").status_code == 403


def test_a_grant_of_another_workspace_does_not_exist(world: World) -> None:
    grant = granted(world, count_words(world.agent))
    Grant.objects.filter(pk=grant.pk).update(workspace_id="wsp_elsewhere")
    client, path = sign_in(world.approver), f"{GRANTS}{grant.pk}/"
    assert client.get(path).status_code == 404
    assert post(client, f"{path}revoke/", comment="please").status_code == 404
    assert ids_on(page(client, GRANTS)) == []
    answer = post(client, BULK, grant=[grant.pk], comment="please")
    assert answer.status_code == 302
    assert Grant.objects.get(pk=grant.pk).status == "active"


def test_denials_are_listed_with_who_said_no_and_forgotten_with_a_comment(world: World) -> None:
    view = count_words(world.agent)
    denial, kept = denied(world, view), denied(world, write_file(world.kept))
    assert count_words(world.agent).call.reason_code == "approval.denied_before"
    client = sign_in(world.approver)
    html = page(client, DENIALS)
    for words in ("demo.wc", "demo-agent", "not this one", f"/admin/approvals/{view.call.approval_id}/"):
        assert words in html, words
    assert denial.pk not in page(client, f"{DENIALS}?tool=fs.write")
    assert form_on(client, DENIALS, FORGET).send(denial=[denial.pk], comment="").status_code == 422
    answer = form_on(client, DENIALS, FORGET).send(denial=[denial.pk], comment="asked by mistake")
    assert answer.status_code == 302
    assert list(DenialMemory.objects.values_list("pk", flat=True)) == [kept.pk]
    assert count_words(world.agent).state == "awaiting_approval"
    assert "Your roles do not include grants.revoke" in page(sign_in(world.auditor), DENIALS)
    post(sign_in(world.auditor), FORGET, denial=[kept.pk], comment="please")
    assert DenialMemory.objects.filter(pk=kept.pk).exists()


def test_empty_lists_say_what_will_stand_there(world: World) -> None:
    client = sign_in(world.auditor)
    assert "No grant counts at present" in page(client, GRANTS)
    assert "No denial is remembered" in page(client, DENIALS)
    assert "No grant fits" in page(client, f"{GRANTS}?agent=nobody")


def test_hostile_words_are_shown_and_never_run(world: World) -> None:
    view = count(world.agent, "notes/<img src=x onerror=alert(1)>\u202e.txt")
    if view.state != "awaiting_approval":
        view = write_file(world.agent, content=HOSTILE)
    answered(world, view, scope="session", comment=HOSTILE)
    grant = Grant.objects.get()
    client = sign_in(world.approver)
    post(client, f"{GRANTS}{grant.pk}/revoke/", comment=HOSTILE)
    for path in (f"{GRANTS}?state=any", f"{GRANTS}{grant.pk}/"):
        html = page(client, path)
        assert "<script>alert" not in html
        assert "<img src=x" not in html
        assert "\u202e" not in html


def queries(client: Client, path: str) -> int:
    page(client, path)
    with CaptureQueriesContext(connection) as context:
        page(client, path)
    return len(context.captured_queries)
