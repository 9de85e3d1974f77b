"""The `palyra` command against the real server: propose, look, decide, look again."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.e2e.hosts import SQLITE_FOLDER, Host
from tests.e2e.installation import PATIENCE, Installation
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
