"""`palyra flags`: which features are on, for whom, and why not."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from palyra_site.cli.arguments import All, Cursor, IfMatch, Limit, require_id
from palyra_site.cli.changes import edit
from palyra_site.cli.listing import write_list
from palyra_site.cli.session import Session, current

app = typer.Typer(help="Feature flags.", no_args_is_help=True)

COLUMNS = ("id", "enabled", "stage", "percent", "here.enabled", "here.reason", "depends_on")
CHANGES = ("at", "actor", "before.enabled", "after.enabled", "after.stage", "after.percent", "reason")


class Switch(StrEnum):
    ON = "on"
    OFF = "off"


class Stage(StrEnum):
    LAB = "lab"
    INTERNAL = "internal"
    ADMIN_ONLY = "admin_only"
    PILOT = "pilot"
    GENERAL = "general"


Key = Annotated[str, typer.Argument(metavar="KEY", help="Name of the flag.")]
OnOff = Annotated[Switch, typer.Argument(metavar="on|off", help="How it is to stand.")]
Why = Annotated[str, typer.Option("--reason", help="Why, in 8 characters or more; it is recorded.")]
ForStage = Annotated[Stage | None, typer.Option("--stage", help="Who gets it while it is on.")]
Percent = Annotated[
    int | None, typer.Option("--percent", min=0, max=100, help="Part of the workspaces that get it.")
]
AllowIn = Annotated[
    list[str] | None, typer.Option("--allow-in", help="wsp_… of the stage pilot; may be repeated.")
]
Cascade = Annotated[bool, typer.Option("--cascade", help="Switch off what depends on it, too.")]


@app.command("list", epilog="Example: palyra flags list")
def list_(ctx: typer.Context) -> None:
    """List every flag, and what it means for this workspace."""
    session = current(ctx)
    write_list(session, session.api.flags, {}, COLUMNS, everything=False)


@app.command(epilog="Example: palyra flags show compat_api")
def show(ctx: typer.Context, *, key: Key) -> None:
    """Show one flag: how it is set, what it needs and what needs it."""
    session = current(ctx)
    answer = session.api.flags.show(key)
    session.output.one(answer.text, answer.data)


@app.command("set", epilog='Example: palyra flags set compat_api off --reason "no longer needed" --yes')
def set_(
    ctx: typer.Context,
    *,
    key: Key,
    switch: OnOff,
    reason: Why,
    stage: ForStage = None,
    percent: Percent = None,
    allow_in: AllowIn = None,
    cascade: Cascade = False,
    if_match: IfMatch = None,
) -> None:
    """Show what would change, ask, and switch a feature on or off."""
    wanted = wishes(switch, reason, stage=stage, percent=percent, allow_in=allow_in, cascade=cascade)
    change(current(ctx), key, wanted, if_match=if_match)


@app.command(epilog="Example: palyra flags history compat_api")
def history(
    ctx: typer.Context, *, key: Key, limit: Limit = None, cursor: Cursor = None, all_: All = False
) -> None:
    """List who changed a flag, when, how and why."""
    session = current(ctx)
    filters = {"limit": limit, "cursor": cursor}
    write_list(session, session.api.flag_history(key), filters, CHANGES, everything=all_)


def wishes(
    switch: Switch,
    reason: str,
    *,
    stage: Stage | None = None,
    percent: int | None = None,
    allow_in: list[str] | None = None,
    cascade: bool = False,
) -> dict[str, Any]:
    """Return the body of a change; what was not given is not sent and stays as it is."""
    given = {
        "enabled": switch is Switch.ON,
        "stage": stage.value if stage else None,
        "percent": percent,
        "workspaces": [require_id("wsp", one) for one in allow_in] if allow_in else None,
        "cascade": cascade or None,
        "reason": reason,
    }
    return {name: value for name, value in given.items() if value is not None}


def change(session: Session, key: str, wanted: dict[str, Any], *, if_match: str | None = None) -> None:
    """Show the difference, ask, and send it against the version that was shown."""
    edit(session, session.api.flags, key, wanted, if_match=if_match)
