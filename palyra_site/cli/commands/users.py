"""`palyra users`: the people of the instance. Every one of these asks for a fresh one-time code."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from palyra_site.cli import changes
from palyra_site.cli.arguments import All, Cursor, IfMatch, Limit, Reason, require_id
from palyra_site.cli.changes import typable
from palyra_site.cli.listing import write_list, write_one
from palyra_site.cli.once import Out, tell_once
from palyra_site.cli.roles import Holder, Role, grant, set_roles, workspace_id_of
from palyra_site.cli.session import Session, current
from palyra_site.cli.spans import time_after

app = typer.Typer(help="People, their standing and their roles.", no_args_is_help=True)

COLUMNS = ("id", "username", "display_name", "email", "state", "has_factor", "created_at")
EXAMPLE = "usr_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
UserId = Annotated[str, typer.Argument(metavar="ID", help="usr_…")]
Workspace = Annotated[str, typer.Option("--workspace", help="Workspace of the roles: id or slug.")]


@app.command("list", epilog="Example: palyra users list --otp-file ~/code")
def list_(
    ctx: typer.Context,
    *,
    username: Annotated[str | None, typer.Option("--username", help="This person only.")] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    all_: All = False,
) -> None:
    """List people, newest first."""
    session = current(ctx)
    filters = {"username": username, "limit": limit, "cursor": cursor}
    write_list(session, session.api.users, filters, COLUMNS, everything=all_)


@app.command(epilog=f"Example: palyra users show {EXAMPLE}")
def show(ctx: typer.Context, *, user_id: UserId) -> None:
    """Show a person."""
    session = current(ctx)
    write_one(session, session.api.users, require_id("usr", user_id))


@app.command(epilog="Example: palyra users create --username ada --email ada@example.com --role approver")
def create(
    ctx: typer.Context,
    *,
    username: Annotated[str, typer.Option("--username", help="Name to log in with.")],
    email: Annotated[str, typer.Option("--email", help="Address.")],
    display_name: Annotated[str | None, typer.Option("--display-name", help="Name to show.")] = None,
    role: Annotated[list[Role] | None, typer.Option("--role", help="Role to begin with; repeat it.")] = None,
    workspace: Workspace = "default",
    out: Out = None,
) -> None:
    """Create a person. The link that sets the password is told once: hand it over in private."""
    session = current(ctx)
    given = f" as {', '.join(role)} in {workspace}" if role else " without a role"
    session.confirm(f"Create {username} <{email}>{given}?")
    place = workspace_id_of(session, workspace) if role else ""
    body = {"username": username, "email": email, "display_name": display_name}
    key = session.new_key()
    made = tell_once(session, lambda: session.api.users.create(body, key=key), field="setup_link", out=out)
    grant(session, place, Holder("user", str(made.get("id"))), role or (), expires_at=None)


@app.command("set", epilog=f"Example: palyra users set {EXAMPLE} --email ada@example.com")
def set_(
    ctx: typer.Context,
    *,
    user_id: UserId,
    email: Annotated[str | None, typer.Option("--email", help="Address; empty clears it.")] = None,
    display_name: Annotated[
        str | None, typer.Option("--display-name", help="Name to show; empty clears it.")
    ] = None,
    if_match: IfMatch = None,
) -> None:
    """Show what would change, ask, and change it."""
    session = current(ctx)
    wanted = {"email": email, "display_name": display_name}
    given = {field: value for field, value in wanted.items() if value is not None}
    changes.edit(session, session.api.users, require_id("usr", user_id), given, if_match=if_match)


@app.command("set-role", epilog=f"Example: palyra users set-role {EXAMPLE} --role approver --expires 30d")
def set_role(
    ctx: typer.Context,
    *,
    user_id: UserId,
    role: Annotated[list[Role], typer.Option("--role", help="Role to hold; repeat it.")],
    workspace: Workspace = "default",
    expires: Annotated[str | None, typer.Option("--expires", help="End of new roles, such as 30d.")] = None,
) -> None:
    """Give a person exactly these roles in a workspace. Roles that stay keep their end."""
    session = current(ctx)
    holder = Holder("user", require_id("usr", user_id))
    set_roles(session, workspace, holder, role, time_after("--expires", expires, _now(session)))


@app.command(epilog=f'Example: palyra users disable {EXAMPLE} --reason "left the company"')
def disable(ctx: typer.Context, *, user_id: UserId, reason: Reason) -> None:
    """Stop a person: sessions end, tokens and agents are refused."""
    session = current(ctx)
    name = require_id("usr", user_id)
    changes.act_for_good(session, session.api.users, name, "disable", reason, label="username")


@app.command(epilog=f'Example: palyra users enable {EXAMPLE} --reason "back again" --yes')
def enable(ctx: typer.Context, *, user_id: UserId, reason: Reason) -> None:
    """Let a disabled person act again, with the roles they had."""
    session = current(ctx)
    changes.act(session, session.api.users, require_id("usr", user_id), "enable", reason)


@app.command("reset-factor", epilog=f'Example: palyra users reset-factor {EXAMPLE} --reason "phone lost"')
def reset_factor(ctx: typer.Context, *, user_id: UserId, reason: Reason, out: Out = None) -> None:
    """Take away a person's authenticator, password and sessions; tell a new setup link once."""
    session = current(ctx)
    name = require_id("usr", user_id)
    session.require_consent_by_name()
    if not session.options.yes:
        seen = session.elevated(lambda: session.api.users.show(name)).data
        session.confirm_by_name(f"Reset the authenticator of {name}.", typable(seen.get("username"), name))
    key = session.new_key()
    body = {"reason": reason}
    tell_once(
        session,
        lambda: session.api.users.act(name, "reset-factor", body, key=key),
        field="setup_link",
        out=out,
    )


def _now(session: Session) -> datetime:
    return datetime.fromtimestamp(session.world.clock(), UTC)
