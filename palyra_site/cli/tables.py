"""Tables for a terminal. Apart, because rich is slow to load and only a terminal needs it."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_FOLDED = 8
_ID = re.compile(r"[a-z]{2,4}_[0-9A-Z]{26}")


def draw(header: Sequence[str], rows: list[Sequence[str]], *, encoding: str | None, colors: bool) -> str:
    """Return a table fitted to the terminal: ids are never cut, other columns fold.

    Cells must be free of control characters. Without a UTF encoding the lines are ASCII.
    """
    unicode = (encoding or "").lower().startswith("utf")
    table = Table(box=box.SIMPLE_HEAD if unicode else box.ASCII, show_edge=False, pad_edge=False)
    for at, name in enumerate(header):
        whole = _is_whole(name, rows, at)
        table.add_column(Text(name), no_wrap=whole, overflow="ignore" if whole else "fold")
    for row in rows:
        table.add_row(*(Text(value) for value in row))
    target = io.StringIO()
    console = Console(
        file=target,
        width=max(shutil.get_terminal_size().columns, _narrowest(header, rows)),
        force_terminal=colors,
        no_color=not colors,
        highlight=False,
        emoji=False,
    )
    console.print(table)
    return target.getvalue()


def _is_whole(name: str, rows: list[Sequence[str]], at: int) -> bool:
    """Tell whether a column is never folded: it is made of ids, by its name or by what is in it."""
    if name in {"id", "field"} or name.endswith(("_id", ".id")):
        return True
    cells = [row[at] for row in rows if row[at]]
    return bool(cells) and all(_ID.fullmatch(cell) for cell in cells)


def _narrowest(header: Sequence[str], rows: list[Sequence[str]]) -> int:
    """Return the width below which ids would be cut."""
    widths = [
        max(len(name), *(len(row[at]) for row in rows), 0) if _is_whole(name, rows, at) else _FOLDED
        for at, name in enumerate(header)
    ]
    return sum(widths) + 3 * len(widths)
