"""What a tool in Tier C can reach. Every verdict is taken from the host's side where there is one."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.sandbox.process_builders import Sandbox, marker, tier_c_spec

pytestmark = pytest.mark.sandbox


def test_a_program_runs_and_its_result_is_complete(box: Sandbox) -> None:
    (box.workspace / "notes.txt").write_text("one\n")

    outcome = box.run("ls")

    assert (outcome.status, outcome.exit_code, outcome.stdout) == ("succeeded", 0, "notes.txt\n")
    assert outcome.output is not None
    assert outcome.output["stdout"] == "notes.txt\n"
    assert outcome.sandbox_enforcement == "strict"


def test_what_the_tool_writes_lands_in_the_workspace_only(box: Sandbox) -> None:
    outcome = box.shell("echo hi > made.txt; echo bad > /usr/made.txt; echo bad > /etc/made.txt; mkdir /made")

    assert (box.workspace / "made.txt").read_text() == "hi\n"
    assert not any(Path(path).exists() for path in ("/usr/made.txt", "/etc/made.txt", "/made"))
    assert outcome.stderr.count("Read-only file system") == 3


def test_the_generated_files_of_etc_cannot_be_changed(box: Sandbox) -> None:
    outcome = box.shell(
        "chmod 666 /etc/passwd; echo x > /etc/hosts; rm /etc/group; cat /etc/passwd; ls -A /etc"
    )

    assert outcome.stderr.count("Read-only file system") == 3
    assert "sandbox:x:1000:1000" in outcome.stdout
    assert {"passwd", "group", "hosts"} < set(outcome.stdout.split())
    assert not {"shadow", "ssh", "sudoers"} & set(outcome.stdout.split())


def test_a_read_only_workspace_is_not_written(box: Sandbox) -> None:
    box.shell("echo hi > made.txt", spec=tier_c_spec(workspace_mode="bind_ro"))

    assert list(box.workspace.iterdir()) == []


def test_a_scratch_run_sees_an_empty_workspace(box: Sandbox) -> None:
    (box.workspace / "notes.txt").write_text("one\n")

    outcome = box.shell("ls; touch made", spec=tier_c_spec(workspace_mode="scratch"))

    assert (outcome.stdout, outcome.exit_code) == ("", 0)
    assert [path.name for path in box.workspace.iterdir()] == ["notes.txt"]


def test_host_files_do_not_exist_inside(box: Sandbox) -> None:
    canary = box.workspace.parent / "canary"
    canary.write_text(text := marker())
    canary.chmod(0o644)
    script = "import sys; text = open(sys.argv[1]).read(); open('/workspace/found', 'w').write(text)"

    outcome = box.python(script, *str(canary))

    assert outcome.exit_code == 1
    assert list(box.workspace.iterdir()) == []
    assert text not in outcome.stdout + outcome.stderr


def test_a_symlink_in_the_workspace_leads_nowhere(box: Sandbox) -> None:
    canary = box.workspace.parent / "canary"
    canary.write_text(text := marker())
    canary.chmod(0o666)
    (box.workspace / "link").symlink_to(canary)

    outcome = box.shell("cat link; echo bad > link")

    assert text not in outcome.stdout
    assert canary.read_text() == text


def test_a_workspace_reached_through_a_symlink_is_refused(box: Sandbox) -> None:
    link = box.workspace.parent / "other"
    link.symlink_to(box.workspace)

    outcome = Sandbox(box.pool, link).run("ls")

    assert (outcome.error_kind, outcome.error_code) == ("WorkspaceScopeDenied", "sandbox.symlink_in_path")
    assert outcome.output is None


def test_the_host_s_loopback_is_not_reachable(box: Sandbox) -> None:
    script = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 2)"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        outcome = box.python(script, str(listener.getsockname()[1]))
        with pytest.raises(BlockingIOError):
            listener.accept()

    assert outcome.exit_code == 1


@pytest.mark.parametrize(
    ("family", "kind", "protocol"),
    [
        ("AF_UNIX", "SOCK_STREAM", 0),
        ("AF_NETLINK", "SOCK_RAW", 15),
        ("AF_PACKET", "SOCK_RAW", 0),
        ("AF_INET", "SOCK_RAW", 1),
        ("AF_VSOCK", "SOCK_STREAM", 0),
    ],
)
def test_other_sockets_cannot_be_made(box: Sandbox, family: str, kind: str, protocol: int) -> None:
    script = f"""
import socket
try:
    socket.socket(socket.{family}, socket.{kind}, {protocol})
except OSError as error:
    print(error.errno)
"""
    assert box.python(script).stdout == "97\n"


def test_only_the_sandbox_s_own_processes_are_seen(box: Sandbox) -> None:
    outcome = box.shell("echo /proc/[0-9]*")

    assert len(outcome.stdout.split()) <= 3


def test_the_sandbox_s_init_cannot_be_touched_through_proc(box: Sandbox) -> None:
    """bwrap's init has the tool's uid; by its memory a tool could undo what kills it with the worker."""
    script = """
import os
for name in ("mem", "maps", "syscall", "root", "fd", "environ"):
    for path in (f"/proc/1/{name}", f"/proc/self/../1/{name}", f"/proc/1/task/1/{name}"):
        try:
            os.open(path, os.O_RDWR if name == "mem" else os.O_RDONLY)
            print("opened", path)
        except OSError as error:
            assert error.errno == 2, error
try:
    os.mkdir("/proc/1/x")
except OSError as error:
    print(error.errno, os.listdir("/proc/1"))
"""
    assert box.python(script).stdout == "30 []\n"


def test_the_environment_is_the_documented_one(box: Sandbox) -> None:
    os.environ["PALYRA_TEST_CANARY"] = "leaks"
    try:
        outcome = box.run("env", env={"TZ": "Europe/Prague"})
    finally:
        del os.environ["PALYRA_TEST_CANARY"]

    names = {line.split("=")[0] for line in outcome.stdout.splitlines()}
    assert names == {"PATH", "HOME", "TMPDIR", "LANG", "TZ", "USER", "PALYRA_EXECUTION_ID", "PWD"}
    assert "TZ=Europe/Prague" in outcome.stdout


def test_only_the_three_standard_descriptors_are_inherited(box: Sandbox) -> None:
    outcome = box.python("import os; print(sorted(os.listdir('/proc/self/fd')))")

    # The directory being listed is itself number 3.
    assert outcome.stdout == "['0', '1', '2', '3']\n"


@pytest.mark.parametrize(
    "call",
    [
        "libc.unshare(0x10000000)",
        "libc.unshare(0x20000)",
        "libc.setns(0, 0)",
        "libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0)",
        "libc.mount(b'none', b'/tmp', b'tmpfs', 0, None)",
        "libc.ptrace(16, 1, 0, 0)",
        "libc.syscall(319, b'x', 0)",
        "libc.syscall(425, 8, 0)",
    ],
)
def test_escape_calls_are_refused(box: Sandbox, call: str) -> None:
    if os.uname().machine != "x86_64" and "syscall" in call:
        pytest.skip("the numbers are those of x86_64")
    script = f"import ctypes; libc = ctypes.CDLL(None, use_errno=True); print({call}, ctypes.get_errno())"

    assert box.python(script).stdout == "-1 1\n"


def test_an_unknown_system_call_is_not_implemented(box: Sandbox) -> None:
    script = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
print(libc.syscall(9999), ctypes.get_errno())
"""
    assert box.python(script).stdout == "-1 38\n"


def test_enforcement_is_what_the_kernel_showed(box: Sandbox) -> None:
    outcome = box.run("sleep", "0.2")

    effective = outcome.enforcement["effective"]
    assert isinstance(effective, dict)
    for name in ("user", "pid", "net", "ipc", "uts", "cgroup"):
        assert effective[f"{name}ns"].startswith(f"{name}:[")
        assert effective[f"{name}ns"] != os.readlink(f"/proc/self/ns/{name}")
    assert effective["seccomp_filters"] == 2
    assert (effective["nnp"], effective["caps"], effective["mount_root"]) == (True, "none", "allowlist")
    assert outcome.enforcement["degraded"] == list(box.pool.probe().degraded)


def test_protected_paths_are_neither_written_nor_read(box: Sandbox) -> None:
    (box.workspace / ".git/hooks").mkdir(parents=True)
    (box.workspace / ".git/config").write_text("old\n")
    (box.workspace / ".env").write_text(text := marker())
    for path in box.workspace.rglob("*"):
        path.chmod(0o777)

    outcome = box.shell(
        "cat .env; for f in .env .git/config .git/hooks/x; do echo x > $f; done; mv .git .old; rm -f .env"
    )

    assert text not in outcome.stdout
    assert (box.workspace / ".env").read_text() == text
    assert (box.workspace / ".git/config").read_text() == "old\n"
    assert list((box.workspace / ".git/hooks").iterdir()) == []


def test_a_protected_path_that_is_a_symlink_is_refused(box: Sandbox) -> None:
    (box.workspace / ".env").symlink_to("elsewhere")

    assert box.run("ls").error_code == "sandbox.symlink_in_path"
