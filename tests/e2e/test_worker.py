"""The row is the job: every call is run once, whoever comes, goes or dies meanwhile."""

from __future__ import annotations

import pytest

from tests.e2e.hosts import ALL_KINDS, POSTGRES_REDIS, Host
from tests.e2e.installation import Caller, Values
from tests.e2e.processes import tree_of
from tests.support_servers import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.sandbox]


def running_forever(host: Host, agent: Caller) -> Values:
    """Return a call that a worker runs in Tier C and that cannot end by itself."""
    waiting = agent.propose("demo.wc", {"path": host.make_pipe()}, wait=1)
    host.installation.as_owner().allow(waiting)
    return agent.await_state(waiting["id"], "running")


def sleeping(agent: Caller, milliseconds: int) -> Values:
    call = agent.propose("sleep", {"duration_ms": milliseconds})
    return agent.await_state(call["id"], "running")


@pytest.mark.parametrize("host", ALL_KINDS, indirect=True)
def test_one_wake_up_empties_a_queue(host: Host) -> None:
    agent = host.installation.as_agent()
    with host.installation.worker():
        assert agent.propose("demo.ls", {}, wait=30)["state"] == "succeeded"
    run = agent.open_run()
    calls = [agent.propose("echo", {"text": str(number)}, run=run) for number in range(10)]
    assert {call["state"] for call in calls} == {"queued"}
    host.forget_wake_ups()
    with host.installation.worker():
        ended = [agent.await_state(call["id"]) for call in calls]
    assert [call["result"]["output"]["text"] for call in ended] == [str(number) for number in range(10)]


def test_two_workers_run_every_call_once(host: Host) -> None:
    agent = host.installation.as_agent()
    with host.installation.worker("first", slots=2), host.installation.worker("second", slots=2):
        run = agent.open_run()
        calls = [agent.propose("echo", {"text": str(number)}, run=run) for number in range(20)]
        ended = [agent.await_state(call["id"]) for call in calls]
    assert {call["state"] for call in ended} == {"succeeded"}
    assert [host.starts(call["id"]) for call in calls] == [1] * 20


def test_a_call_is_cancelled_while_it_runs(host: Host) -> None:
    agent = host.installation.as_agent()
    with host.installation.worker() as worker:
        call = running_forever(host, agent)
        sandboxed = [process for process in tree_of(worker.pid) if "wc" in process.command.split("/")[-1]]
        agent.post(f"/tool-calls/{call['id']}/cancel", {})
        assert agent.await_state(call["id"], seconds=10)["state"] == "cancelled"
        assert not any(process.alive for process in sandboxed)
        assert host.starts(call["id"]) == 1


def test_a_killed_worker_leaves_an_outcome_that_nobody_knows_and_nobody_repeats(host: Host) -> None:
    agent = host.installation.as_agent()
    with host.installation.sweeper():
        with host.installation.worker() as worker:
            call = running_forever(host, agent)
            before = tree_of(worker.pid)
            assert len(before) > 4, "the worker, its pool process, a launcher and a sandbox"
            worker.kill()
            wait_until(lambda: not any(one.alive for one in before), what="the end of the tree", seconds=30)
        assert agent.await_state(call["id"], seconds=40)["state"] == "ambiguous"
    with host.installation.worker():
        assert agent.propose("echo", {"text": "next"}, wait=30)["state"] == "succeeded"
    assert agent.call(call["id"])["state"] == "ambiguous"
    assert host.starts(call["id"]) == 1


def test_a_worker_that_is_stopped_ends_what_runs_and_takes_nothing_more(host: Host) -> None:
    agent = host.installation.as_agent()
    with host.installation.worker() as worker:
        first = sleeping(agent, 3_000)
        second = agent.propose("echo", {"text": "later"})
        worker.terminate()
        assert worker.wait(timeout=30) == 0
    assert agent.call(first["id"])["state"] == "succeeded"
    assert agent.call(second["id"])["state"] == "queued"
    with host.installation.worker():
        assert agent.await_state(second["id"])["state"] == "succeeded"


def test_an_answer_survives_the_death_of_everybody_between_answer_and_run(host: Host) -> None:
    other = host.installation.beside()
    agent, owner = other.as_agent(), other.as_owner()
    with other.web() as web:
        with other.worker() as worker:
            waiting = agent.propose("demo.wc", {"path": "notes/ideas.txt"}, wait=2)
            worker.kill()
        owner.allow(waiting)
        web.kill()
    with other.web(), other.worker():
        assert agent.await_state(waiting["id"])["state"] == "succeeded"
        owner.allow(waiting)  # the same answer again is the same answer, not a second run
        assert agent.propose("echo", {"text": "after it"}, wait=30)["state"] == "succeeded"
    assert host.starts(waiting["id"]) == 1


@pytest.mark.parametrize("host", [POSTGRES_REDIS], indirect=True)
def test_a_database_that_drops_its_connections_does_not_lose_a_run(host: Host) -> None:
    agent = host.installation.as_agent()
    with host.installation.worker():
        call = sleeping(agent, 4_000)
        host.cut_database_connections()
        assert agent.await_state(call["id"])["state"] == "succeeded"
