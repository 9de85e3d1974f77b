"""`palyra tools`: what agents may propose."""

from __future__ import annotations

from typing import Annotated

import typer

from palyra_site.cli.listing import write_list
from palyra_site.cli.session import current

app = typer.Typer(help="Tools that agents may propose.", no_args_is_help=True)

COLUMNS = ("name", "tier", "risk", "posture", "enabled", "description")


@app.command("list", epilog="Example: palyra tools list -o json")
def list_(ctx: typer.Context) -> None:
    """List the tools of the catalog."""
    session = current(ctx)
    write_list(session, session.api.tools, {}, COLUMNS, everything=False)


@app.command(epilog="Example: palyra tools show fs.write")
def show(ctx: typer.Context, *, name: Annotated[str, typer.Argument(help="Name of the tool.")]) -> None:
    """Show a tool with its input schema, tier and posture."""
    session = current(ctx)
    answer = session.api.tools.show(name)
    session.output.one(answer.text, answer.data)
