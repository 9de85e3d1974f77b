"""The help of every command as one text. `python -m tests.cli.help` rewrites the committed one."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stdout
from pathlib import Path
from unittest.mock import patch

from palyra_site.cli.main import PROGRAM, command_tree

SNAPSHOT = Path(__file__).parent / "help.txt"


def help_pages() -> str:
    """Return every page under the line that prints it, 80 columns wide."""
    with patch.dict(os.environ, {"COLUMNS": "80"}):
        return "\n".join(_page(path) for path in [(), *paths_of(command_tree())])


def paths_of(command: object, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the path of every command below `command`, each group before its members."""
    found: list[tuple[str, ...]] = []
    for name, child in getattr(command, "commands", {}).items():
        found += [(*above, name), *paths_of(child, (*above, name))]
    return found


def _page(path: tuple[str, ...]) -> str:
    page = io.StringIO()
    with redirect_stdout(page):
        command_tree().main(args=[*path, "--help"], prog_name=PROGRAM, standalone_mode=False)
    return f"$ palyra {' '.join((*path, '--help'))}\n{page.getvalue()}"


if __name__ == "__main__":
    SNAPSHOT.write_text(help_pages())
