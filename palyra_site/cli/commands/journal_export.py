"""`palyra journal export`: the sealed log as lines, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from palyra_site.cli.commands.journal import Out
from palyra_site.cli.exits import Exit
from palyra_site.cli.failures import CliError
from palyra_site.cli.session import current

TRAILER = "export_trailer"
CLOSING = "dev.palyra.journal.export_closed"


class Shape(StrEnum):
    JSONL = "jsonl"
    CLOUDEVENTS = "cloudevents"


def register(app: typer.Typer) -> None:
    """Add the command to `palyra journal`."""
    app.command(epilog="Example: palyra journal export -o journal.jsonl")(export)


def export(
    ctx: typer.Context,
    *,
    shape: Annotated[
        Shape, typer.Option("--format", help="Lines that can be verified, or CloudEvents.")
    ] = Shape.JSONL,
    out: Out = "-",
    first: Annotated[int | None, typer.Option("--from", min=0, help="Number of the first event.")] = None,
    last: Annotated[int | None, typer.Option("--to", min=0, help="Number of the last event.")] = None,
) -> None:
    """Take the sealed events away in the order of their numbers; the taking is recorded.

    Data comes along with a fresh one-time code and the permission to open it. The last line holds the
    signed checkpoint: `palyra journal verify --offline` checks the file. A file appears when it is whole.
    """
    from palyra_site.cli.exporting import target
    from palyra_site.cli.journal_api import journal_of

    session = current(ctx)
    if session.options.otp is not None:
        session.step_up(session.one_time_code())
    params = {"format": shape.value, "from": first, "to": last}
    taken = Taken()
    lines = taken.lines(journal_of(session).export(params))
    if out == "-":
        for line in lines:
            session.output.part(line)
        taken.require_whole()
    else:
        with target(Path(out)) as file:
            for line in lines:
                file.write(line)
            taken.require_whole()
    session.say(f"{taken.count} events" + ("" if out == "-" else f" in {out}"))
    for one in taken.trailer.get("absent") or ():
        if isinstance(one, dict) and one.get("why") != "outside":
            session.say(f"{one.get('why')}: {one.get('first_seq')} up to {one.get('end_seq')}")


@dataclass(slots=True)
class Taken:
    """How many events came, and the trailer behind them."""

    count: int = 0
    trailer: dict[str, Any] = field(default_factory=dict)
    _last: str = ""

    def lines(self, pieces: Iterable[bytes]) -> Iterator[str]:
        """Yield whole lines as the server wrote them, however they were cut on their way."""
        rest = b""
        for piece in pieces:
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                yield self._seen(line)
        if rest:
            raise _broken("The export ends within a line.")

    def require_whole(self) -> None:
        """Raise CliError `invalid_answer` unless the last line is a trailer that counts what came."""
        try:
            closing = json.loads(self._last)
        except ValueError:
            closing = None
        if isinstance(closing, dict) and closing.get("type") == CLOSING:
            closing = closing.get("data")
        if not isinstance(closing, dict) or closing.get("object") != TRAILER:
            raise _broken("The export ends without its trailer.")
        self.count -= 1
        if closing.get("count") != self.count:
            raise _broken("The export has another number of events than its trailer says.")
        self.trailer = closing

    def _seen(self, line: bytes) -> str:
        self.count += 1
        try:
            self._last = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _broken("The export is not UTF-8.") from error
        return self._last + "\n"


def _broken(detail: str) -> CliError:
    return CliError("invalid_answer", detail, exit_code=Exit.INTERNAL)
