"""Arguments that several commands share: ids, list options, JSON input."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from palyra_site.cli.failures import UsageError
from palyra_site.cli.world import World

_COMMANDS = {
    "apr": "approvals show",
    "grt": "grants show",
    "dnl": "denials show",
    "bgr": "break-glass list",
    "call": "calls show",
    "run": "runs show",
    "tok": "tokens show",
    "agt": "agents show",
    "usr": "users show",
    "wsp": "workspaces members",
    "pol": "policy show",
    "job": "jobs show",
    "whk": "webhooks show",
    "ses": "labels show",
    "frz": "freeze list",
}
_TOKEN = re.compile(r"(?<![0-9A-Za-z])(plr|pli|whsec)_[0-9A-Za-z+/=_-]{4,}")
_AGO = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_MOST_INPUT = 1_048_576

Limit = Annotated[int | None, typer.Option("--limit", min=1, max=200, help="Items of one page.")]
Cursor = Annotated[str | None, typer.Option("--cursor", help="Where to go on: next_cursor of a page.")]
All = Annotated[bool, typer.Option("--all", help="All pages; JSON comes as one object a line.")]
Since = Annotated[str | None, typer.Option("--since", help="RFC 3339, a date, or an age such as 2h or 7d.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is recorded.")]
IfMatch = Annotated[
    str | None, typer.Option("--if-match", help="ETag of the version to change; without it, the present one.")
]
Until = Annotated[str | None, typer.Option("--until", help="Like --since; exclusive.")]


def refuse_tokens(argv: Iterable[str]) -> None:
    """Refuse a command line that holds a token, because other users can read it. Never repeats it."""
    if any(_TOKEN.search(argument) for argument in argv):
        raise UsageError(
            "An argument looks like a token; everybody on this machine can read command lines.",
            hint="put it into PALYRA_TOKEN or a file, and revoke it if it is real",
        )


def refuse_undecodable(argv: Iterable[str]) -> None:
    """Refuse arguments that were no text in this terminal's encoding: they could not be sent."""
    if any("\ud800" <= character <= "\udfff" for argument in argv for character in argument):
        raise UsageError("An argument is no text in the encoding of this terminal.")


def require_id(prefix: str, text: str) -> str:
    """Return `text` when it is an id of this kind, or raise UsageError that names the right command."""
    from kernel.ids import is_id

    if is_id(prefix, text):
        return text
    kind = text.partition("_")[0]
    if kind != prefix and is_id(kind, text):
        command = _COMMANDS.get(kind)
        raise UsageError(
            f"{text} is not an id of the form {prefix}_….",
            hint=f"palyra {command} {text}" if command else None,
        )
    raise UsageError(f"{text} is not a whole id of the form {prefix}_… with 26 capitals and digits.")


def point_in_time(text: str | None, now: datetime) -> str | None:
    """Return RFC 3339 in UTC for a timestamp, a date (local midnight) or an age, or raise UsageError."""
    if text is None:
        return None
    age = _AGO.fullmatch(text)
    try:
        moment = now - _age(age) if age else datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{text} is no time: use RFC 3339, a date, or an age such as 2h or 7d.") from error
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _age(match: re.Match[str]) -> timedelta:
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def window(world: World, since: str | None, until: str | None) -> dict[str, str | None]:
    """Return the filters of a time window."""
    now = datetime.fromtimestamp(world.clock(), UTC)
    return {"since": point_in_time(since, now), "until": point_in_time(until, now)}


def tool_input(parts: Sequence[str], world: World) -> dict[str, Any]:
    """Return the input of a tool from `@file`, `-` (standard input) or KEY=VALUE pairs.

    In a pair the value is JSON when it reads as JSON, otherwise text; KEY==VALUE is always text.
    """
    if len(parts) == 1 and (parts[0] == "-" or parts[0].startswith("@")):
        return _object(read_source(parts[0], world))
    found: dict[str, Any] = {}
    for part in parts:
        name, value = _pair(part)
        if name in found:
            raise UsageError(f"--input names {name} twice.")
        found[name] = value
    return found


def read_source(source: str, world: World) -> str:
    """Return the text of `-` (standard input) or `@file`, at most 1 MiB."""
    text = world.stdin.read(_MOST_INPUT + 1) if source == "-" else _read_file(Path(source[1:]))
    if len(text) > _MOST_INPUT:
        raise UsageError("The input is larger than 1 MiB.")
    return text


def parse_json(text: str) -> Any:
    """Return the JSON value of `text`; duplicate keys and NaN are refused as the server would."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"The input is not acceptable JSON: {error}") from error


def _object(text: str) -> dict[str, Any]:
    value = parse_json(text)
    if not isinstance(value, dict):
        raise UsageError("The input of a tool is a JSON object.")
    return value


def _pair(part: str) -> tuple[str, Any]:
    name, equals, value = part.partition("=")
    if not equals or not name:
        raise UsageError(f"--input takes @file, - or KEY=VALUE, not {part}.")
    if value.startswith("="):
        return name, value[1:]
    try:
        return name, parse_json(value)
    except UsageError:
        return name, value


def _read_file(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_MOST_INPUT + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as text.") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError("an object names a key twice")
    return dict(pairs)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")
