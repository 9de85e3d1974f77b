"""`palyra denials`: what was denied and is therefore not asked again for a day."""

from __future__ import annotations

from typing import Annotated

import typer

from palyra_site.cli.arguments import All, Cursor, Limit, Reason, require_id
from palyra_site.cli.listing import write_list, write_one
from palyra_site.cli.session import current

app = typer.Typer(help="Denials that are remembered.", no_args_is_help=True)

EXAMPLE = "dnl_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
COLUMNS = ("id", "agent", "subject_label", "approval_id", "created_at", "expires_at")
DenialId = Annotated[str, typer.Argument(metavar="ID", help="dnl_…")]


@app.command("list", epilog="Example: palyra denials list --tool fs.write")
def list_(
    ctx: typer.Context,
    *,
    agent: Annotated[str | None, typer.Option("--agent", help="Agent that asked.")] = None,
    tool: Annotated[str | None, typer.Option("--tool", help="Tool it asked for.")] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    all_: All = False,
) -> None:
    """List remembered denials, newest first. The same call of the same agent is denied without asking."""
    session = current(ctx)
    filters = {"agent": agent, "tool": tool, "limit": limit, "cursor": cursor}
    write_list(session, session.api.denials, filters, COLUMNS, everything=all_)


@app.command(epilog=f"Example: palyra denials show {EXAMPLE}")
def show(ctx: typer.Context, *, denial_id: DenialId) -> None:
    """Show a remembered denial and the request it came from."""
    session = current(ctx)
    write_one(session, session.api.denials, require_id("dnl", denial_id))


@app.command(epilog=f'Example: palyra denials forget {EXAMPLE} --reason "denied by mistake"')
def forget(ctx: typer.Context, *, denial_id: DenialId, reason: Reason) -> None:
    """Forget a denial, so that people are asked again. It allows nothing."""
    session = current(ctx)
    api = session.api.denials
    require_id("dnl", denial_id)
    session.confirm(f"Forget {denial_id}?")
    session.elevated(lambda: api.forget(denial_id, comment=reason))
    session.say(f"{denial_id} is forgotten")
