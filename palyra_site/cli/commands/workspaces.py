"""`palyra workspaces`: boundaries between objects, and who holds which role in them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from palyra_site.cli import changes
from palyra_site.cli.arguments import All, Cursor, Limit, require_id
from palyra_site.cli.commands import shares, teams
from palyra_site.cli.exits import Exit
from palyra_site.cli.failures import CliError, UsageError
from palyra_site.cli.listing import write_list, write_one
from palyra_site.cli.once import Out, tell_once
from palyra_site.cli.roles import (
    COLUMNS as MEMBER_COLUMNS,
    Role,
    held_by,
    holder_of,
    set_roles,
    take_away,
    workspace_id_of,
)
from palyra_site.cli.session import Session, current
from palyra_site.cli.settings import checked_token
from palyra_site.cli.spans import days_of, time_after

app = typer.Typer(help="Workspaces, their members and teams.", no_args_is_help=True)
app.add_typer(teams.app, name="teams")
app.add_typer(shares.app, name="shares")

COLUMNS = ("id", "slug", "name", "built_in", "archived_at")
INVITATIONS = ("id", "email", "role", "state", "expires_at", "invited_by")
INVITATION = "inv_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
USER = "usr_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
WorkspaceId = Annotated[str, typer.Argument(metavar="WORKSPACE", help="wsp_… or slug.")]
HolderId = Annotated[str, typer.Argument(metavar="HOLDER", help="usr_… or tm_….")]


@app.command("list", epilog="Example: palyra workspaces list")
def list_(ctx: typer.Context, *, limit: Limit = None, cursor: Cursor = None, all_: All = False) -> None:
    """List the workspaces you can see."""
    session = current(ctx)
    write_list(session, session.api.workspaces, {"limit": limit, "cursor": cursor}, COLUMNS, everything=all_)


@app.command(epilog='Example: palyra workspaces create research --name "Research"')
def create(
    ctx: typer.Context,
    *,
    slug: Annotated[str, typer.Argument(metavar="SLUG", help="Short name in addresses; it stays.")],
    name: Annotated[str, typer.Option("--name", help="Name to show.")],
) -> None:
    """Create a workspace; you are its first owner."""
    session = current(ctx)
    body = {"slug": slug, "name": name}
    changes.create(session, session.api.workspaces, body, f"Create the workspace {slug}?")


@app.command(epilog="Example: palyra workspaces show default")
def show(ctx: typer.Context, *, workspace: WorkspaceId) -> None:
    """Show a workspace."""
    session = current(ctx)
    write_one(session, session.api.workspaces, workspace_id_of(session, workspace))


@app.command(epilog="Example: palyra workspaces archive research")
def archive(ctx: typer.Context, *, workspace: WorkspaceId) -> None:
    """Put a workspace out of use for good; its roles, agents and tokens stop counting."""
    session = current(ctx)
    session.require_consent_by_name()
    workspace_id = workspace_id_of(session, workspace)
    changes.act_for_good(session, session.api.workspaces, workspace_id, "archive", None, label="slug")


@app.command(epilog="Example: palyra workspaces members default")
def members(
    ctx: typer.Context,
    *,
    workspace: WorkspaceId,
    limit: Limit = None,
    cursor: Cursor = None,
    all_: All = False,
) -> None:
    """List who holds which role, and until when."""
    session = current(ctx)
    collection = session.api.workspaces.within(workspace_id_of(session, workspace), "memberships")
    write_list(session, collection, {"limit": limit, "cursor": cursor}, MEMBER_COLUMNS, everything=all_)


@app.command(epilog="Example: palyra workspaces invite default --email ada@example.com --role approver")
def invite(
    ctx: typer.Context,
    *,
    workspace: WorkspaceId,
    email: Annotated[str, typer.Option("--email", help="Address of the person.")],
    role: Annotated[Role, typer.Option("--role", help="Role that is offered.")],
    expires: Annotated[str | None, typer.Option("--expires", help="Days it stands, such as 7d.")] = None,
    out: Out = None,
) -> None:
    """Offer a role. Whoever holds the invitation's text takes it up; it is told once."""
    session = current(ctx)
    days = days_of("--expires", expires)
    session.confirm(f"Invite {email} as {role} to {workspace}?")
    collection = session.api.workspaces.within(workspace_id_of(session, workspace), "invitations")
    body = {"email": email, "role": role.value, "expires_in_days": days}
    key = session.new_key()
    tell_once(session, lambda: collection.create(body, key=key), field="token", out=out)


@app.command(epilog="Example: palyra workspaces invitations default")
def invitations(
    ctx: typer.Context,
    *,
    workspace: WorkspaceId,
    limit: Limit = None,
    cursor: Cursor = None,
    all_: All = False,
) -> None:
    """List the invitations of a workspace; their texts are stored nowhere."""
    session = current(ctx)
    collection = session.api.workspaces.within(workspace_id_of(session, workspace), "invitations")
    write_list(session, collection, {"limit": limit, "cursor": cursor}, INVITATIONS, everything=all_)


@app.command(epilog=f"Example: palyra workspaces uninvite default {INVITATION} --yes")
def uninvite(
    ctx: typer.Context,
    *,
    workspace: WorkspaceId,
    invitation: Annotated[str, typer.Argument(metavar="INVITATION", help="inv_…")],
) -> None:
    """Withdraw an invitation; its text is worth nothing from then on."""
    session = current(ctx)
    invitation_id = require_id("inv", invitation)
    session.confirm(f"Withdraw {invitation_id}?")
    offers = session.api.workspaces.within(workspace_id_of(session, workspace), "invitations")
    session.elevated(lambda: offers.delete(invitation_id))
    session.say(f"withdrawn {invitation_id}")


@app.command(epilog="Example: palyra workspaces accept --token-stdin < invitation")
def accept(
    ctx: typer.Context,
    *,
    token_stdin: Annotated[
        bool, typer.Option("--token-stdin", help="Read the invitation from standard input.")
    ] = False,
) -> None:
    """Take up an invitation as the person whose token this is."""
    session = current(ctx)
    session.require_consent()
    text = _invitation(session, from_stdin=token_stdin)
    session.confirm("Take up this invitation?")
    key = session.new_key()
    answer = session.elevated(lambda: session.api.accept_invitation(text, key=key))
    session.output.one(answer.text, answer.data)


@app.command("set-role", epilog=f"Example: palyra workspaces set-role default {USER} --role operator")
def set_role(
    ctx: typer.Context,
    *,
    workspace: WorkspaceId,
    holder: HolderId,
    role: Annotated[list[Role], typer.Option("--role", help="Role to hold; repeat it.")],
    expires: Annotated[str | None, typer.Option("--expires", help="End of new roles, such as 30d.")] = None,
) -> None:
    """Give a person or team exactly these roles. Roles that stay keep their end."""
    session = current(ctx)
    now = datetime.fromtimestamp(session.world.clock(), UTC)
    set_roles(session, workspace, holder_of(holder), role, time_after("--expires", expires, now))


@app.command(epilog=f"Example: palyra workspaces remove default {USER} --role operator")
def remove(
    ctx: typer.Context,
    *,
    workspace: WorkspaceId,
    holder: HolderId,
    role: Annotated[
        list[Role] | None, typer.Option("--role", help="This role only; repeat it. Without it all.")
    ] = None,
) -> None:
    """Take roles in a workspace away from a person or team."""
    session = current(ctx)
    who = holder_of(holder)
    session.require_consent_by_name()
    workspace_id = workspace_id_of(session, workspace)
    held = held_by(session, workspace_id, who)
    found = [one for one in held if not role or one.get("role") in {wanted.value for wanted in role}]
    if not found:
        raise CliError("not_found", f"{holder} holds no such role there.", exit_code=Exit.NOT_FOUND)
    names = ", ".join(str(one.get("role")) for one in found)
    session.confirm_by_name(f"Take {names} in {workspace} away from {holder}.", workspace)
    take_away(session, workspace_id, found)


def _invitation(session: Session, *, from_stdin: bool) -> str:
    if not from_stdin and not session.interactive:
        raise UsageError("Nobody can be asked for the invitation.", hint="add --token-stdin")
    text = session.world.stdin.readline() if from_stdin else session.world.ask_secret("Invitation: ")
    if not text.strip():
        raise UsageError("The invitation is empty.")
    return checked_token(text.strip())
