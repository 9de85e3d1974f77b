"""Where workspaces and run directories lie, and making a workspace that sandboxes can enter."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from django.conf import settings

from sandbox.runners.link import RunnerOptions

SYSTEM_ROOT = Path("/var/lib/palyra")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def sandbox_uid() -> int:
    """Return the host uid of sandboxes: the configured one under root, else the worker's own."""
    return int(settings.PALYRA_SANDBOX_UID) if os.geteuid() == 0 else os.geteuid()


def runner_options() -> RunnerOptions:
    """Return the pool's options with the configured uid, so that sandboxes own what is made here."""
    return RunnerOptions(uid=int(settings.PALYRA_SANDBOX_UID))


def workspaces_dir() -> Path:
    """Return the directory of workspace roots. Under root it lies outside the home, which stays closed."""
    return (
        Path(settings.PALYRA_WORKSPACES_DIR).resolve()
        if settings.PALYRA_WORKSPACES_DIR
        else _below("workspaces")
    )


def sandbox_dir() -> Path:
    """Return the directory of run directories."""
    return Path(settings.PALYRA_SANDBOX_DIR).resolve() if settings.PALYRA_SANDBOX_DIR else _below("sandbox")


def prepare_places() -> None:
    """Make both directories and their parents searchable for the sandbox's uid."""
    for directory in (workspaces_dir(), sandbox_dir()):
        _make_searchable(directory)
        os.chown(directory, sandbox_uid(), -1)


def create_workspace(name: str, seed: Mapping[str, bytes]) -> Path:
    """Create a workspace root with its first files, owned by the sandbox's uid; return its real path.

    An existing workspace is left as it is. A name outside `[a-z0-9_-]` or a seed path that is not plain
    and relative is a ValueError.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a workspace name: {name!r}")
    prepare_places()
    root = workspaces_dir() / name
    if root.exists():
        return root
    root.mkdir(mode=0o755)
    for path, content in seed.items():
        _plant(root, path, content)
    os.chown(root, sandbox_uid(), -1)
    return root


def _plant(root: Path, path: str, content: bytes) -> None:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        raise ValueError(f"not a relative path: {path!r}")
    directory = root
    for part in parts[:-1]:
        directory /= part
        directory.mkdir(mode=0o755, exist_ok=True)
        os.chown(directory, sandbox_uid(), -1)
    target = directory / parts[-1]
    target.write_bytes(content)
    os.chown(target, sandbox_uid(), -1)


def _below(name: str) -> Path:
    if os.geteuid() == 0:
        return SYSTEM_ROOT / str(settings.PALYRA_INSTANCE) / name
    return Path(settings.PALYRA_HOME) / name


def _make_searchable(directory: Path) -> None:
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o711)
        path.chmod(0o711)
