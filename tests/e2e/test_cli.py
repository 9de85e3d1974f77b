"""The `palyra` command against the real server: propose, look, decide, look again."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.hosts import SQLITE_FOLDER, Host
from tests.e2e.installation import PATIENCE, Installation, free_bind
from tests.support_fixtures import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.sandbox]


def palyra(product: Installation, token: str, *arguments: str, exits: int = 0) -> str:
    """Run the command as its user would, with `token` from bootstrap.json; return its output."""
    done = subprocess.run(
        product.command("-m", "palyra_site.cli", *arguments),
        env=product.environment
        | {"PALYRA_URL": product.url, "PALYRA_TOKEN": token, "HOME": str(product.base)},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == exits, (done.returncode, done.stdout)
    return done.stdout


@pytest.mark.parametrize("host", [SQLITE_FOLDER], indirect=True)
def test_a_call_is_proposed_decided_and_shown(host: Host) -> None:
    product = host.installation
    agent, owner = product.credentials["agent_token"], product.credentials["owner_token"]
    with product.worker():
        run = palyra(product, agent, "runs", "open", "--quiet").strip()
        palyra(product, agent, "calls", "propose", "echo", "text=first", "--run", run, "--wait", "30")
        propose = ("calls", "propose", "demo.wc", "path=notes/ideas.txt", "--run", run)
        said = palyra(product, agent, *propose, "--wait", "2", exits=10)
        assert "awaiting_approval" in said
        listed = json.loads(palyra(product, owner, "approvals", "list", "--run", run, "--json"))
        (request,) = listed["data"]
        decide = ("approvals", "decide", request["id"], "--decision", "allow", "--scope", "once", "--yes")
        palyra(product, agent, *decide, exits=6)
        palyra(product, owner, *decide)
        (call,) = product.as_agent().get(f"/tool-calls?run={run}&tool=demo.wc")["data"]
        assert product.as_agent().await_state(call["id"])["state"] == "succeeded"
        shown = json.loads(palyra(product, owner, "calls", "show", call["id"], "--json"))
        assert (shown["state"], shown["execution"]["exit_code"]) == ("succeeded", 0)
        palyra(product, owner, *decide, exits=7)


@pytest.mark.parametrize("host", [SQLITE_FOLDER], indirect=True)
def test_an_allow_for_the_session_is_a_grant_that_the_next_call_uses(host: Host) -> None:
    product = host.installation
    agent, owner = product.credentials["agent_token"], product.credentials["owner_token"]
    with product.worker():
        run = palyra(product, agent, "runs", "open", "--quiet").strip()
        propose = ("calls", "propose", "demo.wc", "--run", run)
        palyra(product, agent, *propose, "path=notes/ideas.txt", "--wait", "1", exits=10)
        waiting = palyra(product, owner, "approvals", "list", "--run", run, "--mine", "-q").strip()
        decide = ("approvals", "decide", waiting, "--decision", "allow", "--scope", "session", "--yes")
        palyra(product, owner, *decide, "--pattern", "2")
        (call,) = product.as_agent().get(f"/tool-calls?run={run}")["data"]
        assert product.as_agent().await_state(call["id"])["state"] == "succeeded"
        listed = json.loads(palyra(product, owner, "grants", "list", "--tool", "demo.wc", "--json"))
        (grant,) = [one for one in listed["data"] if one["run_id"] == run]
        assert (grant["scope"], grant["run_id"], grant["uses"]) == ("session", run, 1)
        assert grant["pattern"]["constraints"][0]["value"] == "notes"
        palyra(product, agent, *propose, "path=notes/ideas.txt", "--wait", "30")
        said = palyra(product, owner, *decide, exits=7)
        assert f"{waiting} is allowed since" in said
    exported = palyra(product, owner, "approvals", "export", "--run", run).splitlines()
    assert json.loads(next(line for line in exported if waiting in line))["id"] == waiting


def test_flags_that_do_not_fit_together_send_nothing(base: Path) -> None:
    """A request to where nobody listens would be exit 4."""
    nowhere = Installation(base, free_bind())
    decide = ("approvals", "decide", "apr_01JD2Q8ZV0C3M4N5P6R7S8T9VW", "--decision", "allow", "--yes")
    for wrong in (
        ("--scope", "temporary"),
        ("--scope", "once", "--ttl-ms", "60000"),
        ("--scope", "once", "--pattern", "1"),
    ):
        palyra(nowhere, "", *decide, *wrong, exits=2)
    palyra(nowhere, "", *decide, exits=4)
