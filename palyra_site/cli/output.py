"""Standard output: data only, in the format asked for, safe for a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TextIO

from palyra_site.cli.failures import PipeClosedError, UsageError
from palyra_site.cli.options import Format, Options
from palyra_site.cli.text import safe_json, visible, visible_lines
from palyra_site.cli.world import World

Fields = Iterable[tuple[str, Any]]
_TIME = re.compile(r"(^|[._])(at|hour)$")


@dataclass(frozen=True, slots=True)
class Output:
    """Writes results. `terminal`: standard output is one; `colors`: it may show colours."""

    stream: TextIO
    format: Format
    terminal: bool
    colors: bool
    quiet: bool
    columns: tuple[str, ...] | None

    def raw(self, text: str) -> None:
        """Write a body that is no JSON: as it is, or made harmless on a terminal."""
        self._write((visible_lines(text) if self.terminal else text).rstrip("\n") + "\n")

    def part(self, text: str) -> None:
        """Write a part of JSON that comes in parts, none of which ends inside a string."""
        self._write(safe_json(text) if self.terminal else text, utf8=True)

    def value(self, data: Mapping[str, Any]) -> None:
        """Write an object that was made here."""
        self.one(_compact(data), data)

    def body(self, text: str, value: object) -> None:
        """Write any JSON body: an object in the format asked for, else and by default as JSON."""
        if isinstance(value, dict) and self.format is not Format.TABLE:
            self.one(text, value)
        else:
            self._json(text)

    def one(
        self, text: str, data: Mapping[str, Any], fields: Fields | None = None, *, identity: object = None
    ) -> None:
        """Write one object. `text` is its JSON, `fields` the rows a person should see (default: all).

        `identity` is what --quiet prints of an object without an id of its own.
        """
        if self.quiet:
            self._write((visible(str(identity)) if identity else _identity(data)) + "\n")
        elif self.format in {Format.JSON, Format.NDJSON}:
            self._json(text)
        elif self.format is Format.YAML:
            self._write(_yaml(data))
        else:
            rows = fields if fields is not None and not self.columns else self._fields(data)
            self._table(("field", "value"), [(visible(name), cell(value, name)) for name, value in rows])

    def page(self, text: str, data: Mapping[str, Any], columns: tuple[str, ...]) -> None:
        """Write one page of a list: the API's list object, or its items."""
        if self.format is Format.JSON and not self.quiet:
            self._json(text)
        else:
            self.items(_items(data), columns)

    def items(self, items: Iterable[Mapping[str, Any]], columns: tuple[str, ...]) -> None:
        """Write items as they come: lines of JSON, ids, or a table."""
        if self.quiet:
            self._lines(_identity(item) for item in items)
        elif self.format in {Format.JSON, Format.NDJSON}:
            self._lines(safe_json(_compact(item)) for item in items)
        elif self.format is Format.YAML:
            self._write(_yaml(list(items)))
        else:
            header = self.columns or columns
            self._table(header, ([cell(pick(item, name), name) for name in header] for item in items))

    def _fields(self, data: Mapping[str, Any]) -> list[tuple[str, Any]]:
        if self.columns:
            return [(name, pick(data, name)) for name in self.columns]
        return list(flatten(data))

    def _json(self, text: str) -> None:
        self._write(safe_json(text.strip()) + "\n", utf8=True)

    def _lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._write(line + "\n", utf8=True)

    def _table(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        if self.terminal:
            from palyra_site.cli.tables import draw

            self._write(draw(header, list(rows), encoding=self.stream.encoding, colors=self.colors))
            return
        self._write("\t".join(header) + "\n")
        for row in rows:
            self._write("\t".join(row) + "\n")

    def _write(self, text: str, *, utf8: bool = False) -> None:
        try:
            binary = getattr(self.stream, "buffer", None)
            if utf8 and binary is not None:
                self.stream.flush()
                binary.write(text.encode("utf-8"))
                binary.flush()
            else:
                self.stream.write(text)
                self.stream.flush()
        except BrokenPipeError as error:
            raise PipeClosedError from error


def output_for(options: Options, world: World) -> Output:
    """Return the output these options and this terminal ask for, or raise UsageError."""
    terminal = world.stdout.isatty()
    return Output(
        stream=world.stdout,
        format=_format(options, world),
        terminal=terminal,
        colors=terminal and not options.no_color and colors_allowed(world),
        quiet=options.quiet,
        columns=_columns(options.columns),
    )


def wants_json(options: Options, world: World) -> bool:
    """Tell whether errors are to be written as JSON too."""
    return _format(options, world) in {Format.JSON, Format.NDJSON}


def colors_allowed(world: World) -> bool:
    """NO_COLOR, when not empty, and a dumb terminal forbid colours."""
    return not world.environ.get("NO_COLOR") and world.environ.get("TERM") != "dumb"


def flatten(data: Mapping[str, Any], prefix: str = "") -> Fields:
    """Yield `("decision.effect", "deny")`, …: nested objects by dotted names, in the server's order."""
    for name, value in data.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def pick(data: Mapping[str, Any], name: str) -> Any:
    """Return the value under a dotted name, None when any part is absent."""
    value: Any = data
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def cell(value: Any, name: str = "") -> str:
    """Return a value as one harmless line; times of columns named `at`, `hour` or `…_at` in local time."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return visible(_local_time(value) if _TIME.search(name) else value)
    return visible(_compact(value))


def _local_time(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return moment.astimezone().isoformat(" ", "seconds") if moment.tzinfo else text


def _format(options: Options, world: World) -> Format:
    if options.json:
        return Format.JSON
    if options.output:
        return options.output
    named = world.environ.get("PALYRA_OUTPUT", "")
    try:
        return Format(named) if named else Format.TABLE
    except ValueError as error:
        raise UsageError("PALYRA_OUTPUT is one of table, json, ndjson, yaml.") from error


def _columns(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise UsageError("--columns takes names separated by commas.")
    return names


def _items(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    items = data.get("data")
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _identity(item: Mapping[str, Any]) -> str:
    return visible(str(item.get("id") or item.get("name") or ""))


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _yaml(value: Any) -> str:
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=False))
