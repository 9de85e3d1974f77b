from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

import sandbox.runners
from sandbox.runners.bubblewrap import Command, Cover, HostLayout, build_command_plan
from sandbox.spec import MODES
from tests.sandbox.process_builders import tier_c_spec

MERGED = HostLayout((("bin", "usr/bin"), ("lib", "usr/lib")), ("lib64",), ("ld.so.cache", "ssl/certs"))
COMMAND = Command(argv=("/usr/bin/ls", "-la"), env={"B": "2", "A": "1"}, cwd="sub")


def test_the_plan_is_the_documented_one_in_its_order() -> None:
    plan = build_command_plan(tier_c_spec(), MERGED, COMMAND)

    assert " ".join(plan.args) == (
        "--unshare-all --unshare-user --disable-userns --uid 1000 --gid 1000 --hostname palyra "
        "--die-with-parent --new-session --cap-drop ALL --clearenv --setenv A 1 --setenv B 2 "
        "--ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --ro-bind /lib64 /lib64 "
        "--proc /proc --perms 0555 --size 4096 --tmpfs /proc/1 --remount-ro /proc/1 "
        "--dev /dev --size 33554432 --tmpfs /tmp --size 1048576 --tmpfs /dev/shm "
        "--remount-ro /dev --dir /tmp/home --dir /etc "
        "--perms 0444 --file 9 /etc/passwd "
        "--perms 0444 --file 10 /etc/group --perms 0444 --file 11 /etc/hosts "
        "--perms 0444 --file 12 /etc/nsswitch.conf "
        "--perms 0444 --file 13 /etc/resolv.conf --ro-bind /etc/ld.so.cache /etc/ld.so.cache "
        "--ro-bind /etc/ssl/certs /etc/ssl/certs --bind-fd 8 /workspace --chdir /workspace/sub "
        "--remount-ro / --json-status-fd 3 --block-fd 4 --add-seccomp-fd 6 --add-seccomp-fd 7"
    )
    assert plan.argv == ("/usr/bin/ls", "-la")
    assert dict(plan.data)[13] == b""


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (
            "bind_rw",
            "--bind-fd 8 /workspace --bind-fd 9 /workspace/.git --ro-bind-fd 10 /workspace/.git/config",
        ),
        ("bind_ro", "--ro-bind-fd 8 /workspace --ro-bind-fd 9 /workspace/.git"),
        ("scratch", "--size 33554432 --tmpfs /workspace --chdir"),
    ],
)
def test_each_mode_binds_the_workspace_its_way(mode: str, words: str) -> None:
    covers = (Cover(".git", "rw", 9), Cover(".git/config", "ro", 10), Cover(".env", "empty_file"))

    plan = build_command_plan(
        tier_c_spec(workspace_mode=mode), MERGED, COMMAND, covers=covers, first_data_fd=11
    )

    assert words in " ".join(plan.args)
    hidden = "--perms 0400 --ro-bind-data 16 /workspace/.env" in " ".join(plan.args)
    assert hidden is (mode != "scratch")


@given(
    mode=st.sampled_from(MODES),
    env=st.dictionaries(st.text(min_size=1), st.text()),
    argv=st.lists(st.text(), min_size=1).map(tuple),
)
def test_no_host_root_or_proc_is_ever_a_source(mode: str, env: dict[str, str], argv: tuple[str, ...]) -> None:
    command = Command(argv=argv, env=env)

    plan = build_command_plan(tier_c_spec(workspace_mode=mode), MERGED, command)

    rest = list(plan.args)
    for _ in env:
        at = rest.index("--setenv")
        del rest[at : at + 3]
    sources = [rest[at + 1] for at, word in enumerate(rest) if word in ("--bind", "--ro-bind", "--dev-bind")]
    assert set(sources) <= {"/usr", "/lib64", "/etc/ld.so.cache", "/etc/ssl/certs"}
    assert "--share-net" not in rest


FORBIDDEN = {"preexec_fn", "shell", "capture_output"}


def test_no_process_is_started_in_a_dangerous_way() -> None:
    package = Path(next(iter(sandbox.runners.__path__))).parent
    keywords = {
        keyword.arg
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
    }

    assert keywords.isdisjoint(FORBIDDEN)
    assert "pass_fds" in keywords


def test_the_launcher_stays_small_and_imports_only_the_standard_library() -> None:
    runners = Path(next(iter(sandbox.runners.__path__)))
    own = {"launcher", "procfs", "landlock", "beneath", "builtin_fs"}
    for name in own:
        tree = ast.parse((runners / f"{name}.py").read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sandbox"):
                assert {alias.name for alias in node.names} <= own or node.module in _modules(own)
            modules = _imported(node)
            assert modules <= _STANDARD, name
    assert len((runners / "launcher.py").read_text().splitlines()) <= 500


def _modules(names: set[str]) -> set[str]:
    return {f"sandbox.runners.{name}" for name in names}


def _imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {(node.module or "").split(".")[0]} - {"sandbox"}
    return set()


_STANDARD = set(__import__("sys").stdlib_module_names)
