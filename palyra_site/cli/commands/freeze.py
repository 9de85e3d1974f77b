"""`palyra freeze`: stop everything of a scope at once, and let it start again."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from palyra_site.cli.arguments import All, Cursor, Limit, Reason, require_id
from palyra_site.cli.changes import act
from palyra_site.cli.failures import UsageError
from palyra_site.cli.listing import write_list
from palyra_site.cli.session import Session, current

app = typer.Typer(help="Keep agents, tools or everything from starting.", no_args_is_help=True)

COLUMNS = ("id", "state", "scope", "scope_id", "kill_running", "set_by", "set_at", "lifted_at", "reason")
SHORTEST_REASON = 10


class Scope(StrEnum):
    ALL = "all"
    AGENT = "agent"
    TOOL = "tool"
    SKILL = "skill"
    DEVICE = "device"
    RUN = "run"


class State(StrEnum):
    ACTIVE = "active"
    LIFTED = "lifted"


PREFIXES = {Scope.AGENT: "agt", Scope.DEVICE: "dev", Scope.RUN: "run"}
FreezeId = Annotated[str, typer.Argument(metavar="ID", help="frz_…")]


@app.command(
    "set",
    epilog='Example: palyra freeze set --scope tool --id fs.write --reason "it wrote outside" --stop-running',
)
def set_(
    ctx: typer.Context,
    *,
    reason: Reason,
    scope: Annotated[Scope, typer.Option("--scope", help="What to stop.")] = Scope.ALL,
    id_: Annotated[str | None, typer.Option("--id", help="Which agent, tool, skill, device or run.")] = None,
    stop_running: Annotated[
        bool, typer.Option("--stop-running", help="Kill what runs now; without it, it ends by itself.")
    ] = False,
) -> None:
    """Stop new calls of a scope and refuse its queued ones; for all of them the word is typed in full."""
    body = _wishes(scope, id_, reason)
    if stop_running:
        body["kill_running"] = True
    session = current(ctx)
    _ask(session, scope, id_, stop_running=stop_running)
    key = session.new_key()
    answer = session.elevated(lambda: session.api.freezes.create(body, key=key))
    session.output.one(answer.text, answer.data)


@app.command("list", epilog="Example: palyra freeze list --state active")
def list_(
    ctx: typer.Context,
    *,
    state: Annotated[State | None, typer.Option("--state", help="Only these.")] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    all_: All = False,
) -> None:
    """List freezes, newest first: what, since when, by whom and why."""
    session = current(ctx)
    filters = {"state": state.value if state else None, "limit": limit, "cursor": cursor}
    write_list(session, session.api.freezes, filters, COLUMNS, everything=all_)


@app.command(epilog='Example: palyra freeze lift frz_01JD2Q8ZV0C3M4N5P6R7S8T9VW --reason "agent fixed"')
def lift(ctx: typer.Context, *, freeze_id: FreezeId, reason: Reason) -> None:
    """Let a scope start again. A freeze of everything is lifted by another person than its setter."""
    session = current(ctx)
    act(session, session.api.freezes, require_id("frz", freeze_id), "lift", reason)


def _wishes(scope: Scope, id_: str | None, reason: str) -> dict[str, Any]:
    """Return the body, or raise UsageError before anything is sent."""
    if len(reason.strip()) < SHORTEST_REASON:
        raise UsageError(f"--reason needs at least {SHORTEST_REASON} characters.")
    if scope is Scope.ALL:
        if id_ is not None:
            raise UsageError("--id goes with a --scope that is not all.")
        return {"scope": "global", "reason": reason}
    if not id_:
        raise UsageError(f"--scope {scope.value} needs --id.")
    if scope in PREFIXES:
        require_id(PREFIXES[scope], id_)
    return {"scope": scope.value, "scope_id": id_, "reason": reason}


def _ask(session: Session, scope: Scope, id_: str | None, *, stop_running: bool) -> None:
    kills = " and kill what runs" if stop_running else ""
    if scope is Scope.ALL:
        session.confirm_by_name(f"Stop every agent in every workspace{kills}.", scope.value)
    else:
        session.confirm(f"Freeze {scope.value} {id_}{kills}?")
