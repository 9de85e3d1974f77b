"""`palyra agents`: programs that act for a person."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from palyra_site.cli import changes
from palyra_site.cli.arguments import All, Cursor, IfMatch, Limit, Reason, require_id
from palyra_site.cli.listing import write_list, write_one
from palyra_site.cli.session import current

app = typer.Typer(help="Agents: programs that act for a person.", no_args_is_help=True)

COLUMNS = ("id", "name", "state", "owner", "purpose", "created_at")
EXAMPLE = "agt_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
AgentId = Annotated[str, typer.Argument(metavar="ID", help="agt_…")]


class State(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"
    ARCHIVED = "archived"


@app.command("list", epilog="Example: palyra agents list --state active")
def list_(
    ctx: typer.Context,
    *,
    state: Annotated[list[State] | None, typer.Option("--state", help="State; may be repeated.")] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="usr_… that answers for them.")] = None,
    workspace: Annotated[str | None, typer.Option("--workspace", help="wsp_… they live in.")] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    all_: All = False,
) -> None:
    """List agents, newest first."""
    session = current(ctx)
    filters = {
        "state": [one.value for one in state or ()],
        "owner": owner,
        "workspace": workspace,
        "limit": limit,
        "cursor": cursor,
    }
    write_list(session, session.api.agents, filters, COLUMNS, everything=all_)


@app.command(epilog=f"Example: palyra agents show {EXAMPLE}")
def show(ctx: typer.Context, *, agent_id: AgentId) -> None:
    """Show an agent, its owner and its state."""
    session = current(ctx)
    write_one(session, session.api.agents, require_id("agt", agent_id))


@app.command(epilog="Example: palyra agents create --name nightly --owner usr_01JD2Q8ZV0C3M4N5P6R7S8T9VW")
def create(
    ctx: typer.Context,
    *,
    name: Annotated[str, typer.Option("--name", help="Name, unique in its workspace.")],
    owner: Annotated[str | None, typer.Option("--owner", help="usr_… that answers; default you.")] = None,
    purpose: Annotated[str | None, typer.Option("--purpose", help="What it is for.")] = None,
) -> None:
    """Register an agent under its human owner."""
    session = current(ctx)
    body = {"name": name, "owner": require_id("usr", owner) if owner else None, "purpose": purpose}
    changes.create(session, session.api.agents, body, f"Register the agent {name} of {owner or 'yourself'}?")


@app.command("set", epilog=f'Example: palyra agents set {EXAMPLE} --purpose "nightly reports"')
def set_(
    ctx: typer.Context,
    *,
    agent_id: AgentId,
    name: Annotated[str | None, typer.Option("--name", help="New name.")] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="usr_… that answers from now on.")] = None,
    purpose: Annotated[str | None, typer.Option("--purpose", help="What it is for.")] = None,
    if_match: IfMatch = None,
) -> None:
    """Show what would change, ask, and change it."""
    session = current(ctx)
    wanted = {"name": name, "owner": require_id("usr", owner) if owner else None, "purpose": purpose}
    given = {field: value for field, value in wanted.items() if value is not None}
    changes.edit(session, session.api.agents, require_id("agt", agent_id), given, if_match=if_match)


@app.command(epilog=f'Example: palyra agents suspend {EXAMPLE} --reason "odd calls" --yes')
def suspend(ctx: typer.Context, *, agent_id: AgentId, reason: Reason) -> None:
    """Stop an agent until it is resumed."""
    session = current(ctx)
    changes.act(session, session.api.agents, require_id("agt", agent_id), "suspend", reason)


@app.command(epilog=f'Example: palyra agents resume {EXAMPLE} --reason "looked into" --yes')
def resume(ctx: typer.Context, *, agent_id: AgentId, reason: Reason) -> None:
    """Let a suspended agent act again."""
    session = current(ctx)
    changes.act(session, session.api.agents, require_id("agt", agent_id), "resume", reason)


@app.command(epilog=f'Example: palyra agents archive {EXAMPLE} --reason "replaced"')
def archive(ctx: typer.Context, *, agent_id: AgentId, reason: Reason) -> None:
    """Put an agent out of use for good; its tokens end."""
    session = current(ctx)
    changes.act_for_good(
        session, session.api.agents, require_id("agt", agent_id), "archive", reason, label="name"
    )
