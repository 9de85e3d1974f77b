"""Simulations and shadows through their pages."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from governance.admin import policy_trials
from governance.operations import simulations as operations
from identity.models import Workspace
from identity.roles import WorkspaceRole
from kernel.clock import utc_now
from policy.models import DecisionRecord, PolicySet, ShadowResult, SimulationFlip, SimulationRun
from policy.set_selectors import require_set
from tests.cast import enrol, make_user
from tests.governance.admin.posting import FRESH, form_on, page, text_of
from tests.governance.admin.world import World, propose, sign_in, write_file
from tests.policy.lifecycles import draft as draft_set, person, put, simulated, validate

LIST = "/admin/policy/"
OTHER = """@id("no_echo")
forbid (principal, action == Palyra::Action::"tool.execute:echo", resource);
"""


@pytest.fixture
def owner(world: World) -> Client:
    return sign_in(world.owner, code_age=FRESH)


@pytest.fixture
def decided(world: World) -> None:
    """Two calls allowed and one asked for."""
    for text in ("one", "two"):
        propose(world.agent, "echo", {"text": text})
    write_file(world.agent)


@pytest.fixture
def rules(world: World, decided: None) -> PolicySet:
    """A validated set that forbids the echo and asks nobody about sensitive calls."""
    author = person(world.owner)
    row = draft_set(author)
    baseline = row.files.get(name="baseline.cedar").text
    loose = re.sub(r'@id\("deny_sensitive_without_approval"\).*?\};\n', "", baseline, flags=re.DOTALL)
    put(row, author, loose, name="baseline.cedar")
    put(row, author, OTHER)
    return validate(row, author)


def of(row: PolicySet) -> str:
    return f"{LIST}{row.pk}/"


def simulate(client: Client, row: PolicySet, **values: str) -> Any:
    return form_on(client, of(row), f"{of(row)}simulate/").send(**({"n": "1000"} | values))


def body_of(html: str) -> str:
    """Return the table of decisions that change."""
    return html.partition("Decisions that change")[2]


def test_a_simulation_lists_what_changes_loosest_first(world: World, owner: Client, rules: PolicySet) -> None:
    answer = simulate(owner, rules)
    assert answer["Location"] == f"{of(rules)}simulations/1/"
    html = page(owner, answer["Location"])
    run = SimulationRun.objects.get(policy_set=rules)
    assert (run.loosened, run.tightened) == (1, 2)
    table = body_of(html)
    assert table.index("fs.write") < table.index("echo")
    assert '<span class="chip bad">' in table.partition("echo")[0]
    assert "no_echo" in table
    assert "deny_sensitive_without_approval" in table
    call = SimulationFlip.objects.filter(run=run, direction="loosened").get().call_id
    assert f'href="/admin/calls/{call}/"' in table
    assert f'href="/admin/policy/explain/?call={call}"' in table
    assert "3 of 3 kept" in html
    cells = re.findall(r'data-label="(Allowed|Asked|Denied)" class="num"><span>(?:<b[^>]*>)?(\d+)', html)
    assert len(cells) == 9
    assert sum(int(count) for _, count in cells) == run.total


def test_the_filters_and_the_bounds_of_a_simulation(world: World, owner: Client, rules: PolicySet) -> None:
    simulate(owner, rules, tool="echo")
    assert SimulationRun.objects.latest("pk").total == 2
    for values, said in (
        ({"n": "0"}, "Replay 1 to"),
        ({"n": "50001"}, "Replay 1 to"),
        ({"n": "many"}, "not a whole number"),
        ({"days": "9999"}, "At most 365 days"),
    ):
        answer = simulate(owner, rules, agent="agt_kept", **values)
        assert (answer.status_code, said in text_of(answer)) == (422, True), values
        assert 'value="agt_kept"' in text_of(answer)
    assert SimulationRun.objects.count() == 1


def test_the_list_goes_on_after_a_key_and_never_twice(
    world: World, owner: Client, rules: PolicySet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_trials, "FLIPS_SHOWN", 1)
    path = simulate(owner, rules)["Location"]
    seen, here = [], path
    for _ in range(5):
        html = page(owner, here)
        seen += re.findall(r"explain/\?call=(call_\w+)", body_of(html))
        more = re.search(r'href="(\?after=[\d.]+)"', html)
        if more is None:
            break
        here = path + more[1]
    flips = SimulationFlip.objects.filter(run__policy_set=rules)
    assert len(seen) == 3
    assert set(seen) == set(flips.values_list("call_id", flat=True))
    assert seen[0] == flips.get(direction="loosened").call_id
    assert "Back to the first" in page(owner, here)
    for odd in ("?after=9.1", "?after=x", "?after=0.", "?after=0." + "9" * 40):
        assert page(owner, path + odd) is not None


def test_the_same_as_a_table_for_a_spreadsheet(world: World, owner: Client, rules: PolicySet) -> None:
    path = simulate(owner, rules)["Location"]
    SimulationFlip.objects.filter(direction="loosened").update(resource_id="=cmd|calc")
    answer = owner.get(f"{path}csv/")
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(text_of(answer))))
    assert [row["direction"] for row in rows] == ["loosened", "tightened", "tightened"]
    assert rows[0]["resource_id"] == "'=cmd|calc"


def test_calls_of_another_workspace_stay_unseen(world: World, owner: Client, rules: PolicySet) -> None:
    path = simulate(owner, rules)["Location"]
    SimulationFlip.objects.filter(direction="loosened").update(workspace_id="wsp_elsewhere")
    auditor = sign_in(world.auditor)
    for html in (page(auditor, path), page(auditor, f"{path}csv/")):
        assert "fs.write" not in html
        assert "echo" in html
    assert "fs.write" in page(owner, path)


def test_who_simulates_in_one_workspace_replays_that_one(world: World, rules: PolicySet) -> None:
    elsewhere = DecisionRecord.objects.filter(resource_id="fs.write")
    elsewhere.update(workspace_id="wsp_elsewhere")
    simulate(sign_in(world.operator, code_age=FRESH), rules)
    assert SimulationRun.objects.latest("pk").total == 2


def test_a_large_simulation_is_a_job_with_a_bar_that_looks_again(
    world: World, owner: Client, rules: PolicySet
) -> None:
    path = simulate(owner, rules, n="2001")["Location"]
    html = page(owner, path)
    assert "Waiting for a worker" in html
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in html
    SimulationRun.objects.update(state="running", total=2001, done=500)
    html = page(owner, path)
    assert '<progress max="2001" value="500">' in html
    assert 'data-live="running 500"' in html
    SimulationRun.objects.update(state="failed", error_code="job.worker_lost")
    html = page(owner, path)
    assert "It did not finish" in html
    assert "job.worker_lost" in html
    assert "refresh" not in html.partition("<body>")[0]
    assert f"{path}csv/" not in html


@pytest.mark.parametrize("number", ["0", "2", "x", "1" * 12, "-1", "٣"])
def test_a_simulation_that_is_not_there_is_a_404(owner: Client, rules: PolicySet, number: str) -> None:
    simulated(rules)
    assert owner.get(f"{of(rules)}simulations/{number}/").status_code == 404
    assert owner.get(f"{of(rules)}simulations/{number}/csv/").status_code == 404


def test_nothing_changes_is_said(world: World, owner: Client, decided: None) -> None:
    row = draft_set(person(world.owner))
    assert "Nothing changes" in page(owner, simulate(owner, row)["Location"])


def test_a_validated_set_is_watched_in_shadow_and_taken_out(owner: Client, rules: PolicySet) -> None:
    change = f"{of(rules)}shadow/change/"
    assert form_on(owner, of(rules), change).send().status_code == 302
    assert require_set(rules.pk).shadow_since is not None
    assert "In shadow" in page(owner, of(rules))
    assert "shadow" in page(owner, LIST)
    assert form_on(owner, of(rules), change).send().status_code == 302
    assert require_set(rules.pk).shadow_since is None


def test_what_no_shadow_can_be_is_refused(world: World, owner: Client, rules: PolicySet) -> None:
    change = f"{of(rules)}shadow/change/"
    form = form_on(owner, of(rules), change)
    answer = owner.post(change, {"intent": "ab" * 16, "to": "odd"})
    assert (answer.status_code, "Choose on or off" in text_of(answer)) == (422, True)
    PolicySet.objects.filter(pk=rules.pk).update(state="superseded")
    answer = form.send()
    assert answer.status_code == 409
    assert "Only a validated set" in text_of(answer)


def test_the_shadow_is_drawn_and_its_examples_lead_to_calls(
    world: World, owner: Client, rules: PolicySet
) -> None:
    form_on(owner, of(rules), f"{of(rules)}shadow/change/").send()
    since = utc_now() - timedelta(hours=1)
    PolicySet.objects.filter(pk=rules.pk).update(shadow_since=since)
    DecisionRecord.objects.update(decided_at=utc_now() - timedelta(minutes=5))
    for record in DecisionRecord.objects.all():
        hour = record.decided_at.replace(minute=0, second=0, microsecond=0)
        new = {"echo": "deny", "fs.write": "allow"}[record.resource_id]
        row, _ = ShadowResult.objects.get_or_create(
            policy_set=rules, hour=hour, old_effect=record.effect, new_effect=new
        )
        ShadowResult.objects.filter(pk=row.pk).update(
            count=row.count + 1, examples=[*row.examples, record.pk]
        )
    html = page(owner, f"{of(rules)}shadow/")
    assert "<svg" in html
    assert "<title" in html
    assert "3 answers would have been others in 24 hours" in html
    table = html.partition("<caption>Answers per hour, UTC</caption>")[2].partition("</table>")[0]
    counts = [[int(one) for one in re.findall(r"<td>(\d+)</td>", line)] for line in table.split("<tr>")[2:]]
    assert len(counts) == 24
    assert [sum(column) for column in zip(*counts, strict=True)] == [0, 2, 1]
    differs = html.partition("Where it differs")[2]
    assert differs.index("fs.write") < differs.index("echo")
    for call in DecisionRecord.objects.values_list("call_id", flat=True):
        assert f"/admin/calls/{call}/" in differs
    DecisionRecord.objects.filter(resource_id="fs.write").update(workspace_id="wsp_elsewhere")
    assert "fs.write" not in page(sign_in(world.auditor), f"{of(rules)}shadow/")


def test_a_shadow_that_fails_says_so(owner: Client, rules: PolicySet) -> None:
    hour = utc_now().replace(minute=0, second=0, microsecond=0)
    ShadowResult.objects.create(
        policy_set=rules,
        hour=hour,
        old_effect="allow",
        new_effect="deny",
        count=3,
        errors=2,
        examples=["evt_x"],
    )
    html = page(owner, f"{of(rules)}shadow/")
    assert "2 of its answers were errors" in html
    assert "No difference yet" in page(owner, f"{of(draft_set(person(owner_of(rules))))}shadow/")


def owner_of(row: PolicySet) -> Any:
    return row.authors.get()


def test_a_shadow_with_nothing_to_tell(world: World, owner: Client, rules: PolicySet) -> None:
    assert "No difference yet" in page(owner, f"{of(rules)}shadow/")
    other = make_user("editor", WorkspaceRole.ADMIN, workspace=Workspace.objects.get(slug="instance"))
    enrol(other)
    assert operations.watch_shadows(utc_now()) == 0
