"""`palyra posture preset`: a stance for many tools at once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from palyra_site.cli.arguments import Reason
from palyra_site.cli.listing import write_list
from palyra_site.cli.options import Format
from palyra_site.cli.scopes import Scope, required_scope
from palyra_site.cli.session import Session, current
from palyra_site.cli.spans import time_after

app = typer.Typer(help="Presets: a stance for many tools at once.", no_args_is_help=True)

COLUMNS = ("id", "title", "description")
ROWS = ("tool", "current", "proposed", "changed", "loosens", "locked", "lock_reason")
PresetId = Annotated[str, typer.Argument(metavar="PRESET", help="Id of the preset.")]
Expires = Annotated[
    str | None, typer.Option("--expires", help="When what it allows ends: 12h, 30d, or a time.")
]


@app.command("list", epilog="Example: palyra posture preset list")
def list_(ctx: typer.Context) -> None:
    """List the presets."""
    session = current(ctx)
    write_list(session, session.api.posture.presets, {}, COLUMNS, everything=False)


@app.command(epilog="Example: palyra posture preset preview lockdown --scope global")
def preview(ctx: typer.Context, *, preset: PresetId, scope: Scope = None, expires: Expires = None) -> None:
    """Show what a preset would change in a scope; nothing is written."""
    session = current(ctx)
    body = _body(session, scope, expires)
    key = session.new_key()
    answer = session.elevated(lambda: session.api.posture.presets.act(preset, "preview", body, key=key))
    if session.output.format is Format.TABLE and not session.output.quiet:
        session.output.items(answer.data.get("rows") or (), ROWS)
    else:
        session.output.one(answer.text, answer.data)


@app.command(
    epilog='Example: palyra posture preset apply lockdown --scope global --reason "incident 12" --yes'
)
def apply(
    ctx: typer.Context, *, preset: PresetId, reason: Reason, scope: Scope = None, expires: Expires = None
) -> None:
    """Show what a preset would change, ask, and write it in one act that can be undone."""
    session = current(ctx)
    body = _body(session, scope, expires)
    session.require_consent()
    first, second = session.new_key("preview"), session.new_key("apply")
    presets = session.api.posture.presets
    seen = session.elevated(lambda: presets.act(preset, "preview", body, key=first)).data
    for row in seen.get("rows") or ():
        if row.get("changed"):
            session.say(f"{row.get('tool')}: {row.get('current')} -> {row.get('proposed')}")
    session.confirm(f"Apply {preset} in {scope}?")
    wanted = {**body, "reason": reason}
    answer = session.elevated(lambda: presets.act(preset, "apply", wanted, key=second))
    session.output.one(answer.text, answer.data, identity=answer.data.get("undo_id"))


def _body(session: Session, scope: str | None, expires: str | None) -> dict[str, Any]:
    now = datetime.fromtimestamp(session.world.clock(), UTC)
    end = time_after("--expires", expires, now)
    return {**required_scope(scope), **({"expires_at": end} if end else {})}
