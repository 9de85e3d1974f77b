"""`palyra approvals export`: requests with their answers, grants and events, to take away."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palyra_site.cli.arguments import Since, Until, window
from palyra_site.cli.commands.approvals import Risk, Status
from palyra_site.cli.session import current

if TYPE_CHECKING:
    from palyra_site.cli.connection import Answer

MOST_OF_A_PAGE = 5_000


class Shape(StrEnum):
    NDJSON = "ndjson"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Add the command to `palyra approvals`."""
    app.command(epilog="Example: palyra approvals export --since 30d --state denied -o denied.ndjson")(export)


def export(
    ctx: typer.Context,
    *,
    shape: Annotated[Shape, typer.Option("--format", help="Lines, or one document.")] = Shape.NDJSON,
    out: Annotated[
        str, typer.Option("--output", "-o", "--out", metavar="FILE", help="File (mode 0600); - is stdout.")
    ] = "-",
    state: Annotated[
        list[Status] | None, typer.Option("--state", "--status", help="State; may be repeated.")
    ] = None,
    risk: Annotated[list[Risk] | None, typer.Option("--risk", help="Risk; may be repeated.")] = None,
    agent: Annotated[str | None, typer.Option("--agent", help="Agent that asked.")] = None,
    run: Annotated[str | None, typer.Option("--run", help="run_…")] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, max=MOST_OF_A_PAGE, help="Records of one request.")
    ] = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """Take all requests of a time away, oldest first, each with its answers, grants and events.

    The last line counts them. A file appears when it is whole, or not at all.
    """
    from palyra_site.cli.exporting import Taken, pages, target, write_document, write_lines

    session = current(ctx)
    states = [] if Status.ALL in (state or ()) else [one.value for one in state or ()]
    filters: dict[str, Any] = {
        "state": states,
        "risk": [one.value for one in risk or ()],
        "agent": agent,
        "run": run,
        "limit": limit,
        **window(session.world, since, until),
    }

    def fetch(place: Mapping[str, Any]) -> Answer:
        return session.api.approvals.export({**filters, **place})

    taken = Taken(0, {})
    written = write_document if shape is Shape.JSON else write_lines
    if out == "-":
        written(pages(session, fetch, taken), taken, session.output.part)
        return
    with target(Path(out)) as file:
        written(pages(session, fetch, taken), taken, file.write)
    session.say(f"{taken.count} in {out}")
