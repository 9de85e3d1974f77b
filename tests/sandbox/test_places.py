from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from sandbox.runners import places


@pytest.fixture
def here(settings: Any, tmp_path: Path) -> Path:
    settings.PALYRA_WORKSPACES_DIR = str(tmp_path / "state/workspaces")
    settings.PALYRA_SANDBOX_DIR = str(tmp_path / "state/sandbox")
    return tmp_path.resolve()


def test_a_workspace_gets_its_seed_and_belongs_to_the_sandbox(here: Path) -> None:
    root = places.create_workspace("demo", {"a.txt": b"one", "sub/b.txt": b"two"})

    assert root == here / "state/workspaces/demo"
    assert (root / "sub/b.txt").read_bytes() == b"two"
    for path in (root, root / "a.txt", root / "sub", root / "sub/b.txt"):
        assert path.stat().st_uid == places.sandbox_uid()
    assert stat.S_IMODE((here / "state").stat().st_mode) == 0o711


def test_an_existing_workspace_is_left_alone(here: Path) -> None:
    root = places.create_workspace("demo", {"a.txt": b"one"})
    (root / "a.txt").write_bytes(b"changed")

    assert places.create_workspace("demo", {"a.txt": b"one"}) == root
    assert (root / "a.txt").read_bytes() == b"changed"


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "A", "x" * 65])
def test_a_bad_name_is_refused(here: Path, name: str) -> None:
    with pytest.raises(ValueError, match="workspace name"):
        places.create_workspace(name, {})


@pytest.mark.parametrize("path", ["", "/etc/x", "../x", "a/../../x"])
def test_a_bad_seed_path_is_refused(here: Path, path: str) -> None:
    with pytest.raises(ValueError, match="relative path"):
        places.create_workspace("demo", {path: b""})


def test_the_pool_runs_as_the_owner_of_the_workspaces(settings: Any) -> None:
    settings.PALYRA_SANDBOX_UID = 61_190

    assert places.runner_options().sandbox_uid == places.sandbox_uid()


def test_the_default_lies_outside_a_closed_home_under_root(settings: Any) -> None:
    settings.PALYRA_WORKSPACES_DIR = settings.PALYRA_SANDBOX_DIR = ""
    system = Path("/var/lib/palyra") / settings.PALYRA_INSTANCE
    base = system if os.geteuid() == 0 else Path(settings.PALYRA_HOME)

    assert places.workspaces_dir() == base / "workspaces"
    assert places.sandbox_dir() == base / "sandbox"
