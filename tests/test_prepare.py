"""Making the environment removes nothing that it did not make."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "prepare.py"


@pytest.fixture
def prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Load the script for a checkout in `tmp_path`, with a venv that costs nothing to make."""
    spec = importlib.util.spec_from_file_location("prepare", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(module, "PYTHON", tmp_path / ".venv" / "bin" / "python")

    def make(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        binaries = Path(command[-1]) / "bin"
        binaries.mkdir()
        (binaries / "python").touch()
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(module.subprocess, "run", make)
    return module


def environment(at: Path, mark: str | None) -> Path:
    """Create a directory that looks like an environment; return a file in it that must survive."""
    (at / "bin").mkdir(parents=True)
    (at / "bin" / "python").touch()
    if mark is not None:
        (at / "palyra-venv").write_text(mark)
    kept = at / "kept"
    kept.touch()
    return kept


def test_an_environment_is_made_once(prepare: ModuleType, tmp_path: Path) -> None:
    prepare.make_venv()
    (tmp_path / ".venv" / "kept").touch()
    prepare.make_venv()
    assert (tmp_path / ".venv" / "kept").exists()


def test_a_linked_environment_of_another_checkout_is_left_alone(prepare: ModuleType, tmp_path: Path) -> None:
    kept = environment(tmp_path / "other" / ".venv", mark=str(tmp_path / "other" / ".venv"))
    (tmp_path / ".venv").symlink_to(kept.parent)
    with pytest.raises(SystemExit) as caught:
        prepare.make_venv()
    assert caught.value.code == 2
    assert kept.exists()


def test_an_environment_that_somebody_made_is_left_alone(prepare: ModuleType, tmp_path: Path) -> None:
    kept = environment(tmp_path / ".venv", mark=None)
    with pytest.raises(SystemExit) as caught:
        prepare.make_venv()
    assert caught.value.code == 2
    assert kept.exists()


@pytest.mark.parametrize("mark", ["/elsewhere/.venv", "unfinished"])
def test_a_moved_or_unfinished_environment_is_made_again(
    prepare: ModuleType, tmp_path: Path, mark: str
) -> None:
    left = environment(tmp_path / ".venv", mark=mark)
    prepare.make_venv()
    assert not left.exists()
    assert (tmp_path / ".venv" / "palyra-venv").read_text() == str(tmp_path / ".venv")
