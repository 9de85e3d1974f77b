"""Hosts that differ: an ordinary user, no bubblewrap, a broker that goes away."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from tests.e2e.hosts import founded
from tests.e2e.installation import Installation, free_bind, starting
from tests.e2e.processes import naming, tree_of
from tests.support_servers import free_port, running

pytestmark = [pytest.mark.e2e, pytest.mark.sandbox]

NOBODY = 65_534
LAST_LINE = "/tool-calls?wait=20"
TOOLS_OF_BUBBLEWRAP: tuple[tuple[str, dict[str, str]], ...] = (
    ("demo.ls", {}),
    ("demo.wc", {"path": "notes/ideas.txt"}),
    ("local.echo", {"text": "a skill's child is confined by bubblewrap too"}),
)


def ordinary_user(installation: Installation) -> Installation:
    """Return the installation as it runs under an ordinary user; skip where that cannot be tried."""
    if os.geteuid() != 0:
        return installation
    os.chown(installation.base, NOBODY, NOBODY)
    program = shutil.which("setpriv")
    if program is None:
        pytest.skip("setpriv is not installed")
    prefix = (program, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs")
    python, library = readable_python()
    settings = {"HOME": str(installation.base), "PYTHONPATH": library, "PYTHONDONTWRITEBYTECODE": "1"}
    settings |= {"PALYRA_WORKSPACES_DIR": "", "PALYRA_SANDBOX_DIR": ""}
    return replace(installation, prefix=prefix, python=python, settings=settings)


def readable_python() -> tuple[str, str]:
    """Return a Python that anybody may run and the directory of our packages."""
    library = next(entry for entry in sys.path if entry.endswith("site-packages"))
    closed = [part for part in Path(sys.executable).resolve().parents if not part.stat().st_mode & 0o001]
    system = f"/usr/bin/python3.{sys.version_info.minor}"
    if not closed:
        return sys.executable, library
    if not os.access(system, os.X_OK):
        pytest.skip(f"{sys.executable} is closed to other users and {system} is missing")
    return system, library


def test_an_ordinary_user_needs_no_privilege(installation: Installation) -> None:
    user = ordinary_user(installation)
    with starting(user) as session:
        session.await_text(LAST_LINE)
        before = tree_of(session.process.pid)
        assert {Path(f"/proc/{process.pid}").stat().st_uid for process in before} <= {NOBODY, os.geteuid()}
        agent = user.as_agent()
        call = agent.propose("demo.ls", {}, wait=30)
        assert call["state"] == "succeeded"
        assert call["execution"]["backend"]["tier"] == "C"
        a_queue_that_cannot_be_written_delays_a_call(user)
        assert session.terminate() == 0
        assert [process for process in before if process.alive] == []


def a_queue_that_cannot_be_written_delays_a_call(user: Installation) -> None:
    queue = user.home / "queue" / "messages"
    agent = user.as_agent()
    queue.chmod(0o500)
    call = agent.propose("echo", {"text": "patience"})
    assert call["state"] == "queued"
    queue.chmod(0o700)
    assert agent.await_state(call["id"])["state"] == "succeeded"


def without_bubblewrap(installation: Installation) -> Installation:
    """Return the installation as it runs where the program is hidden behind something not executable."""
    program = shutil.which("unshare")
    if program is None:
        pytest.skip("unshare is not installed")
    own = () if os.geteuid() == 0 else ("--map-root-user",)
    script = 'mount --bind /dev/null /usr/bin/bwrap && exec "$@"'
    return replace(installation, prefix=(program, "--mount", *own, "--", "/bin/sh", "-c", script, "sh"))


def test_without_bubblewrap_tier_c_is_refused_before_anybody_is_asked(installation: Installation) -> None:
    host = without_bubblewrap(installation)
    with starting(host) as session:
        session.await_text(LAST_LINE)
        assert "/usr/bin/bwrap is missing. Install it: apt-get install bubblewrap." in session.output
        assert "sandbox.backend_unavailable" in session.output
        agent = host.as_agent()
        for tool, values in TOOLS_OF_BUBBLEWRAP:
            call = agent.propose(tool, values)
            assert call["state"] == "denied"
            assert call["decision"]["reason_code"] == "sandbox.backend_unavailable"
            assert "bwrap" in call["decision"]["reason"]
            assert call["approval"] is None
            verdicts = {row["gate"]: row["verdict"] for row in call["decision"]["gates"]}
            assert (verdicts["backend"], verdicts["approval"]) == ("deny", "skipped")
        assert agent.propose("fs.list", {"path": "."}, wait=30)["state"] == "succeeded"
        assert host.as_owner().get("/approvals")["data"] == []
        assert session.ctrl_c() == 0
    assert naming(str(host.home)) == []


@contextmanager
def redis_on(port: int, base: Path) -> Iterator[None]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]

    def answers() -> bool:
        try:
            with redis.Redis(port=port) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    with running(command, log=base / "redis.log", ready=answers):
        yield


@pytest.mark.redis
def test_a_redis_that_went_away_lets_nobody_in_and_loses_no_call(base: Path) -> None:
    """It counts requests as well as carrying wake-ups, so nobody is admitted until it is back."""
    port = free_port()
    with redis_on(port, base), founded(redis_url=f"redis://127.0.0.1:{port}/0") as host:
        product = host.installation
        agent = product.as_agent()
        with product.web():
            with product.worker():
                assert agent.propose("echo", {"text": "before"}, wait=30)["state"] == "succeeded"
            call = agent.propose("echo", {"text": "without a worker"})
            assert call["state"] == "queued"
            with redis.Redis(port=port) as client:
                client.shutdown(nosave=True)
            refused = agent.post("/runs", {}, status=(503,))
            assert refused["code"] == "rate_limiter_unavailable"
            with redis_on(port, base), product.worker(), product.sweeper():
                assert agent.await_state(call["id"])["state"] == "succeeded"
                assert agent.propose("echo", {"text": "after"}, wait=30)["state"] == "succeeded"
        assert host.starts(call["id"]) == 1


@pytest.mark.redis
def test_a_start_without_its_broker_says_so(installation: Installation) -> None:
    absent = f"redis://:secret-word@127.0.0.1:{free_port()}/0"
    with starting(replace(installation, settings={"PALYRA_REDIS_URL": absent}, bind=free_bind())) as session:
        assert session.process.wait(timeout=90) == 1
        assert "the broker does not answer: redis://:**@127.0.0.1" in session.output
        assert "secret-word" not in session.output
        assert "Traceback" not in session.output
