"""`palyra posture`: always allow, ask each time or disabled, by tool and scope."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from palyra_site.cli.arguments import All, Cursor, IfMatch, Limit, Reason, require_id
from palyra_site.cli.commands import posture_presets, recommendations
from palyra_site.cli.listing import write_list
from palyra_site.cli.scopes import Scope, required_scope, scope_of
from palyra_site.cli.session import Session, current
from palyra_site.cli.spans import time_after

app = typer.Typer(help="Postures: what a tool may do without asking.", no_args_is_help=True)
app.add_typer(posture_presets.app, name="preset")
app.add_typer(recommendations.app, name="recommend")

COLUMNS = ("tool", "state", "source_scope", "explicit", "risk", "lock_reason", "override.expires_at")
EVENTS = ("id", "at", "action", "tool", "scope_kind", "scope_id", "previous_state", "new_state", "actor")
Tool = Annotated[str, typer.Argument(metavar="TOOL", help="Name of the tool.")]


class State(StrEnum):
    ALWAYS_ALLOW = "always_allow"
    ASK_EACH_TIME = "ask_each_time"
    DISABLED = "disabled"


@app.command("list", epilog="Example: palyra posture list --scope global")
def list_(ctx: typer.Context, *, scope: Scope = None) -> None:
    """List what the posture of every tool comes to in a scope."""
    session = current(ctx)
    write_list(session, session.api.posture, scope_of(scope), COLUMNS, everything=False)


@app.command(epilog="Example: palyra posture show http.fetch --agent agt_01JD2Q8ZV0C3M4N5P6R7S8T9VW")
def show(
    ctx: typer.Context,
    *,
    tool: Tool,
    scope: Scope = None,
    agent: Annotated[str | None, typer.Option("--agent", help="agt_…; the same as --scope agent:ID.")] = None,
) -> None:
    """Show one tool in a scope: its state, the chain that leads to it, and what locks it."""
    session = current(ctx)
    where = scope_of(f"agent:{require_id('agt', agent)}" if agent else scope)
    answer = session.elevated(lambda: session.api.posture.in_scope(tool, where))
    session.output.one(answer.text, answer.data)


@app.command(
    "set",
    epilog="Example: palyra posture set fs.write --state disabled --scope global --reason incident --yes",
)
def set_(
    ctx: typer.Context,
    *,
    tool: Tool,
    state: Annotated[State, typer.Option("--state", help="What it is to be.")],
    reason: Reason,
    scope: Scope = None,
    expires: Annotated[
        str | None, typer.Option("--expires", help="When it ends: 12h, 30d, or a time.")
    ] = None,
    fixed: Annotated[
        bool, typer.Option("--fixed", help="No narrower scope may allow what this asks.")
    ] = False,
    if_match: IfMatch = None,
) -> None:
    """Show what would change, ask, and set the posture of a tool in one scope."""
    session = current(ctx)
    now = datetime.fromtimestamp(session.world.clock(), UTC)
    where = required_scope(scope)
    body: dict[str, Any] = {
        **where,
        "state": state.value,
        "reason": reason,
        "overridable": not fixed,
        "expires_at": time_after("--expires", expires, now),
    }
    session.require_consent()
    tag = if_match or _shown(session, tool, where, state.value)
    session.confirm(f"Set {tool} to {state.value} in {scope}?")
    answer = session.elevated(lambda: session.api.posture.put(tool, body, if_match=tag))
    session.output.one(answer.text, answer.data)


@app.command(epilog="Example: palyra posture clear fs.write --scope global --yes")
def clear(
    ctx: typer.Context,
    *,
    tool: Tool,
    scope: Scope = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; it is recorded.")] = None,
    if_match: IfMatch = None,
) -> None:
    """Take the override of a tool in one scope away; broader scopes and the default decide again."""
    session = current(ctx)
    where = required_scope(scope)
    session.require_consent()
    tag = if_match or _shown(session, tool, where, "(no override)")
    session.confirm(f"Clear {tool} in {scope}?")
    session.elevated(lambda: session.api.posture.clear(tool, where, reason=reason, if_match=tag))
    session.say(f"cleared {tool} in {scope}")


@app.command(epilog='Example: palyra posture reset --scope global --reason "back to the defaults" --yes')
def reset(ctx: typer.Context, *, reason: Reason, scope: Scope = None) -> None:
    """Take every override of one scope away, in one act that can be undone."""
    session = current(ctx)
    body = {**required_scope(scope), "reason": reason}
    session.confirm(f"Clear every override in {scope}?")
    key = session.new_key()
    answer = session.elevated(lambda: session.api.posture.reset(body, key=key))
    session.output.one(answer.text, answer.data, identity=answer.data.get("undo_id"))


@app.command(epilog="Example: palyra posture undo evt_01JD2Q8ZV0C3M4N5P6R7S8T9VW --yes")
def undo(
    ctx: typer.Context,
    *,
    event: Annotated[str, typer.Argument(metavar="EVENT", help="evt_… of `posture events`.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is recorded.")] = "",
) -> None:
    """Put back what one act changed, once, if nobody changed it since."""
    session = current(ctx)
    event_id = require_id("evt", event)
    session.confirm(f"Undo {event_id}?")
    key = session.new_key()
    body = {"reason": reason} if reason else {}
    answer = session.elevated(lambda: session.api.posture.undo(event_id, body, key=key))
    session.output.one(answer.text, answer.data, identity=answer.data.get("undo_id"))


@app.command(epilog="Example: palyra posture events --tool fs.write")
def events(
    ctx: typer.Context,
    *,
    tool: Annotated[list[str] | None, typer.Option("--tool", help="Tool; may be repeated.")] = None,
    scope: Scope = None,
    limit: Limit = None,
    cursor: Cursor = None,
    all_: All = False,
) -> None:
    """List who changed which posture, when and why; newest first."""
    session = current(ctx)
    filters = {**scope_of(scope), "tool": tool, "limit": limit, "cursor": cursor}
    write_list(session, session.api.posture.events, filters, EVENTS, everything=all_)


def _shown(session: Session, tool: str, where: dict[str, str], wanted: str) -> str | None:
    """Write the difference to standard error and return the ETag of the override that stands there."""
    seen = session.elevated(lambda: session.api.posture.in_scope(tool, where))
    override = seen.data.get("override") or {}
    session.say(f"override: {override.get('state') or '(no override)'} -> {wanted}")
    session.say(f"effective now: {seen.data.get('state')} (from {seen.data.get('source_scope')})")
    return seen.headers.get("ETag")
