"""`palyra workspaces teams`: named groups of people in one workspace."""

from __future__ import annotations

from typing import Annotated

import typer

from palyra_site.cli import changes
from palyra_site.cli.arguments import All, Cursor, Limit, require_id
from palyra_site.cli.listing import write_list
from palyra_site.cli.roles import workspace_id_of
from palyra_site.cli.session import current

app = typer.Typer(help="Teams: people who hold roles together.", no_args_is_help=True)

COLUMNS = ("id", "name", "members", "created_at")
TEAM, USER = "tm_01JD2Q8ZV0C3M4N5P6R7S8T9VW", "usr_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
WorkspaceId = Annotated[str, typer.Argument(metavar="WORKSPACE", help="wsp_… or slug.")]
TeamId = Annotated[str, typer.Argument(metavar="TEAM", help="tm_…")]
UserId = Annotated[str, typer.Argument(metavar="USER", help="usr_…")]


@app.command("list", epilog="Example: palyra workspaces teams list research")
def list_(
    ctx: typer.Context,
    *,
    workspace: WorkspaceId,
    limit: Limit = None,
    cursor: Cursor = None,
    all_: All = False,
) -> None:
    """List the teams of a workspace."""
    session = current(ctx)
    collection = session.api.workspaces.within(workspace_id_of(session, workspace), "teams")
    write_list(session, collection, {"limit": limit, "cursor": cursor}, COLUMNS, everything=all_)


@app.command(epilog='Example: palyra workspaces teams create research --name "On call"')
def create(
    ctx: typer.Context,
    *,
    workspace: WorkspaceId,
    name: Annotated[str, typer.Option("--name", help="Name, unique in the workspace.")],
) -> None:
    """Create a team without people and roles."""
    session = current(ctx)
    session.require_consent()
    collection = session.api.workspaces.within(workspace_id_of(session, workspace), "teams")
    changes.create(session, collection, {"name": name}, f"Create the team {name} in {workspace}?")


@app.command(epilog=f"Example: palyra workspaces teams add research {TEAM} {USER}")
def add(ctx: typer.Context, *, workspace: WorkspaceId, team: TeamId, user: UserId) -> None:
    """Put a person into a team, and so into its roles."""
    session = current(ctx)
    team_id, user_id = require_id("tm", team), require_id("usr", user)
    session.require_consent()
    teams = session.api.workspaces.within(workspace_id_of(session, workspace), "teams")
    collection = teams.within(team_id, "members")
    changes.create(session, collection, {"user": user_id}, f"Put {user_id} into {team_id}?")


@app.command(epilog=f"Example: palyra workspaces teams remove research {TEAM} {USER}")
def remove(ctx: typer.Context, *, workspace: WorkspaceId, team: TeamId, user: UserId) -> None:
    """Take a person out of a team, and so out of its roles."""
    session = current(ctx)
    team_id, user_id = require_id("tm", team), require_id("usr", user)
    session.require_consent_by_name()
    teams = session.api.workspaces.within(workspace_id_of(session, workspace), "teams")
    session.confirm_by_name(f"Take {user_id} out of {team_id}.", user_id)
    members = teams.within(team_id, "members")
    session.elevated(lambda: members.delete(user_id))
    session.say(f"removed {user_id} from {team_id}")
