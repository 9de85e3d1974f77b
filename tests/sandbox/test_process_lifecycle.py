"""How runs start, end and fail: cancel, input, exit codes, a dying launcher, a doctored bubblewrap."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import stat
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox.runners import procfs
from sandbox.runners.base import CancelToken
from sandbox.runners.link import RunnerOptions
from sandbox.runners.worker import RunnerPool
from sandbox.types import Outcome
from tests.sandbox.process_builders import (
    PYTHON,
    Sandbox,
    builtin_spec,
    processes_with,
    sleep_seconds,
    tier_c_spec,
    wait_until,
    workspace_for,
)

pytestmark = pytest.mark.sandbox
ORDINARY_UID = 61_185


def test_a_non_zero_exit_is_a_result(box: Sandbox) -> None:
    outcome = box.shell("echo out; echo err >&2; exit 3")

    assert (outcome.status, outcome.error_kind) == ("failed", "RuntimeFailure")
    assert (outcome.exit_code, outcome.signal) == (3, None)
    assert (outcome.stdout, outcome.stderr) == ("out\n", "err\n")


def test_death_by_a_signal_is_not_an_exit_code(box: Sandbox) -> None:
    outcome = box.shell("kill -TERM $$")

    assert (outcome.exit_code, outcome.signal) == (None, signal.SIGTERM)


def test_stdin_reaches_the_tool(box: Sandbox) -> None:
    text = "é" * 20_000

    assert box.run("cat", stdin=text, spec=tier_c_spec(max_output_bytes=65_536)).stdout == text


def test_a_tool_that_does_not_read_its_input_is_not_held_up(box: Sandbox) -> None:
    assert box.run("true", stdin="x" * 65_000).status == "succeeded"


def test_without_input_stdin_is_empty(box: Sandbox) -> None:
    assert (box.run("cat").status, box.run("cat").stdout) == ("succeeded", "")


def test_bytes_that_are_not_utf8_become_replacement_characters(box: Sandbox) -> None:
    outcome = box.shell("printf 'a\\xffb'")

    assert outcome.stdout == "a\ufffdb"


def test_the_tool_may_open_its_output_by_name(box: Sandbox) -> None:
    assert box.shell("echo named > /dev/stdout").stdout == "named\n"


def test_the_working_directory_lies_beneath_the_workspace(box: Sandbox) -> None:
    (box.workspace / "sub").mkdir(mode=0o755)

    assert box.run("pwd", cwd="sub").stdout == "/workspace/sub\n"
    assert box.run("pwd", cwd="../").error_code == "sandbox.cwd_outside"
    assert box.run("pwd", cwd="missing").error_code == "sandbox.cwd_not_found"


def test_cancel_ends_the_whole_tree(box: Sandbox) -> None:
    seconds, token = sleep_seconds(), CancelToken()
    with box.running("bash", "-c", f"sleep {seconds} & sleep {seconds}", cancel=token) as outcomes:
        wait_until(lambda: processes_with(seconds))
        token.cancel()

    assert (outcomes[0].status, outcomes[0].error_kind) == ("cancelled", "Cancelled")
    assert processes_with(seconds) == []


def test_a_run_that_is_already_cancelled_never_starts(box: Sandbox) -> None:
    token = CancelToken()
    token.cancel()

    outcome = box.shell("touch made; sleep 20", cancel=token)

    assert outcome.status == "cancelled"


def test_runs_at_the_same_time_do_not_meet(box: Sandbox) -> None:
    outcomes: dict[int, Outcome] = {}

    def one(number: int) -> None:
        outcomes[number] = box.shell(f"sleep 0.2; echo {number}")

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {number: outcome.stdout for number, outcome in outcomes.items()} == {n: f"{n}\n" for n in range(4)}


def test_killing_the_launcher_kills_the_tool_and_the_next_run_works() -> None:
    with fresh_box(RunnerOptions()) as box:
        seconds = sleep_seconds()
        with box.running("sleep", seconds) as outcomes:
            wait_until(lambda: any(_is_tool(pid) for pid in processes_with(seconds)))
            (launcher,) = _launchers_of(os.getpid(), seconds)
            os.kill(launcher, signal.SIGKILL)

        assert (outcomes[0].status, outcomes[0].error_code) == ("ambiguous", "sandbox.launcher_died")
        wait_until(lambda: processes_with(seconds) == [])
        assert box.run("echo", "again").stdout == "again\n"


def test_closing_the_pool_leaves_no_launcher() -> None:
    with fresh_box(RunnerOptions()) as box:
        assert box.run("true").status == "succeeded"
        pids = [launcher.pid for launcher in box.pool._idle]
        box.pool.close()

    assert pids
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_the_launcher_has_no_environment_no_root_and_no_visible_memory() -> None:
    with fresh_box(RunnerOptions()) as box:
        box.pool.start()
        (launcher,) = box.pool._idle
        status = procfs.status_of(launcher.pid)

        assert Path(f"/proc/{launcher.pid}/environ").stat().st_uid == 0  # not dumpable: owned by root
        assert status["Uid"].split()[0] == str(box.pool.options.sandbox_uid)
        assert status["Threads"] == "1"
        if os.geteuid() == 0:
            assert status["Groups"].split() == []
            assert Path(f"/proc/{launcher.pid}/environ").read_bytes() == b""


def test_a_missing_bubblewrap_is_a_clear_refusal() -> None:
    with fresh_box(RunnerOptions(bwrap="/nonexistent/bwrap")) as box:
        outcome = box.run("ls")

        assert (outcome.error_kind, outcome.error_code) == (
            "BackendUnavailable",
            "sandbox.backend_unavailable",
        )
        assert "apt-get install bubblewrap" in outcome.message
        assert [finding.code for finding in box.pool.probe().findings] == ["bwrap_missing"]
        assert box.files("fs.list", path="").status == "succeeded"


def test_a_host_that_forbids_user_namespaces_is_named() -> None:
    script = 'echo "bwrap: setting up uid map: Permission denied" >&2\nexit 1\n'
    with shim("/bin/sh", script) as options, fresh_box(options) as box:
        assert [finding.code for finding in box.pool.probe().findings] == ["userns_forbidden"]
        assert box.run("ls").detail == {"findings": ["userns_forbidden"]}


def test_a_bubblewrap_without_the_needed_options_is_too_old() -> None:
    with shim("/bin/sh", "echo old; exit 0\n", forward_help=False) as options, fresh_box(options) as box:
        assert [finding.code for finding in box.pool.probe().findings] == ["bwrap_too_old"]


REWRITE = """
import os, sys
fd = int(sys.argv[2])
words = os.read(fd, 1 << 20).split(b"\\0")[:-1]
{change}
new = os.memfd_create("args", 0)
os.write(new, b"".join(word + b"\\0" for word in words))
os.lseek(new, 0, 0)
os.execv("/usr/bin/bwrap", ["bwrap", "--args", str(new), *sys.argv[3:]])
"""
KEEP_NET = """
at = words.index(b"--unshare-all")
words[at:at + 1] = [b"--unshare-" + name for name in (b"ipc", b"pid", b"uts", b"cgroup")]
"""
NO_FILTERS = """
while b"--add-seccomp-fd" in words:
    at = words.index(b"--add-seccomp-fd")
    del words[at:at + 2]
"""


@pytest.mark.parametrize(("change", "reason"), [(KEEP_NET, "net namespace"), (NO_FILTERS, "filters")])
def test_a_doctored_bubblewrap_is_found_out(change: str, reason: str) -> None:
    with shim(f"{PYTHON} -IS", REWRITE.format(change=change)) as options, fresh_box(RunnerOptions()) as box:
        box.pool.start()
        box.pool.options = dataclasses.replace(options)

        outcome = box.run("sleep", "20")

    assert (outcome.error_kind, outcome.error_code) == ("SpawnFailed", "sandbox.enforcement_mismatch")
    assert reason in str(outcome.detail["reason"])
    assert outcome.sandbox_enforcement == "none"


def test_an_unknown_built_in_and_misfit_input_are_refused(box: Sandbox) -> None:
    def run(tool: str, **value: object) -> Outcome:
        return box.submit(box.job(tool, value, builtin_spec(), "builtin"))

    assert run("echo", text="hi").output == {"text": "hi"}
    assert run("sleep", duration_ms=1).output == {"slept_ms": 1}
    assert run("reboot").error_code == "sandbox.unknown_builtin"
    assert run("echo", text=3).error_kind == "InvalidInput"
    assert run("sleep", duration_ms=True).error_kind == "InvalidInput"


def test_sleep_obeys_cancel_and_deadline(box: Sandbox) -> None:
    token = CancelToken()
    token.cancel()
    job = box.job("sleep", {"duration_ms": 5_000}, builtin_spec(), "builtin")

    assert box.submit(job, token).status == "cancelled"
    assert box.pool.run(job, deadline_ms=20, cancel=CancelToken()).status == "timed_out"


def test_a_custom_tool_runs_the_program_of_its_definition(box: Sandbox) -> None:
    (box.workspace / "a b.txt").write_text("one\n")
    base = box.job("demo.wc", {}, tier_c_spec(allowed_executables=()), "process")

    job = dataclasses.replace(base, argv=("/usr/bin/wc", "-l", "a b.txt"))

    assert box.submit(job).stdout == "1 a b.txt\n"


@pytest.mark.parametrize(
    ("command", "changes", "code"),
    [
        ("no-such-program", {"allowed_executables": ("no-such-program",)}, "sandbox.executable_not_allowed"),
        ("ls", {"allowed_executables": ()}, "sandbox.executable_not_allowed"),
        ("/usr/bin/ls", {}, "sandbox.executable_not_allowed"),
        ("./ls", {"allowed_executables": ("./ls",)}, "sandbox.executable_not_allowed"),
        ("bash", {"allow_interpreters": False}, "sandbox.interpreter_refused"),
        ("python3", {"allow_interpreters": False}, "sandbox.interpreter_refused"),
        ("env", {"allow_interpreters": False}, "sandbox.interpreter_refused"),
    ],
)
def test_a_program_that_may_not_run_is_refused(
    box: Sandbox, command: str, changes: dict[str, object], code: str
) -> None:
    outcome = box.run(command, spec=tier_c_spec(**changes))

    assert (outcome.error_kind, outcome.error_code) == ("WorkspaceScopeDenied", code)


def test_an_argument_that_names_the_host_is_refused_with_its_place(box: Sandbox) -> None:
    outcome = box.run("cat", "-n", "/root/.ssh/id_ed25519")

    assert (outcome.error_code, outcome.detail) == ("sandbox.path_outside", {"argument": 1})


def test_hosts_cannot_be_promised(box: Sandbox) -> None:
    outcome = box.run("true", spec=tier_c_spec(egress_hosts=("example.com:443",)))

    assert (outcome.error_kind, outcome.error_code) == ("EgressDenied", "egress.not_enforceable")


@pytest.mark.skipif(os.geteuid() != 0, reason="the whole suite already runs as an ordinary user")
def test_everything_works_for_an_ordinary_user(tmp_path: Path) -> None:
    if not os.access(PYTHON, os.X_OK):
        pytest.skip(f"{PYTHON} is missing and the running interpreter may lie in a closed directory")
    with workspace_for(ORDINARY_UID) as root:
        launcher = _open_copy_of_launcher(root.parent)
        options = RunnerOptions(interpreter=PYTHON, launcher=launcher)
        results = _as_user(ORDINARY_UID, options, root)

    assert results["ls"] == ["succeeded", "strict"]
    assert results["fs.write"] == ["succeeded", "none"]
    assert results["bomb"][0] == "timed_out"


def _as_user(uid: int, options: RunnerOptions, root: Path) -> dict[str, list[str]]:
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _child(uid, options, root, write)
    os.close(write)
    with os.fdopen(read) as file:
        results = json.load(file)
    os.waitpid(pid, 0)
    assert isinstance(results, dict), results
    return results


def _child(uid: int, options: RunnerOptions, root: Path, write: int) -> None:
    result: object = None
    try:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        box = Sandbox(RunnerPool(options), root)
        outcomes = {
            "ls": box.run("ls"),
            "fs.write": box.files("fs.write", path="a", content="b"),
            "bomb": box.shell("f() { f | f & }; f; sleep 20", spec=tier_c_spec(wall_timeout_ms=1_000)),
        }
        result = {name: [str(o.status), o.sandbox_enforcement] for name, o in outcomes.items()}
        box.pool.close()
    except BaseException:
        result = traceback.format_exc()
    finally:
        with os.fdopen(write, "w") as file:
            json.dump(result, file)
        os._exit(0)


def _open_copy_of_launcher(top: Path) -> Path:
    source = Path(procfs.__file__).parent
    target = top / "code/sandbox/runners"
    target.mkdir(parents=True)
    for name in ("__init__", "launcher", "procfs", "landlock", "beneath", "builtin_fs"):
        shutil.copy(source / f"{name}.py", target)
    (target.parent / "__init__.py").touch()
    return target / "launcher.py"


@contextmanager
def fresh_box(options: RunnerOptions) -> Iterator[Sandbox]:
    pool = RunnerPool(options)
    try:
        with workspace_for(options.sandbox_uid) as root:
            yield Sandbox(pool, root)
    finally:
        pool.close()


@contextmanager
def shim(interpreter: str, body: str, *, forward_help: bool = True) -> Iterator[RunnerOptions]:
    """A stand-in for bubblewrap in a directory that the sandbox's uid can reach."""
    with workspace_for(RunnerOptions().sandbox_uid) as root:
        path = root.parent / "bwrap"
        ask = 'case "$1" in --help|--version) exec /usr/bin/bwrap "$1";; esac\n' if forward_help else ""
        ask = "" if "python" in interpreter else ask
        path.write_text(f"#!{interpreter}\n{ask}{body}")
        path.chmod(stat.S_IRWXU | stat.S_IXGRP | stat.S_IRGRP | stat.S_IXOTH | stat.S_IROTH)
        yield RunnerOptions(bwrap=str(path))


def _launchers_of(parent: int, text: str) -> list[int]:
    ours = [pid for pid in procfs.children_of(parent) if b"launcher.py" in _cmdline(pid)]
    busy = set(processes_with(text))
    return [pid for pid in ours if busy & set(procfs.tree_of(pid))]


def _is_tool(pid: int) -> bool:
    return _cmdline(pid).startswith(b"/usr/bin/")


def _cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
