"""`palyra auth access`: the registry of features, from the side of whoever keeps the server."""

from __future__ import annotations

import typer

from palyra_site.cli.commands import flags
from palyra_site.cli.exits import Exit
from palyra_site.cli.failures import CliError
from palyra_site.cli.listing import write_list
from palyra_site.cli.session import current

app = typer.Typer(help="Features: which are on, and for whom.", no_args_is_help=True)

BACKFILL = "manage.py access_backfill"


@app.command(epilog="Example: palyra auth access status --json")
def status(ctx: typer.Context) -> None:
    """List every feature and what it means for this workspace."""
    session = current(ctx)
    write_list(session, session.api.flags, {}, flags.COLUMNS, everything=False)


@app.command(epilog='Example: palyra auth access feature mcp on --stage pilot --reason "first trial" --yes')
def feature(
    ctx: typer.Context,
    *,
    key: flags.Key,
    switch: flags.OnOff,
    reason: flags.Why,
    stage: flags.ForStage = None,
    percent: flags.Percent = None,
    cascade: flags.Cascade = False,
) -> None:
    """Show what would change, ask, and switch a feature on or off."""
    wanted = flags.wishes(switch, reason, stage=stage, percent=percent, cascade=cascade)
    flags.change(current(ctx), key, wanted)


@app.command(epilog="Example: palyra auth access backfill --dry-run")
def backfill(
    ctx: typer.Context,
    *,
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would be done."),
) -> None:
    """Name the command that does it: the backfill runs on the server's machine only."""
    raise CliError(
        "unsupported",
        "The backfill runs on the server's machine.",
        exit_code=Exit.UNSUPPORTED,
        hint=f"{BACKFILL} --dry-run" if dry_run else BACKFILL,
    )
