"""whoami, up-check, api, version, completion, help, and how fast and lean the command starts."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import pytest

from palyra_site.cli.commands.system import api_path
from palyra_site.cli.failures import UsageError
from palyra_site.cli.main import command_tree
from palyra_site.cli.version import VERSION
from tests.cli.help import SNAPSHOT, help_pages, paths_of
from tests.cli.shell import Shell, answer

ROOT = Path(__file__).resolve().parents[2]


def python(*words: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run this Python in the checkout with nothing but `environ`; both streams are in `stdout`."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def up(ready: httpx.Response, **headers: str) -> list[httpx.Response | Exception]:
    return [answer({"status": "ok"}, 200, **headers), ready]


def test_up_check_reports_a_ready_server(shell: Shell) -> None:
    shell.replies = up(answer({"status": "ok"}), Date="Mon, 05 Jan 2026 10:00:03 GMT")
    result = shell("up-check", "--json")
    assert result.code == 0
    assert json.loads(result.out) == {
        "object": "up_check",
        "url": "http://127.0.0.1:8470",
        "healthy": True,
        "ready": True,
        "failing": None,
        "clock_offset_seconds": 3,
        "encrypted": False,
        "profile": None,
    }


def test_up_check_names_what_is_not_ready(shell: Shell) -> None:
    shell.replies = up(answer({"status": "unavailable", "failing": ["database"]}, 503))
    result = shell("up-check", "--json")
    assert (result.code, json.loads(result.out)["failing"], len(result.requests)) == (4, ["database"], 2)


def test_up_check_without_a_server_does_not_try_for_long(shell: Shell) -> None:
    shell.replies = [httpx.ConnectError("refused")]
    result = shell("up-check")
    assert (result.code, len(result.requests), result.out) == (4, 1, "")


@pytest.mark.parametrize("date", ["", "yesterday", "Mon, 99 Jan 2026 10:00:03 GMT"])
def test_up_check_survives_a_strange_clock(shell: Shell, date: str) -> None:
    shell.replies = up(answer({"status": "ok"}), Date=date)
    assert json.loads(shell("up-check", "--json").out)["clock_offset_seconds"] is None


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/whoami", "/api/v1/whoami"),
        ("/api/v1/runs?limit=1", "/api/v1/runs?limit=1"),
        ("/healthz", "/healthz"),
        ("/approvals?state=pending", "/api/v1/approvals?state=pending"),
    ],
)
def test_api_reads_any_route(shell: Shell, path: str, sent: str) -> None:
    shell.replies = [answer({"a": 1})]
    result = shell("api", "get", path)
    assert (result.sent, result.out) == ([f"GET {sent}"], '{"a":1}\n')


@pytest.mark.parametrize(
    "path",
    ["whoami", "//evil.example/x", "http://evil.example", "/a b", "/ü", "/a#b", "/\\evil", "", "/a\nb"],
)
def test_api_goes_nowhere_else(path: str) -> None:
    with pytest.raises(UsageError):
        api_path(path)


def test_api_writes_with_a_body_from_stdin(shell: Shell) -> None:
    shell.typed = '{"purpose": "x"}'
    shell.replies = [answer({"id": "run_1"}, 201)]
    result = shell("api", "POST", "/runs", "--data", "-", "--header", "If-Match: x", "--yes")
    assert (result.code, result.body()) == (0, {"purpose": "x"})
    assert result.requests[0].headers["If-Match"] == "x"
    assert result.requests[0].headers["Idempotency-Key"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("POST", "/runs"),
        ("DELETE", "/runs/x", "--no-input"),
        ("GET", "/runs", "--data", "-"),
        ("POST", "/runs", "--data", "{}", "--yes"),
        ("TRACE", "/runs"),
        ("GET", "/runs", "--header", "Authorization: Bearer x"),
        ("GET", "/runs", "--header", "host:x"),
        ("GET", "/runs", "--header", "no colon"),
        ("GET", "/runs", "--header", "A B: c"),
        ("POST", "/runs", "--header", "Idempotency-Key: x", "--yes"),
        ("GET", "/runs", "--header", "A: b\r\nC: d"),
    ],
)
def test_api_refuses_before_anything_is_sent(shell: Shell, arguments: tuple[str, ...]) -> None:
    result = shell("api", *arguments)
    assert (result.code, result.requests) == (2, [])


def test_api_writes_text_as_it_is(shell: Shell) -> None:
    shell.replies = [httpx.Response(200, text="a\x1b[1mb\n", headers={"Content-Type": "text/plain"})]
    assert shell("api", "GET", "/metrics").out == "a\x1b[1mb\n"
    shell.terminal = True
    assert shell("api", "GET", "/metrics").out == "a\\x1b[1mb\n"


def test_api_refuses_a_body_that_only_claims_to_be_json(shell: Shell) -> None:
    shell.replies = [httpx.Response(200, text="{", headers={"Content-Type": "application/json"})]
    assert shell("api", "GET", "/runs").code == 1


def test_an_empty_answer_prints_nothing(shell: Shell) -> None:
    shell.replies = [httpx.Response(204)]
    result = shell("api", "DELETE", "/webhooks/x", "--yes")
    assert (result.code, result.out) == (0, "")


def test_the_version_is_the_package_s(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert package == VERSION
    assert (shell("version").code, shell("--version").code) == (0, 0)
    assert capsys.readouterr().out == f"palyra {VERSION}\n" * 2


@pytest.mark.parametrize("shell_name", ["bash", "zsh", "fish", "powershell"])
def test_a_completion_script_names_the_command(
    shell: Shell, shell_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shell("completion", shell_name).code == 0
    assert "_PALYRA_COMPLETE" in capsys.readouterr().out


def test_bash_completes_a_command(tmp_path: Path) -> None:
    environ = {"_PALYRA_COMPLETE": "complete_bash", "COMP_WORDS": "palyra app", "COMP_CWORD": "1"}
    completed = python("-m", "palyra_site.cli", environ=environ)
    assert completed.stdout.split() == ["approvals"]


def test_starting_loads_no_framework_and_no_animation() -> None:
    program = (
        "import sys; from palyra_site.cli.main import main; sys.argv[1:] = ['--version']; code = main();"
        "loaded = {'django', 'rest_framework', 'celery', 'httpx', 'rich', 'rich.live'} & set(sys.modules);"
        "sys.exit(f'{code} {loaded}' if code or loaded else 0)"
    )
    completed = python("-c", program, environ={})
    assert (completed.returncode, completed.stdout) == (0, f"palyra {VERSION}\n")


def test_a_request_loads_no_framework(shell: Shell) -> None:
    program = (
        "import sys; from palyra_site.cli.main import main;"
        "sys.argv[1:] = ['whoami', '--url', 'http://127.0.0.1:1', '--timeout', '1']; code = main();"
        "loaded = {'django', 'rest_framework', 'celery'} & set(sys.modules);"
        "sys.exit(f'{code} {loaded}' if code != 4 or loaded else 0)"
    )
    environ = {"HOME": str(shell.home), "PALYRA_HOME": str(shell.home)}
    completed = python("-c", program, environ=environ)
    assert completed.returncode == 0, completed.stdout


@pytest.mark.parametrize(
    "argv", [(), ("approvals",), ("approval",), ("--nonsense",), ("runs", "open", "extra")]
)
def test_a_line_that_is_no_command_is_two(shell: Shell, argv: tuple[str, ...]) -> None:
    result = shell(*argv)
    assert (result.code, result.out, bool(result.err)) == (2, "", True)


def test_help_of_every_command_is_the_committed_one() -> None:
    assert help_pages() == SNAPSHOT.read_text(), "on purpose? then: python -m tests.cli.help"


def test_every_command_has_a_purpose_and_an_example() -> None:
    tree = command_tree()
    for path in paths_of(tree):
        command = tree
        for name in path:
            command = command.commands[name]
        assert command.help, path
        assert hasattr(command, "commands") or f"palyra {' '.join(path)}" in command.epilog, path
