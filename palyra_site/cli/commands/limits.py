"""`palyra tools limits`: how far tool calls of this workspace may go."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from palyra_site.cli.arguments import IfMatch, Reason, tool_input
from palyra_site.cli.exits import Exit
from palyra_site.cli.failures import CliError, UsageError
from palyra_site.cli.output import cell
from palyra_site.cli.session import current

app = typer.Typer(help="Limits of tool calls in this workspace.", no_args_is_help=True)


class Preset(StrEnum):
    DEFAULT = "default"
    MINIMAL = "minimal"


@app.command(epilog="Example: palyra tools limits show")
def show(ctx: typer.Context) -> None:
    """Show the limits, and the tools that are allowed."""
    session = current(ctx)
    answer = session.elevated(session.api.limits.read)
    session.output.one(answer.text, answer.data)


@app.command("set", epilog='Example: palyra tools limits set max_calls_per_run=64 --reason "long jobs" --yes')
def set_(
    ctx: typer.Context,
    *,
    values: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE…", help="Limits as `show` names them.")
    ] = None,
    preset: Annotated[Preset | None, typer.Option("--preset", help="Start from these values.")] = None,
    reason: Reason,
    if_match: IfMatch = None,
) -> None:
    """Show what would change, ask, and change it."""
    session = current(ctx)
    wanted = tool_input(values or [], session.world)
    if not wanted and preset is None:
        raise UsageError("Nothing to change was given.")
    session.require_consent()
    seen = session.elevated(session.api.limits.read)
    for name, value in wanted.items():
        session.say(f"{name}: {cell(seen.data.get(name))} -> {cell(value)}")
    if preset is not None:
        session.say(f"preset: {preset}")
    tag = if_match or seen.headers.get("ETag")
    if not tag:
        raise CliError("invalid_answer", "The server sent no version.", exit_code=Exit.INTERNAL)
    session.confirm("Change the limits?")
    body = wanted | {"reason": reason} | ({"preset": preset.value} if preset else {})
    answer = session.elevated(lambda: session.api.limits.edit(body, if_match=tag))
    session.output.one(answer.text, answer.data)
