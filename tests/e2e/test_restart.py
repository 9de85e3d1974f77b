"""What waits, waits in rows: processes die at the worst moments, and every call still runs once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.e2e.hosts import Host
from tests.e2e.installation import PATIENCE, Caller, Installation, Values
from tests.e2e.processes import tree_of
from tests.support_fixtures import ROOT
from tests.support_servers import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.sandbox]
CALLS = 20


def files_of(host: Host) -> list[str]:
    """Make files in the agent's workspace, so that each call asks about another one."""
    notes = host.installation.base / "workspaces" / "demo" / "notes"
    for number in range(CALLS):
        (notes / f"{number}.txt").write_text("word\n" * number)
    return [f"notes/{number}.txt" for number in range(CALLS)]


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a service and all it started, without a word."""
    for one in tree_of(process.pid):
        with suppress(ProcessLookupError):  # it went with its parent
            os.kill(one.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def following(product: Installation, run: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Follow a run with the command line, across whatever happens to the server."""
    command = [product.python, "-m", "palyra_site.cli", "runs", "events", run, "--follow", "--json"]
    environment = product.environment | {
        "PALYRA_URL": product.url,
        "PALYRA_TOKEN": product.credentials["agent_token"],
        "HOME": str(product.base),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def lines_of(agent: Caller, run: str) -> list[Values]:
    answer = agent._client.get(f"/runs/{run}/events", headers={"Accept": "application/x-ndjson"})
    return [json.loads(line) for line in answer.text.splitlines()]


def test_twenty_calls_wait_through_the_death_of_everything_and_run_once_each(host: Host) -> None:
    product = host.installation.beside()
    agent, owner = product.as_agent(), product.as_owner()
    log = product.base / f"followed-{product.bind.rpartition(':')[2]}.ndjson"
    with ExitStack() as stack:
        with product.web() as web, product.worker(slots=2) as worker:
            runs = [agent.open_run(), agent.open_run()]
            calls = [
                agent.propose("demo.wc", {"path": path}, run=runs[number % 2])
                for number, path in enumerate(files_of(host))
            ]
            assert {call["state"] for call in calls} == {"awaiting_approval"}
            follower = stack.enter_context(following(product, runs[0], log))
            kill(worker)
            for call in calls:
                owner.allow(call)
            wait_until(lambda: log.stat().st_size > 0, what="the story of the run")
            kill(web)
        if host.database_url:
            host.cut_database_connections()
        host.forget_wake_ups()
        assert [host.starts(call["id"]) for call in calls] == [0] * CALLS
        with product.web(), product.worker(slots=2), product.sweeper():
            ended = [agent.await_state(call["id"]) for call in calls]
            assert {call["state"] for call in ended} == {"succeeded"}
            for run in runs:
                agent.post(f"/runs/{run}/complete", {})
            told = follower.communicate(timeout=PATIENCE)[1].decode()
            whole = lines_of(agent, runs[0])
    assert [host.starts(call["id"]) for call in calls] == [1] * CALLS
    assert follower.returncode == 0, told
    assert "-- reconnected --" in told
    assert [json.loads(line) for line in log.read_text().splitlines()] == whole
    assert [event["event_seq"] for event in whole] == list(range(1, len(whole) + 1))
