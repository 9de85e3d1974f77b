"""What a call is about comes from the definition of its tool, whatever an agent writes into it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from approvals.types import SubjectType
from governance.proposals import Target
from governance.subjects import assess_call, subject_of
from policy.catalog import BUILTINS
from policy.types import ToolFacts

ROOT = Path(__file__).resolve().parents[2]
TOOLS = {tool.name: tool.facts() for tool in BUILTINS}


def call_of(tool: ToolFacts | None, given: dict[str, object] | None = None, **changes: Any) -> Target:
    """Return a call as the gates know it after the third one."""
    values = {
        "name": tool.name if tool else "unknown",
        "version": "1",
        "definition_digest": "d",
        "operation": "tool.execute",
        "risk": tool.risk if tool else "",
        "description": "",
        "capabilities": tool.capabilities if tool else frozenset(),
        "requires_approval": True,
        "input": given or {},
        "resource": None,
        "tool": tool,
    }
    return Target(**{**values, **changes})


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        ("echo", "tool"),
        ("fs.write", "tool"),
        ("process.run", "tool"),
        ("http.fetch", "tool"),
        ("http.request", "secret_access"),
        ("browser.click", "browser_action"),
    ],
)
def test_the_kind_of_a_built_in(tool: str, expected: str) -> None:
    subject = subject_of(call_of(TOOLS[tool]))
    assert (subject.type, subject.label) == (expected, f"tool:{tool}")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("channel.send", "channel_send"),
        ("message.reply", "channel_send"),
        ("node.camera", "node_capability"),
        ("device.lock", "node_capability"),
        ("mychannel.send", "tool"),
    ],
)
def test_the_kind_of_a_registered_tool(name: str, expected: str) -> None:
    assert subject_of(call_of(TOOLS["echo"], name=name)).type == expected


def test_arguments_do_not_change_what_a_call_is_about() -> None:
    given: dict[str, object] = {"subject_type": "tool", "tool": "echo", "risk": "low", "name": "echo"}
    target = call_of(TOOLS["browser.type"], given)
    assert subject_of(target).type == "browser_action"
    assert assess_call(target, None).risk == "high"


@pytest.mark.parametrize(
    ("given", "level"),
    [({"url": "https://a.example/"}, "high"), ({"url": "https://a.example/", "body": "x"}, "high")],
)
def test_a_fetch_is_at_least_what_the_catalog_rates_it(given: dict[str, object], level: str) -> None:
    assert assess_call(call_of(TOOLS["http.fetch"], given), None).risk == level


def test_a_body_is_a_reason_of_its_own() -> None:
    plain = call_of(TOOLS["http.fetch"], {"url": "https://a.example/"})
    post = call_of(TOOLS["http.fetch"], {"url": "https://a.example/", "method": "POST"})
    body = "It sends a body over the network."
    assert body not in assess_call(plain, None).reasons
    assert body in assess_call(post, None).reasons


def test_an_answer_in_the_channel_of_the_run_is_less_than_one_elsewhere() -> None:
    send = call_of(TOOLS["echo"], {"channel": "slack:C1"}, name="channel.send")
    assert assess_call(send, None, channel="slack:C1").risk == "low"
    assert assess_call(send, None, channel="slack:C2").risk == "high"
    assert assess_call(send, None).risk == "high"


def test_secrets_and_network_together_are_critical() -> None:
    assert assess_call(call_of(TOOLS["http.request"]), None).risk == "critical"


def test_a_call_of_no_definition_is_critical() -> None:
    assert assess_call(call_of(None), None).risk == "critical"


ASKED_ELSEWHERE = {
    SubjectType.POLICY_ACTIVATION: "governance/activations.py",
    SubjectType.BUDGET_OVERRIDE: "governance/allowances.py",
    SubjectType.ERASURE: "governance/erasures.py",
}
"""Questions about something else than a call, and the module that asks them."""
ASKED_LATER = frozenset({SubjectType.DEVICE_PAIRING, SubjectType.SAFETY_RELEASE})
"""Questions that approvals can carry and whose parts do not exist yet."""


def test_every_kind_of_question_is_asked_by_somebody_or_waits_for_its_part() -> None:
    names = (*TOOLS, "channel.send", "node.camera")
    of_calls = {subject_of(call_of(TOOLS.get(name, TOOLS["echo"]), name=name)).type for name in names}
    for subject, module in ASKED_ELSEWHERE.items():
        assert f"subject_type=SubjectType.{subject.name}" in (ROOT / module).read_text()
    by_skills = {SubjectType.SKILL}
    assert of_calls | by_skills | set(ASKED_ELSEWHERE) | ASKED_LATER == set(SubjectType)
    assert not (of_calls | by_skills | set(ASKED_ELSEWHERE)) & ASKED_LATER


def test_a_part_that_begins_to_ask_leaves_the_list_of_those_that_wait() -> None:
    asking = re.compile(r"subject_type=SubjectType\.(\w+)")
    found = {name for path in ROOT.glob("governance/**/*.py") for name in asking.findall(path.read_text())}
    assert found.isdisjoint(subject.name for subject in ASKED_LATER)
