"""Whether this process may make cgroup v2 leaves with hard limits. Proved by making one."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def own_group(proc: Path = Path("/proc")) -> Path | None:
    """Return the directory of this process in the cgroup v2 tree, or None where there is none."""
    try:
        groups = (proc / "self/cgroup").read_text().splitlines()
        mounts = [line.split() for line in (proc / "self/mountinfo").read_text().splitlines()]
    except OSError:
        return None
    points = [mount[4] for mount in mounts if mount[mount.index("-") + 1] == "cgroup2"]
    paths = [line[3:] for line in groups if line.startswith("0::")]
    return Path(points[0]) / paths[0].lstrip("/") if points and paths else None


def delegated(group: Path | None = None) -> bool:
    """Tell whether a leaf with writable memory and process limits can be made and removed here."""
    group = group or own_group()
    if group is None:
        return False
    leaf = group / f"palyra-{secrets.token_hex(4)}"
    try:
        leaf.mkdir()
    except OSError:
        return False
    try:
        return all(os.access(leaf / name, os.W_OK) for name in ("memory.max", "pids.max", "cgroup.kill"))
    finally:
        with contextlib.suppress(OSError):
            leaf.rmdir()
