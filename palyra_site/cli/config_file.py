"""Changes to the config file that leave the rest of it, comments too, as the person wrote it."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palyra_site.cli.failures import UsageError
from palyra_site.cli.private import read_private, write_private

Table = tuple[str, ...]
_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class _Block:
    """The lines of one table; the first of them is its header, except in the block of the root."""

    table: Table
    lines: list[str]


def load_config(path: Path) -> dict[str, Any]:
    """Return what the file says, or raise UsageError when it is not private or not TOML."""
    return _parsed(path, read_private(path))


def set_keys(path: Path, table: Table, values: Mapping[str, str | None]) -> None:
    """Set keys of one table, which is made if need be; None removes a key."""
    text = read_private(path) if path.exists() else ""
    expected = _parsed(path, text)
    target = expected
    for name in table:
        target = target.setdefault(name, {})
    for name, value in values.items():
        target.pop(name, None)
        if value is not None:
            target[name] = value
    _replace(path, _with_keys(text, table, values), expected)


def drop_table(path: Path, table: Table) -> None:
    """Remove one table with all its keys."""
    text = read_private(path)
    expected = _parsed(path, text)
    target = expected
    for name in table[:-1]:
        target = target[name]
    del target[table[-1]]
    kept = [block for block in _blocks(text) if block.table != table]
    _replace(path, _joined(kept), expected)


def _replace(path: Path, text: str, expected: dict[str, Any]) -> None:
    """Write `text` unless it says anything but `expected`: TOML has more forms than are edited here."""
    try:
        said = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        said = {}
    if _without_empty(said) != _without_empty(expected):
        raise UsageError(f"{path} is written in a way that cannot be changed safely; edit it by hand.")
    write_private(path.resolve(), text)


def _with_keys(text: str, table: Table, values: Mapping[str, str | None]) -> str:
    blocks = _blocks(text)
    block = next((one for one in blocks if one.table == table), None)
    if block is None:
        blocks.append(block := _Block(table, [_header(table)]))
    for name, value in values.items():
        _set_line(block, name, value)
    return _joined(blocks)


def _set_line(block: _Block, name: str, value: str | None) -> None:
    found = [at for at, line in enumerate(block.lines) if line.partition("=")[0].strip() == name]
    line = None if value is None else f"{name} = {_quoted(value)}"
    if found:
        block.lines[found[0] : found[0] + 1] = [] if line is None else [line]
    elif line is not None:
        block.lines.insert(_end(block), line)


def _end(block: _Block) -> int:
    """Return where a new key goes: after the last line that is not empty."""
    filled = [at for at, line in enumerate(block.lines) if line.strip()]
    return filled[-1] + 1 if filled else 0


def _blocks(text: str) -> list[_Block]:
    blocks = [_Block((), [])]
    for line in text.splitlines():
        table = _table_of(line)
        if table is not None:
            blocks.append(_Block(table, []))
        blocks[-1].lines.append(line)
    return blocks


def _table_of(line: str) -> Table | None:
    """Return the table a line opens, read by the same parser that reads the file."""
    if not line.lstrip().startswith("["):
        return None
    try:
        value: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return None
    names = []
    while isinstance(value, dict) and value:
        ((name, value),) = value.items()
        names.append(name)
    return tuple(names)


def _joined(blocks: list[_Block]) -> str:
    """Return the text with an empty line before every table."""
    texts = ["\n".join(block.lines).strip("\n") for block in blocks]
    return "\n\n".join(text for text in texts if text) + "\n"


def _header(table: Table) -> str:
    return "[" + ".".join(name if _BARE.fullmatch(name) else _quoted(name) for name in table) + "]"


def _quoted(value: str) -> str:
    """Return a TOML string; what JSON leaves as it is and TOML does not is refused."""
    if not value.isprintable():
        raise UsageError("A value of the config file must be printable text.")
    return json.dumps(value, ensure_ascii=False)


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}") from error


def _without_empty(value: Any) -> Any:
    """Return the same config without tables that hold nothing."""
    if not isinstance(value, dict):
        return value
    cleaned = {name: _without_empty(inner) for name, inner in value.items()}
    return {name: inner for name, inner in cleaned.items() if inner != {}}
