"""`palyra workspaces shares`: objects that one workspace opens to another."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from palyra_site.cli import changes
from palyra_site.cli.arguments import All, Cursor, Limit, require_id
from palyra_site.cli.listing import write_list
from palyra_site.cli.roles import workspace_id_of
from palyra_site.cli.session import current

app = typer.Typer(help="Agents, tools and skills open to another workspace.", no_args_is_help=True)

COLUMNS = ("id", "resource_kind", "resource_id", "access", "home_workspace_id", "workspace_id")
WORKSPACE = "wsp_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
SHARE = "shr_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
WorkspaceId = Annotated[str, typer.Argument(metavar="WORKSPACE", help="wsp_… or slug.")]


class Kind(StrEnum):
    AGENT = "agent"
    TOOL = "tool"
    SKILL = "skill"


class Access(StrEnum):
    READ = "read"
    USE = "use"


@app.command("list", epilog="Example: palyra workspaces shares list research")
def list_(
    ctx: typer.Context,
    *,
    workspace: WorkspaceId,
    limit: Limit = None,
    cursor: Cursor = None,
    all_: All = False,
) -> None:
    """List what a workspace is given and what it gives."""
    session = current(ctx)
    collection = session.api.workspaces.within(workspace_id_of(session, workspace), "shares")
    write_list(session, collection, {"limit": limit, "cursor": cursor}, COLUMNS, everything=all_)


@app.command(epilog=f"Example: palyra workspaces shares add {WORKSPACE} tool fs.read --access use")
def add(
    ctx: typer.Context,
    *,
    workspace: Annotated[str, typer.Argument(metavar="WORKSPACE", help="wsp_… that is given the object.")],
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="agent, tool or skill.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its id or name.")],
    access: Annotated[Access, typer.Option("--access", help="read or use.")] = Access.READ,
) -> None:
    """Open an object to another workspace, which you need not see: its id is enough."""
    session = current(ctx)
    place = require_id("wsp", workspace)
    body = {"resource_kind": kind.value, "resource_id": name, "access": access.value}
    collection = session.api.workspaces.within(place, "shares")
    changes.create(session, collection, body, f"Let {place} {access} the {kind} {name}?")


@app.command(epilog=f"Example: palyra workspaces shares remove research {SHARE} --yes")
def remove(
    ctx: typer.Context,
    *,
    workspace: WorkspaceId,
    share: Annotated[str, typer.Argument(metavar="SHARE", help="shr_…")],
) -> None:
    """Close a share, given or received."""
    session = current(ctx)
    share_id = require_id("shr", share)
    session.confirm(f"Close {share_id}?")
    collection = session.api.workspaces.within(workspace_id_of(session, workspace), "shares")
    session.elevated(lambda: collection.delete(share_id))
    session.say(f"closed {share_id}")
