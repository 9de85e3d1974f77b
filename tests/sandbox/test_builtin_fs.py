"""`fs.*` beneath a workspace root that an adversary may have prepared."""

from __future__ import annotations

import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from sandbox.runners import beneath, builtin_fs
from tests.sandbox.process_builders import Sandbox, files_spec, marker

pytestmark = pytest.mark.sandbox


def test_a_file_is_written_read_and_listed(box: Sandbox) -> None:
    written = box.files("fs.write", path="notes.md", content="grüße\n")
    read = box.files("fs.read", path="./notes.md")
    listed = box.files("fs.list", path="")

    assert written.output == {"path": "notes.md", "bytes": 8, "created": True}
    assert read.output == {
        "path": "notes.md",
        "content": "grüße\n",
        "encoding": "utf-8",
        "bytes": 8,
        "truncated": False,
    }
    assert listed.output is not None
    assert listed.output["entries"] == [{"path": "notes.md", "type": "file", "bytes": 8}]
    assert (written.executor, written.sandbox_enforcement) == ("builtin_fs", "none")


def test_a_written_file_belongs_to_the_sandbox_s_uid(box: Sandbox) -> None:
    box.files("fs.write", path="a", content="b")

    facts = (box.workspace / "a").stat()
    assert facts.st_uid == box.pool.options.sandbox_uid
    assert stat.S_IMODE(facts.st_mode) == 0o644


def test_replacing_keeps_the_mode_and_leaves_no_temporary_file(box: Sandbox) -> None:
    box.files("fs.write", path="tool.sh", content="one")
    (box.workspace / "tool.sh").chmod(0o755)

    outcome = box.files("fs.write", path="tool.sh", content="two")

    assert outcome.output == {"path": "tool.sh", "bytes": 3, "created": False}
    assert [path.name for path in box.workspace.iterdir()] == ["tool.sh"]
    assert stat.S_IMODE((box.workspace / "tool.sh").stat().st_mode) == 0o755


def test_create_only_does_not_replace(box: Sandbox) -> None:
    box.files("fs.write", path="a", content="first")

    assert box.files("fs.write", path="a", content="second", create_only=True).error_code == "sandbox.exists"
    assert (box.workspace / "a").read_text() == "first"
    assert box.files("fs.write", path="b", content="second", create_only=True).status == "succeeded"


@pytest.mark.parametrize(
    ("path", "kind", "code"),
    [
        ("../canary", "WorkspaceScopeDenied", "sandbox.path_outside"),
        ("sub/../../canary", "WorkspaceScopeDenied", "sandbox.path_outside"),
        ("/etc/passwd", "WorkspaceScopeDenied", "sandbox.path_outside"),
        ("link", "WorkspaceScopeDenied", "sandbox.symlink_in_path"),
        ("linked/canary", "WorkspaceScopeDenied", "sandbox.symlink_in_path"),
        ("a\0b", "InvalidInput", "sandbox.path_invalid"),
        ("", "InvalidInput", "sandbox.path_invalid"),
        ("x" * 256, "InvalidInput", "sandbox.path_invalid"),
        ("x/" * 600, "InvalidInput", "sandbox.path_invalid"),
        ("\ud800", "InvalidInput", "sandbox.path_invalid"),
        (".palyra-x", "WorkspaceScopeDenied", "sandbox.path_protected"),
        (".PALYRA-x", "WorkspaceScopeDenied", "sandbox.path_protected"),
        (".env", "WorkspaceScopeDenied", "sandbox.path_protected"),
        (".ENV.local", "WorkspaceScopeDenied", "sandbox.path_protected"),
        ("sub//.ssh/./id", "WorkspaceScopeDenied", "sandbox.path_protected"),
        (".\uff45nv", "WorkspaceScopeDenied", "sandbox.path_protected"),
        ("sub/missing/file", "RuntimeFailure", "sandbox.not_found"),
        ("file/below", "RuntimeFailure", "sandbox.not_a_directory"),
        ("sub", "RuntimeFailure", "sandbox.not_a_file"),
        ("pipe", "RuntimeFailure", "sandbox.not_a_file"),
        ("socket", "RuntimeFailure", "sandbox.not_a_file"),
    ],
)
@pytest.mark.parametrize("tool", ["fs.read", "fs.write"])
def test_a_bad_path_is_refused_and_nothing_changes(
    box: Sandbox, tool: str, path: str, kind: str, code: str
) -> None:
    text = _prepare_hostile(box.workspace)
    before = sorted(box.workspace.rglob("*"))

    outcome = box.files(tool, path=path, content="bad")

    assert (outcome.error_kind, outcome.error_code) == (kind, code)
    assert (box.workspace.parent / "canary").read_text() == text
    assert sorted(box.workspace.rglob("*")) == before


def _prepare_hostile(root: Path) -> str:
    canary = root.parent / "canary"
    canary.write_text(text := marker())
    canary.chmod(0o666)
    (root / "sub").mkdir()
    (root / "file").write_text("x")
    (root / "link").symlink_to(canary)
    (root / "linked").symlink_to(root.parent)
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
    for name in ("sub", "file", "pipe", "socket"):
        (root / name).chmod(0o777)
    return text


@pytest.mark.parametrize(
    "path", [".git/hooks/pre-commit", ".github/workflows/ci.yml", ".bashrc", "a/.GIT/config"]
)
def test_what_is_only_write_protected_can_be_read(box: Sandbox, path: str) -> None:
    target = box.workspace / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("old")

    assert box.files("fs.write", path=path, content="bad").error_code == "sandbox.path_protected"
    assert target.read_text() == "old"
    read = box.files("fs.read", path=path)
    assert read.output is not None
    assert read.output["content"] == "old"


def test_a_read_only_workspace_is_not_written(box: Sandbox) -> None:
    outcome = box.files("fs.write", files_spec(workspace_mode="bind_ro"), path="a", content="b")

    assert outcome.error_code == "sandbox.workspace_read_only"
    assert list(box.workspace.iterdir()) == []


def test_a_file_over_the_limit_is_not_written(box: Sandbox) -> None:
    outcome = box.files("fs.write", files_spec(max_file_bytes=10), path="a", content="x" * 11)

    assert (outcome.error_kind, outcome.error_code) == ("QuotaExceeded", "sandbox.quota_file_size")
    assert list(box.workspace.iterdir()) == []


def test_reading_is_bounded_and_cuts_between_characters(box: Sandbox) -> None:
    (box.workspace / "long").write_text("é" * 100)

    outcome = box.files("fs.read", path="long", max_bytes=5)

    assert outcome.output is not None
    assert (outcome.output["content"], outcome.output["truncated"], outcome.output["bytes"]) == (
        "éé",
        True,
        200,
    )


def test_bytes_that_are_not_text_come_as_base64(box: Sandbox) -> None:
    (box.workspace / "raw").write_bytes(b"\xff\x00")

    outcome = box.files("fs.read", path="raw")

    assert outcome.output is not None
    assert (outcome.output["encoding"], outcome.output["content"]) == ("base64", "/wA=")


def test_a_listing_is_bounded_in_depth_and_number_and_follows_nothing(box: Sandbox) -> None:
    (box.workspace / "a/b/c").mkdir(parents=True)
    (box.workspace / "z").symlink_to("/etc")

    flat = box.files("fs.list", path=".")
    deep = box.files("fs.list", path="", depth=4)
    few = box.files("fs.list", path="", depth=4, limit=2)

    assert _paths(flat.output) == ["a", "z"]
    assert _paths(deep.output) == ["a", "a/b", "a/b/c", "z"]
    assert few.output is not None
    assert (_paths(few.output), few.output["truncated"]) == (["a", "a/b"], True)


def _paths(output: object) -> list[str]:
    assert isinstance(output, dict)
    return [entry["path"] for entry in output["entries"]]


def test_without_a_workspace_there_is_nothing_to_read(box: Sandbox) -> None:
    outcome = Sandbox(box.pool, box.workspace / "missing").files("fs.list", path="")

    assert (outcome.error_kind, outcome.error_code) == (
        "WorkspaceScopeDenied",
        "sandbox.workspace_unavailable",
    )


def test_a_parent_swapped_for_a_symlink_never_leads_outside(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    (root / "sub").mkdir(parents=True)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            os.rename(root / "sub", root / "kept")
            os.symlink(outside, root / "sub")
            os.unlink(root / "sub")
            os.rename(root / "kept", root / "sub")

    thread = threading.Thread(target=swap)
    thread.start()
    descriptor = os.open(root, os.O_PATH | os.O_DIRECTORY)
    request = {
        "tool": "fs.write",
        "input": {"path": "sub/file", "content": "x"},
        "writable": True,
        "max_file_bytes": 10,
    }
    written = tries = 0
    try:
        while tries < 500 or (not written and tries < 50_000):
            written += "ok" in builtin_fs.answer_to(descriptor, request)
            tries += 1
    finally:
        stop.set()
        thread.join()
        os.close(descriptor)

    assert written
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("opener", [beneath.open_beneath, beneath.walk_beneath])
def test_both_ways_of_opening_agree(tmp_path: Path, opener: object) -> None:
    assert callable(opener)
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/file").write_text("x")
    (tmp_path / "link").symlink_to("dir")
    root = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    try:
        os.close(opener(root, "dir/file", os.O_RDONLY))
        os.close(opener(root, "", os.O_PATH))
        for path, code in (
            ("link/file", 40),
            ("link", 40),
            ("../x", 18),
            ("dir/none", 2),
            ("dir/file/x", 20),
        ):
            with pytest.raises(OSError) as caught:  # noqa: PT011  # the number is compared below
                opener(root, path, os.O_RDONLY)
            assert caught.value.errno == code, path
    finally:
        os.close(root)
