"""The version of the command, in a module of its own so that `--version` loads nothing else."""

from __future__ import annotations

VERSION = "0.1.0"
