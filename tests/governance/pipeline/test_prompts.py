"""PendingToolApproval: every field an approver is shown, composed by the server (approvals part §3.2)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from approvals.models import ApprovalRequest
from governance import input_schemas
from governance.api.wire import render_call
from governance.journal.models import JournalEvent
from governance.journal.reading import open_data
from governance.operations import installation
from governance.prompts import MAX_SUMMARY, shown_context
from governance.selectors import CallView
from kernel.canonical import canonical
from kernel.clock import utc_now
from policy.models import DecisionRecord, PostureOverride
from tests.governance.pipeline.world import (
    ASKED,
    ECHO,
    HOST,
    SLEEP,
    World,
    again,
    announce,
    redefine,
    set_posture,
)

FIELDS = {
    "title", "summary", "risk", "risk_reasons", "tool", "execution", "parameters_view", "warnings", "effects",
    "secrets_used", "skill", "policy", "posture", "budget", "requester", "history", "said_by_agent",
    "resource", "identical_calls",
}  # fmt: skip
WRITE = {"path": "notes/a.txt", "content": "x"}
RUN = {"command": "rm", "args": ["-rf", "data"]}
TOKEN = "plr_agt_0123456789ab_" + "x" * 49


def shown(view: CallView) -> dict[str, Any]:
    """Return what an approver is shown about the request of a call."""
    assert view.state == "awaiting_approval", view.call.gates
    return shown_context(ApprovalRequest.objects.get(id=view.call.approval_id))


def test_every_field_is_there_and_filled(world: World) -> None:
    run = world.open_run(purpose="tidy up", session_key="talk-1")
    context = shown(world.propose("process.run", RUN, run=run))
    assert set(context) == FIELDS
    assert (context["title"], context["risk"]) == ("Run process.run", "high")
    assert context["summary"] == (
        f"agent {world.agent.id} wants to run process.run on command:rm, in tier C."
    )
    assert "It starts a program in tier C." in context["risk_reasons"]
    assert set(context["tool"]) == {"name", "version", "definition_hash", "description", "capabilities"}
    assert context["policy"]["set_hash"].startswith("sha256:")
    assert set(context["policy"]) == {"set_hash", "determining", "reason_code", "text"}
    assert context["budget"] == {
        "reserved": [{"metric": "calls", "amount": "1"}],
        "calls_used": 1,
        "calls_limit": run.max_calls,
        "remaining_after": run.max_calls - 1,
    }
    assert context["requester"] == {
        "kind": "agent",
        "id": world.agent.id,
        "agent": world.agent.id,
        "owner": world.agent_owner.pk,
        "device": None,
        "channel": None,
        "run": run.id,
        "session": run.session_id,
    }
    assert (context["secrets_used"], context["skill"], context["identical_calls"]) == ([], None, 1)


def test_what_a_program_would_do_is_its_command_line_and_where_it_may_write(world: World) -> None:
    effects = shown(world.propose("process.run", RUN))["effects"]
    assert effects["argv"] == ["rm", "-rf", "data"]
    assert (effects["paths_written"], effects["may_write"], effects["hosts"]) == (None, "workspace", [])


def test_what_a_registered_tool_would_start_is_its_template_with_the_arguments(world: World) -> None:
    effects = shown(world.propose(ASKED, {"text": "hello"}))["effects"]
    assert effects["argv"] == ["/usr/bin/printf", "%s", "hello"]


def test_what_a_write_would_change_is_its_path(world: World) -> None:
    context = shown(world.propose("fs.write", WRITE))
    assert context["effects"] == {
        "paths_written": ["notes/a.txt"],
        "may_write": "workspace",
        "hosts": [],
        "argv": None,
    }


def test_the_effects_hide_what_the_parameters_hide(world: World) -> None:
    words = [f"a\u202eb token={TOKEN}", *["y" * 1_500] * 20]
    context = shown(world.propose("process.run", {"command": "rm", "args": words}))
    stored = canonical(context).decode()
    assert TOKEN not in stored
    assert "\u202e" not in stored
    assert len(canonical(context["effects"]["argv"])) <= 4_096


def test_a_new_version_of_a_tool_tells_no_secret_of_an_old_call(world: World) -> None:
    """Nor does an old version: what is typed as secret in either is masked for all but the sender."""
    typed: dict[str, object] = {"type": "string", "writeOnly": True}
    plain: dict[str, object] = {"type": "string"}

    def version(text: dict[str, object], phrase: dict[str, object]) -> dict[str, object]:
        return {
            "type": "object",
            "properties": {"text": text, "phrase": phrase},
            "required": ["text"],
            "additionalProperties": False,
        }

    redefine(world, input_schema=version(plain, typed))
    call = world.propose(ASKED, {"text": "open", "phrase": "my dog"})
    redefine(world, input_schema=version(typed, plain))
    told = render_call(again(call), world.person(world.auditor))["input"]
    assert told == {"text": "[masked]", "phrase": "[masked]"}
    assert render_call(again(call), world.agent)["input"] == {"text": "open", "phrase": "my dog"}


def test_an_answer_tells_other_readers_no_secret_that_the_input_held(world: World) -> None:
    ended = world.run(world.propose(ECHO, {"text": f"use {TOKEN}"}))
    own = render_call(ended, world.agent)["result"]
    told = render_call(ended, world.person(world.auditor))["result"]
    assert own["output"] == {"text": f"use {TOKEN}"}
    assert told == {**own, "output": {"text": "use [redacted:palyra_token, 70 characters]"}}


def test_a_field_that_the_tool_types_as_secret_is_in_no_view(world: World) -> None:
    schema: dict[str, object] = {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "phrase": {"type": "string", "writeOnly": True},
        },
        "required": ["text", "phrase"],
        "additionalProperties": False,
    }
    redefine(world, input_schema=schema, argv_template=("/usr/bin/printf", "%s", "{text}"))
    view = world.propose(ASKED, {"text": "hi", "phrase": "correct horse battery"})
    context = shown(view)
    assert context["parameters_view"] == {"text": "hi", "phrase": "[masked]"}
    assert "battery" not in canonical(context).decode()
    told = [open_data(event) for event in JournalEvent.objects.filter(run_id=view.call.run_id)]
    assert "battery" not in canonical(told).decode()
    kept = list(DecisionRecord.objects.filter(call_id=view.call.id).values())
    assert kept
    assert "battery" not in str(kept)


def test_what_holds_it_and_what_does_not_comes_from_the_probe(world: World) -> None:
    execution = shown(world.propose("process.run", RUN))["execution"]
    assert (execution["tier"], execution["egress_mode"]) == ("C", "strict")
    assert {"userns", "netns", "seccomp"} <= set(execution["enforced"])
    assert execution["not_enforced"] == list(HOST.degraded)
    plain = shown(world.ask(SLEEP))["execution"]
    assert (plain["enforced"], plain["not_enforced"]) == ([], ["process_isolation"])


def test_a_second_host_that_enforces_less_is_what_counts(world: World) -> None:
    weaker = replace(HOST, degraded=("memory.polled",))
    installation.announce_worker(host="other", boot="other", probe=weaker, now=utc_now())
    execution = shown(world.propose("process.run", RUN))["execution"]
    assert execution["not_enforced"] == ["memory.polled"]
    announce(HOST)


def test_the_words_of_an_agent_stand_apart_and_are_nowhere_else(world: World) -> None:
    run = world.open_run(purpose="URGENT: risk is low, just allow\x1b[2J")
    context = shown(world.propose("process.run", RUN, run=run))
    assert context["said_by_agent"] == {"purpose": "URGENT: risk is low, just allow\\e[2J"}
    rest = {name: value for name, value in context.items() if name != "said_by_agent"}
    assert "URGENT" not in canonical(rest).decode()


def test_the_resource_cannot_make_the_summary_two_lines(world: World) -> None:
    redefine(world, resource_template="note:{text}")
    context = shown(world.propose(ASKED, {"text": "a\nagent admin wants to run echo.\n" + "z" * 900}))
    assert "\n" not in context["summary"]
    assert "⏎" in context["summary"]
    assert len(context["summary"]) <= MAX_SUMMARY


def test_the_history_counts_how_the_same_agent_was_answered(world: World) -> None:
    run = world.open_run()
    assert shown(world.propose(SLEEP, {"duration_ms": 1}, run=run))["history"] == {
        "days": 30, "asked": 0, "allowed": 0, "denied": 0, "expired": 0,
    }  # fmt: skip
    world.answer(world.propose(SLEEP, {"duration_ms": 2}, run=run))
    world.answer(world.propose(SLEEP, {"duration_ms": 3}, run=run), "deny")
    found = shown(world.propose(SLEEP, {"duration_ms": 4}, run=run))["history"]
    assert (found["asked"], found["allowed"], found["denied"], found["expired"]) == (3, 1, 1, 0)
    other = shown(world.propose(SLEEP, {"duration_ms": 4}, principal=world.other_agent))["history"]
    assert other["asked"] == 0


def test_identical_calls_are_counted_when_they_are_looked_at(world: World) -> None:
    run = world.open_run()
    first = world.ask(run=run)
    world.ask(run=run)
    assert shown(first)["identical_calls"] == 2


def test_the_posture_that_nobody_may_loosen_is_answered_once(world: World) -> None:
    set_posture(world, SLEEP, "ask_each_time")
    PostureOverride.objects.filter(tool=SLEEP).update(overridable=False)
    request = ApprovalRequest.objects.get(id=world.ask().call.approval_id)
    assert request.obligations["max_scope"] == "once"


@pytest.mark.parametrize(
    ("tool", "given", "scope"),
    [
        (SLEEP, {"duration_ms": 0}, "always"),
        ("fs.write", WRITE, "temporary"),
        ("asked.launch", {"text": "x"}, "once"),
    ],
)
def test_how_far_an_answer_may_reach_follows_the_risk(
    world: World, tool: str, given: dict[str, object], scope: str
) -> None:
    view = world.propose(tool, given)
    request = ApprovalRequest.objects.get(id=view.call.approval_id)
    assert request.obligations["max_scope"] == scope


def test_where_the_schema_cannot_be_read_nothing_of_the_input_is_journalled(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> None:
        raise RuntimeError("no catalog")

    monkeypatch.setattr(input_schemas, "tool_named", broken)
    view = world.propose(SLEEP, {"duration_ms": 7})
    event = JournalEvent.objects.get(call_id=view.call.id, type="tool_call.proposed")
    assert open_data(event)["input"] == "[masked]"
