"""Completion scripts of the shells, from the parser's own templates."""

from __future__ import annotations

from typing import Any

from typer.completion import get_completion_inspect_parameters, shell_complete

PROGRAM = "palyra"
VARIABLE = "_PALYRA_COMPLETE"


def teach_shells() -> None:
    """Register the parser's shell dialects; without an own completion option it knows none."""
    get_completion_inspect_parameters()


def print_script(tree: Any, shell: str) -> None:
    """Print the script that a shell sources to complete the commands of `tree`."""
    teach_shells()
    shell_complete(tree, {}, PROGRAM, VARIABLE, f"source_{shell}")
