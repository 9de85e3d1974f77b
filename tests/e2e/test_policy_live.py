"""Rules that change are in force for every process with its next decision, forward and back.

One story on each pair of database and broker: two web processes and a worker that all know the old rules.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.e2e.hosts import Host
from tests.e2e.installation import PATIENCE, Caller, Installation, Values
from tests.e2e.processes import tree_of

pytestmark = pytest.mark.e2e
CALLS = 200
FEWER = 60
"""How many are made on PostgreSQL, where each request opens a connection."""
PER_RUN = 25
HOSTS = ("good.example", "fine.example", "bad.example", "plain.example")
TOOL = {
    "name": "net.say",
    "description": "Says an address.",
    "input_schema": {
        "type": "object",
        "properties": {"url": {"type": "string", "format": "uri", "maxLength": 200}},
        "required": ["url"],
        "additionalProperties": False,
    },
    "argv_template": ["/bin/echo", "{url}"],
    "capabilities": ["process_exec"],
    "risk": "medium",
}
RULE = """
@id("no_bad_host")
@description("Nothing is said to that host.")
forbid (principal, action == Palyra::Action::"tool.execute:net.say", resource)
when { context has input && context.input has url_host && context.input.url_host == "bad.example" };
"""


class Admin:
    """The owner over HTTP, with what a governed edit needs: a fresh code, and the version that was read."""

    def __init__(self, installation: Installation) -> None:
        self._client = httpx.Client(
            base_url=f"{installation.url}/api/v1",
            headers={"Authorization": f"Bearer {installation.credentials['owner_token']}"},
            timeout=PATIENCE,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )
        self.send("POST", "/auth/step-up", {"otp": installation.manage("totp").strip()}, status=204)

    def send(self, method: str, path: str, body: Any = None, *, status: int = 200, etag: str = "") -> Any:
        headers = {"If-Match": etag} if etag else {}
        answer = self._client.request(method, path, json=body, headers=headers)
        assert answer.status_code == status, (method, path, answer.text)
        return answer.json() if answer.content else None

    def etag(self, path: str) -> str:
        return str(self._client.get(path).headers["ETag"])

    def edit(self, method: str, of: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        """Send a change of the object at `of` against the version it has now."""
        return self.send(method, path, body, status=status, etag=self.etag(of))


def url_of(number: int) -> str:
    return f"https://{HOSTS[number % len(HOSTS)]}/page/{number}"


def test_rules_are_tried_activated_and_taken_back_under_running_processes(host: Host) -> None:
    first, second = host.installation, host.installation.beside()
    host.set_agent_rate(10_000)
    with second.web(), host.installation.worker() as worker:
        admin, agents = Admin(first), (first.as_agent(), second.as_agent())
        a_tool_is_registered_and_always_allowed(admin)
        with stopped(worker.pid):
            said = calls_are_decided(agents, FEWER if host.database_url else CALLS)
        assert agents[0].await_state(said[-1]["id"])["state"] == "succeeded"
        draft = a_draft_forbids_one_host(admin)
        simulation = the_simulation_lists_exactly_the_calls_to_it(admin, draft, said)
        with stopped(worker.pid):
            waiting = say(agents[1], 2)
            assert waiting["state"] == "queued"
            activate(admin, draft, simulation)
            for agent in agents:
                assert denied_by(say(agent, 2)) == ["no_bad_host"]
                assert say(agent, 1)["decision"]["effect"] == "allow"
        refused = agents[0].await_state(waiting["id"])
        assert (refused["state"], refused["error"]["detail"]["code"]) == ("refused", "policy.changed")
        roll_back(admin)
        for agent in agents:
            assert agent.await_state(say(agent, 2)["id"])["state"] == "succeeded"


def a_tool_is_registered_and_always_allowed(admin: Admin) -> None:
    admin.send("POST", "/tools", TOOL, status=201)
    admin.send("POST", "/allowlist", {"kind": "tool", "value": "net.say"}, status=201)
    here = admin.send("GET", "/whoami")["workspace_id"]
    override = {"scope_kind": "workspace", "scope_id": here, "state": "always_allow", "reason": "says only"}
    admin.send("PUT", "/posture/net.say", override)


def say(agent: Caller, number: int, *, run: str | None = None) -> Values:
    return agent.propose("net.say", {"url": url_of(number)}, run=run)


def denied_by(call: Values) -> list[str]:
    assert call["state"] == "denied", call
    return [rule["id"] for rule in call["decision"]["determining_policies"]]


def calls_are_decided(agents: tuple[Caller, Caller], how_many: int) -> list[Values]:
    said: list[Values] = []
    runs: list[str] = []
    for number in range(how_many):
        if number % PER_RUN == 0:
            runs = [agent.open_run() for agent in agents]
        said.append(say(agents[number % 2], number, run=runs[number % 2]))
    assert Counter(call["state"] for call in said) == {"queued": how_many}
    return said


def a_draft_forbids_one_host(admin: Admin) -> str:
    draft = admin.send("POST", "/policy-sets", {"name": "One host less", "from": "active"}, status=201)
    path = f"/policy-sets/{draft['id']}"
    admin.edit("PUT", path, f"{path}/files/hosts.cedar", {"text": RULE})
    assert admin.edit("POST", path, f"{path}/validate")["state"] == "validated"
    return path


def the_simulation_lists_exactly_the_calls_to_it(admin: Admin, draft: str, said: list[Values]) -> Values:
    simulation: Values = admin.send("POST", f"{draft}/simulate", {"n": 1000})
    assert (simulation["state"], simulation["loosened"], simulation["tightened"]) == (
        "succeeded",
        0,
        len(said) // len(HOSTS),
    )
    flips = admin.send("GET", f"{draft}/simulations/{simulation['number']}/flips?limit=200")["data"]
    bad = {call["id"] for number, call in enumerate(said) if number % len(HOSTS) == 2}
    assert {flip["call_id"] for flip in flips} == bad
    assert {(flip["old_effect"], flip["new_effect"]) for flip in flips} == {("allow", "deny")}
    return simulation


def activate(admin: Admin, draft: str, simulation: Values) -> None:
    wish = {
        "reason": "The host is not to be trusted.",
        "simulation": simulation["number"],
        "acknowledged_loosened": 0,
    }
    assert admin.edit("POST", draft, f"{draft}/activate", wish)["policy_set"]["state"] == "active"


def roll_back(admin: Admin) -> None:
    sets = admin.send("GET", "/policy-sets")["data"]
    before = next(one for one in sets if one["state"] == "superseded")
    path = f"/policy-sets/{before['id']}"
    body = {"reason": "The host is to be trusted again."}
    restored = admin.edit("POST", path, f"{path}/rollback", body)["policy_set"]
    assert (restored["state"], restored["hash"]) == ("active", before["hash"])


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Keep a process and all it started from doing anything; they know nothing of the time between."""
    tree = tree_of(pid)
    for process in tree:
        os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in tree:
            os.kill(process.pid, signal.SIGCONT)
