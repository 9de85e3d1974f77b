"""One command starts everything, and one Ctrl-C ends it."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from tests.e2e.installation import Installation, Session, starting
from tests.e2e.processes import Process, naming, tree_of
from tests.support_fixtures import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.sandbox]

KEYS = {"console_url", "username", "password", "totp_uri", "owner_token", "agent_token", "api_url"}
LAST_LINE = "/tool-calls?wait=20"
NOISE = ("Traceback", "Warning", "celery@", "[tasks]", "[ERROR", "ERROR")


def test_a_first_start_shows_a_governed_run_and_a_second_start_reuses_all(installation: Installation) -> None:
    with starting(installation) as first:
        first.await_text(LAST_LINE)
        shows_what_a_newcomer_needs(first, installation)
        credentials_are_private(installation)
        the_demonstration_ran(installation)
        the_printed_lines_work_in_a_shell(first)
        everything_ends(first, installation, first.ctrl_c)
    kept = installation.credentials
    calls = {str(call["id"]): str(call["state"]) for call in after_restart(installation)}
    assert installation.credentials == kept
    assert sorted(calls.values()) == ["awaiting_approval", "denied", "succeeded", "succeeded", "succeeded"]


def shows_what_a_newcomer_needs(session: Session, installation: Installation) -> None:
    made = installation.credentials
    for text in (made["console_url"], made["username"], made["password"], made["agent_token"]):
        assert text in session.output
    assert made["console_url"] == f"{installation.url}/admin/"
    assert made["totp_uri"].partition("secret=")[2].partition("&")[0] in session.output
    assert len(made["password"]) >= 20
    assert made["owner_token"] not in session.output
    assert re.search(r"demo\.ls +succeeded", session.output)
    assert re.search(r"shell\.exec +denied +schema\.tool_unknown", session.output)
    assert [word for word in NOISE if word in session.output] == []


def credentials_are_private(installation: Installation) -> None:
    path = installation.home / "bootstrap.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(installation.home.stat().st_mode) == 0o700
    assert set(installation.credentials) == KEYS


def the_demonstration_ran(installation: Installation) -> None:
    agent = installation.as_agent()
    calls = {call["tool"]["name"]: agent.call(call["id"]) for call in agent.get("/tool-calls")["data"]}
    assert {name: call["state"] for name, call in calls.items()} == {
        "demo.ls": "succeeded",
        "local.echo": "succeeded",
        "shell.exec": "denied",
        "demo.wc": "awaiting_approval",
    }
    assert "README" in str(calls["demo.ls"]["result"]) or "notes" in str(calls["demo.ls"]["result"])


def the_printed_lines_work_in_a_shell(session: Session) -> None:
    lines = session.output[session.output.index("  RUN=") :]
    script = lines[: lines.index("\n\n")]
    done = subprocess.run(["/bin/bash", "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    assert '"state":"succeeded"' in done.stdout.replace(" ", "")


def everything_ends(session: Session, installation: Installation, stop: object) -> None:
    before = tree_of(session.process.pid)
    assert any("celery" in process.command for process in before)
    assert callable(stop)
    assert stop() == 0
    nothing_is_left(before, installation)
    assert "Traceback" not in session.output
    assert session.output.rstrip().endswith("palyra: stopped")


def nothing_is_left(before: list[Process], installation: Installation) -> None:
    assert [process for process in before if process.alive] == []
    assert naming(str(installation.home)) == []


def after_restart(installation: Installation) -> list[dict[str, object]]:
    with starting(installation) as second:
        second.await_text(LAST_LINE)
        assert "demonstration" not in second.output
        assert installation.credentials["password"] in second.output
        rows = installation.as_owner().get("/tool-calls")["data"]
        everything_ends(second, installation, second.terminate)
    assert isinstance(rows, list)
    return rows


def test_a_port_in_use_is_said_before_anything_is_touched(installation: Installation) -> None:
    host, _, port = installation.bind.partition(":")
    with socket.socket() as taken:
        taken.bind((host, int(port)))
        taken.listen()
        with starting(installation) as session:
            assert session.process.wait(timeout=60) == 1
            assert f"cannot listen on {installation.bind}" in session.output
            assert "PALYRA_BIND" in session.output
            assert "Traceback" not in session.output
    assert not (installation.home / "palyra.sqlite3").exists()
    assert naming(str(installation.home)) == []


def test_a_public_address_in_plain_http_is_refused(base: Path) -> None:
    installation = Installation(base, "0.0.0.0:1")
    with starting(installation) as session:
        assert session.process.wait(timeout=60) == 1
        assert "https://" in session.output
        assert "Traceback" not in session.output


def test_one_process_that_ends_takes_the_others_with_it(installation: Installation) -> None:
    """All are watched alike; this one is not the one that answers requests."""
    installation.found()
    with starting(installation, "--no-demo") as session:
        session.await_text(LAST_LINE)
        before = tree_of(session.process.pid)
        os.kill(the_child(before, session, "-Q jobs").pid, signal.SIGKILL)
        assert session.process.wait(timeout=90) == 1
        assert "jobs ended by itself (killed by SIGKILL)" in session.output
        assert "Traceback" not in session.output
        nothing_is_left(before, installation)


def the_child(before: list[Process], session: Session, mark: str) -> Process:
    (child,) = [one for one in before if mark in one.command and one.parent == session.process.pid]
    return child


def test_an_early_ctrl_c_ends_quietly(installation: Installation) -> None:
    with starting(installation) as session:
        session.await_text("worker started")
        before = tree_of(session.process.pid)
        assert session.ctrl_c() == 0
        nothing_is_left(before, installation)
        assert "Traceback" not in session.output


def test_make_run_is_the_same_and_ctrl_c_reaches_all_of_it(installation: Installation) -> None:
    mark = ROOT / ".venv" / "palyra-venv"
    if not mark.exists() or mark.read_text() != str(ROOT / ".venv"):
        pytest.skip("these tests do not run in the environment that make prepares")
    with starting(installation, command=["make", "--no-print-directory", "run"]) as session:
        session.await_text(LAST_LINE)
        before = tree_of(session.process.pid)
        assert session.ctrl_c() in (0, -signal.SIGINT, 2, 130), "make reports the signal in its own way"
        nothing_is_left(before, installation)
        assert "Traceback" not in session.output
        assert "palyra: stopped" in session.output
