"""The page of a session, and the form that takes a label away."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction

from governance import labelling
from governance.journal.ledger import record
from governance.models import Run
from governance.operations import runs
from identity.models import Agent
from kernel.clock import utc_now
from kernel.record import system_actor
from policy.label_models import LabelHolder, SessionLabel
from policy.labels import add_labels
from tests.governance.admin.posting import FRESH, form_on, page, post, text_of
from tests.governance.admin.world import World, code_now, principal_of, propose, sign_in

pytestmark = pytest.mark.django_db
REASON = "I read all of it myself"


def labelled(agent: Agent, *names: str, key: str | None = "chat 7", call: str = "call_x") -> Run:
    """Open a run and give its holder labels, as a call of it would."""
    wishes = {"purpose": "a test"} | ({"session_key": key} if key else {})
    run = runs.open_run(principal=principal_of(agent), wishes=wishes, now=utc_now())
    with transaction.atomic():
        add_labels(
            holder=labelling.holder_of(run),
            labels=frozenset(names or {"untrusted_content"}),
            call_id=call,
            run_id=run.id,
            actor=system_actor("worker"),
            now=utc_now(),
            record=record,
        )
    return run


def path(run: Run) -> str:
    return f"/admin/sessions/{run.session_id or run.principal_id}/"


def test_a_session_shows_its_labels_and_the_calls_that_brought_them_in(world: World) -> None:
    call = propose(world.agent, "echo", {"text": "x"}).call
    run = labelled(world.agent, "untrusted_content", "private_data", call=call.id)
    html = page(sign_in(world.auditor), path(run))
    assert "chat 7" in html
    assert html.count(f'href="/admin/calls/{call.id}/"') == 2
    assert "untrusted_content" in html
    assert "Text that somebody outside wrote" in html


def test_runs_without_a_session_have_a_page_too(world: World) -> None:
    run = labelled(world.agent, key=None)
    html = page(sign_in(world.auditor), path(run))
    assert "Runs without a session" in html
    assert "untrusted_content" in html


def test_a_session_that_read_nothing_says_so(world: World) -> None:
    run = runs.open_run(principal=principal_of(world.agent), wishes={"session_key": "new"}, now=utc_now())
    assert "Nothing that counts" in page(sign_in(world.auditor), path(run))


def test_a_full_session_says_what_that_means(world: World) -> None:
    run = labelled(world.agent)
    LabelHolder.objects.filter(pk=run.session_id).update(marks_full=True)
    assert "every argument of every call" in page(sign_in(world.auditor), path(run))


@pytest.mark.parametrize("key", ["chat", None])
def test_run_and_call_lead_to_their_session(world: World, key: str | None) -> None:
    run = labelled(world.agent, key=key)
    call = propose(world.agent, "echo", {"text": "x"}).call
    client = sign_in(world.auditor)
    assert f'href="{path(run)}"' in page(client, f"/admin/runs/{run.id}/")
    assert f'href="/admin/sessions/{world.agent.pk}/"' in page(client, f"/admin/calls/{call.id}/")


def test_an_administrator_takes_a_label_away_with_a_code_and_a_reason(world: World) -> None:
    run = labelled(world.agent)
    client = sign_in(world.admin)
    form = form_on(client, path(run), f"{path(run)}declassify/")
    assert 'name="code"' in form.html
    answer = form.send(reason=REASON, code=code_now())
    assert (answer.status_code, answer["Location"]) == (302, path(run))
    row = SessionLabel.objects.get(holder_id=run.session_id)
    assert (row.declassified_by, row.declassified_reason) == (world.admin.pk, REASON)
    html = page(client, path(run))
    assert REASON in html
    assert "declassify/" not in html


@pytest.mark.parametrize(
    ("values", "status", "sentence"),
    [
        ({"reason": "short"}, 422, "reason of 10 to 500"),
        ({"reason": REASON, "label": "private_data"}, 404, ""),
        ({"reason": REASON, "label": ""}, 404, ""),
    ],
)
def test_what_is_wrong_comes_back_open(
    world: World, values: dict[str, str], status: int, sentence: str
) -> None:
    run = labelled(world.agent)
    client = sign_in(world.admin, code_age=FRESH)
    answer = form_on(client, path(run), f"{path(run)}declassify/").send(**values)
    assert answer.status_code == status
    assert sentence in text_of(answer)
    assert SessionLabel.objects.get().declassified_at is None


def test_without_a_fresh_code_nothing_is_taken_away(world: World) -> None:
    run = labelled(world.agent)
    client = sign_in(world.admin, code_age=timedelta(minutes=6))
    answer = form_on(client, path(run), f"{path(run)}declassify/").send(reason=REASON)
    assert answer.status_code == 401
    assert SessionLabel.objects.get().declassified_at is None


@pytest.mark.parametrize("who", ["approver", "operator", "auditor", "viewer"])
def test_others_see_no_form_and_cannot_post_one(world: World, who: str) -> None:
    run = labelled(world.agent)
    client = sign_in(getattr(world, who), code_age=FRESH)
    assert f'action="{path(run)}declassify/"' not in page(client, path(run))
    post(client, f"{path(run)}declassify/", label="untrusted_content", reason=REASON)
    assert SessionLabel.objects.get().declassified_at is None


def test_a_key_of_an_agent_stays_text(world: World) -> None:
    run = labelled(world.agent, key="<script>alert(1)</script>")
    html = page(sign_in(world.auditor), path(run))
    assert "<script>alert" not in html
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize("name", ["ses_01JD0000000000000000000000", "run_01JD0000000000000000000000", "x"])
def test_what_is_no_session_is_a_calm_404(world: World, name: str) -> None:
    assert sign_in(world.admin).get(f"/admin/sessions/{name}/").status_code == 404
