"""The rules, governed from a shell by two people: one story against the real server.

The owner drafts a rule that Ada asked for; because the owner wrote it, nobody but Ada can put it in force.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.hosts import SQLITE_FOLDER, Host
from tests.e2e.installation import Values
from tests.e2e.leaks import no_secret_is_left, the_first_start_s_secrets
from tests.e2e.persons import PASSWORD, Newcomer, Person

pytestmark = [pytest.mark.e2e]

FAULTY = """@id("no_plans")
@description("Plans are not repeated.")
forbid (principal, action == Palyra::Action::"tool.execute:echo", resource)
when { context.input.text like "*plan*" &&& true };
"""
RULE = FAULTY.replace("&&& true", "&& true")
FAULT = "plans.cedar:4:43: "
TESTS = [
    {
        "name": "a plan is not repeated",
        "request": {
            "principal": {"type": "Agent", "id": "agt_one"},
            "action": "tool.execute",
            "resource": {"type": "Tool", "id": "echo"},
        },
        "context": {"input": {"text": "the plan"}},
        "entities": {"allowlist": {"tools": ["echo"]}},
        "expect": {"effect": "deny", "determining": ["no_plans"]},
    }
]
TOOL = {
    "name": "ops.count",
    "description": "Counts the lines of a file.",
    "input_schema": {
        "type": "object",
        "properties": {"path": {"type": "string", "maxLength": 200}},
        "required": ["path"],
        "additionalProperties": False,
    },
    "argv_template": ["/usr/bin/wc", "-l", "--", "{path}"],
    "capabilities": ["process_exec"],
    "risk": "medium",
}
SCOPES = ("readonly", "policy.activate", "approvals.decide")


@dataclass(frozen=True, slots=True)
class Agent:
    """The agent of the first start, who has a token and no home of their own."""

    hands: Person
    token: str

    def propose(self, *arguments: str, exits: int = 0) -> Values:
        propose = ("calls", "propose", *arguments, "--json")
        call: Values = json.loads(self.hands.run(*propose, token=self.token, exits=exits))
        return call


@pytest.mark.parametrize("host", [SQLITE_FOLDER], indirect=True)
def test_two_people_govern_the_rules_from_a_shell(host: Host, tmp_path: Path) -> None:
    product = host.installation
    (tmp_path / "owner").mkdir()
    (tmp_path / "ada").mkdir()
    owner, ada = Person(product, tmp_path / "owner"), Person(product, tmp_path / "ada")
    owner.log_in()
    newcomer = Newcomer.arriving(product)
    told = [*the_first_start_s_secrets(product), *a_second_administrator_comes_in(owner, ada, newcomer)]
    agent = Agent(ada, product.credentials["agent_token"])
    with product.worker():
        calls = [agent.propose("echo", "--new-run", f"text={text}") for text in ("hello", "the plan")]
        draft = a_rule_is_drafted_and_its_fault_is_found(owner)
        its_tests_pass_and_it_is_validated(owner, draft)
        a_simulation_finds_the_call_that_it_would_stop(owner, draft, calls[1])
        told.append(the_other_person_puts_it_in_force(owner, ada, newcomer, draft))
        the_next_such_call_is_denied_and_explained(owner, agent)
        it_is_taken_back_by_one_person(owner, agent)
        a_set_is_carried_out_and_in_again(owner)
        tools_are_registered_and_switched_off(owner, agent)
        postures_are_set_cleared_and_undone(owner, agent)
        what_a_session_has_read_is_shown(owner, agent)
    no_secret_is_left(product, (*told, PASSWORD))


def a_second_administrator_comes_in(owner: Person, ada: Person, newcomer: Newcomer) -> tuple[str, str]:
    link = owner.home / "link"
    new = ("users", "create", "--username", "ada", "--email", "ada@example.com", "--out", str(link), "--yes")
    rights = ("--role", "admin", "--workspace", "instance")
    owner.run(*new, *rights, exits=3)
    code = owner.product.manage("totp").strip()
    owner.run(*new, *rights, "--otp", "-", typed=f"{code}\n")
    newcomer.set_up(link.read_text().strip(), "ada")
    token = newcomer.personal_token(*SCOPES)
    ada.log_in(token)
    assert "policy.activate" in ada.get("whoami")["permissions"]
    return token, code


def a_rule_is_drafted_and_its_fault_is_found(owner: Person) -> str:
    draft = owner.get("policy", "draft", "--name", "No plans", "--note", "asked for by Ada", "--yes")["id"]
    rule = owner.home / "plans.cedar"
    rule.write_text(FAULTY)
    owner.run("policy", "put", draft, str(rule), "--yes")
    for what in ((str(rule),), (draft, "--yes")):
        findings = owner.run("policy", "validate", *what, exits=12).splitlines()
        assert next(line for line in findings if "warning" not in line).startswith(FAULT)
    rule.write_text(RULE)
    (owner.home / "plans.test.json").write_text(json.dumps(TESTS))
    return str(draft)


def its_tests_pass_and_it_is_validated(owner: Person, draft: str) -> None:
    rule, tests = owner.home / "plans.cedar", owner.home / "plans.test.json"
    put = owner.get("policy", "put", draft, str(rule), str(tests), "--yes")
    assert {"plans.cedar", "plans.test.json"} <= {file["name"] for file in put["files"]}
    assert "ok plans.test.json a plan is not repeated" in owner.run("policy", "test", draft)
    validated = owner.get("policy", "validate", draft, "--yes")
    assert validated["state"] == "validated"
    owner.run("policy", "put", draft, str(rule), "--yes", exits=7)
    diff = owner.get("policy", "diff", draft)
    assert ([rule["id"] for rule in diff["added"]], diff["removed"]) == (["no_plans"], [])


def a_simulation_finds_the_call_that_it_would_stop(owner: Person, draft: str, stopped: Values) -> None:
    simulation = owner.get("policy", "simulate", draft, "--wait")
    assert (simulation["number"], simulation["state"]) == (1, "succeeded")
    assert (simulation["total"], simulation["loosened"], simulation["tightened"]) == (2, 0, 1)
    (flip,) = owner.get("policy", "flips", draft)["data"]
    assert (flip["call_id"], flip["old_effect"], flip["new_effect"]) == (stopped["id"], "allow", "deny")
    assert owner.get("jobs", "list")["data"] == []


def the_other_person_puts_it_in_force(owner: Person, ada: Person, newcomer: Newcomer, draft: str) -> str:
    wish = ("policy", "activate", draft, "--reason", "agreed with Ada", "--simulation", "1")
    owner.run(*wish, "--acknowledge-loosened", "1", "--yes", exits=7)
    answer, said = owner.said(*wish, "--acknowledge-loosened", "0", "--yes", "--json")
    request = json.loads(answer)["approval"]["id"]
    assert f"palyra approvals decide {request}" in said
    decide = ("approvals", "decide", request, "--decision", "allow", "--comment", "as agreed", "--yes")
    owner.run(*decide, exits=6)
    assert owner.get("policy", "show", draft)["state"] == "validated"
    ada.run(*decide, exits=3)
    code = newcomer.code()
    ada.run(*decide, "--otp", "-", typed=f"{code}\n")
    active = owner.get("policy", "show", "active")
    assert (active["id"], active["activated_by"]) == (draft, ada.get("whoami")["id"])
    return code


def the_next_such_call_is_denied_and_explained(owner: Person, agent: Agent) -> None:
    call = agent.propose("echo", "--new-run", "text=a plan", exits=6)
    assert (call["state"], call["decision"]["reason_code"]) == ("denied", "policy.denied")
    explained = owner.get("policy", "explain", "--call", call["id"], exits=6)
    assert [rule["id"] for rule in explained["decision"]["determining_policies"]] == ["no_plans"]
    assert ["remove_forbid:no_plans"] in explained["minimal_change"]
    agent.propose("echo", "--new-run", "text=hello")


def it_is_taken_back_by_one_person(owner: Person, agent: Agent) -> None:
    back = owner.get("policy", "rollback", "--reason", "plans may be told", "--yes")
    assert (back["state"], back["approval"]) == ("active", None)
    agent.propose("echo", "--new-run", "text=a plan")


def a_set_is_carried_out_and_in_again(owner: Person) -> None:
    archive, cedar, copy = (owner.home / name for name in ("rules.zip", "rules.cedar", "copy.cedar"))
    owner.run("policy", "export", "active", "--out", str(archive))
    owner.run("policy", "export", "active", "--out", str(cedar))
    draft = owner.get("policy", "import", str(archive), "--name", "Carried", "--yes")["id"]
    owner.run("policy", "export", draft, "--out", str(copy))
    assert copy.read_bytes() == cedar.read_bytes()
    carried = owner.get("policy", "validate", draft, "--yes")
    assert carried["hash"] == owner.get("policy", "show", "active")["hash"]
    assert owner.get("policy", "shadow", "on", draft, "--yes")["enabled"] is True
    assert owner.get("policy", "shadow", "off", draft, "--yes")["enabled"] is False


def tools_are_registered_and_switched_off(owner: Person, agent: Agent) -> None:
    definition = owner.home / "count.json"
    definition.write_text(json.dumps(TOOL))
    owner.run("tools", "register", "-f", str(definition), "--yes")
    assert 'input: { "path": String }' in owner.run("policy", "schema", "--tool", "ops.count")
    propose = ("ops.count", "--new-run", "path=notes/ideas.txt")
    assert agent.propose(*propose, exits=6)["decision"]["reason_code"] == "posture.locked"
    owner.run("tools", "allowlist", "add", "tool", "ops.count", "--yes")
    assert agent.propose(*propose)["state"] == "awaiting_approval"
    owner.run("tools", "disable", "ops.count", "--reason", "odd calls", "--yes")
    assert agent.propose(*propose, exits=6)["state"] == "denied"


def postures_are_set_cleared_and_undone(owner: Person, agent: Agent) -> None:
    scope = ("--scope", "global")
    owner.run("posture", "set", "echo", "--state", "disabled", *scope, "--reason", "incident 12", "--yes")
    propose = ("echo", "--new-run", "text=hello")
    assert agent.propose(*propose, exits=6)["decision"]["reason_code"] == "posture.disabled"
    owner.run("posture", "clear", "echo", *scope, "--yes")
    agent.propose(*propose)
    (latest, *_) = owner.get("posture", "events", "--tool", "echo")["data"]
    owner.run("posture", "undo", latest["id"], "--yes")
    assert owner.get("posture", "show", "echo", *scope)["state"] == "disabled"
    owner.run("posture", "undo", latest["id"], "--yes", exits=7)
    applied = owner.get("posture", "preset", "apply", "lockdown", *scope, "--reason", "incident 12", "--yes")
    owner.run("posture", "undo", applied["undo_id"], "--yes")


def what_a_session_has_read_is_shown(owner: Person, agent: Agent) -> None:
    opened = agent.hands.run("runs", "open", "--session-key", "chat-7", "--json", token=agent.token)
    run = json.loads(opened)
    call = agent.propose("fs.read", "--run", run["id"], "path=notes/ideas.txt")
    (label,) = owner.get("labels", "show", run["session_id"])["data"]
    assert (label["label"], label["calls"]) == ("private_data", [call["id"]])
