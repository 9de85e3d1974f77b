"""`palyra grants`: allows that cover more calls, and taking them back."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from palyra_site.cli.approval_words import aligned
from palyra_site.cli.arguments import All, Cursor, Limit, Reason, require_id
from palyra_site.cli.changes import typable
from palyra_site.cli.listing import write_list, write_one
from palyra_site.cli.session import current

app = typer.Typer(help="Grants: what people allowed beyond one call.", no_args_is_help=True)

EXAMPLE = "grt_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
COLUMNS = (
    "id",
    "state",
    "scope",
    "agent",
    "pattern_words",
    "uses",
    "uses_allowed",
    "expires_at",
    "stale_reason",
)
_TOLD = ("state", "scope", "agent", "pattern_words", "uses", "expires_at")
GrantId = Annotated[str, typer.Argument(metavar="ID", help="grt_…")]


class State(StrEnum):
    ACTIVE = "active"
    CONSUMED = "consumed"
    EXPIRED = "expired"
    REVOKED = "revoked"


@app.command("list", epilog="Example: palyra grants list --state active --tool fs.write")
def list_(
    ctx: typer.Context,
    *,
    state: Annotated[list[State] | None, typer.Option("--state", help="State; may be repeated.")] = None,
    agent: Annotated[str | None, typer.Option("--agent", help="Agent it was given to.")] = None,
    tool: Annotated[str | None, typer.Option("--tool", help="Tool it is about.")] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    all_: All = False,
) -> None:
    """List grants, newest first, with what each covers in words. A stale one covers nothing any more."""
    session = current(ctx)
    filters = {
        "state": [one.value for one in state or ()],
        "agent": agent,
        "tool": tool,
        "limit": limit,
        "cursor": cursor,
    }
    write_list(session, session.api.grants, filters, COLUMNS, everything=all_)


@app.command(epilog=f"Example: palyra grants show {EXAMPLE}")
def show(ctx: typer.Context, *, grant_id: GrantId) -> None:
    """Show a grant: what it covers, who gave it, and which calls used it last."""
    session = current(ctx)
    write_one(session, session.api.grants, require_id("grt", grant_id))


@app.command(epilog=f'Example: palyra grants revoke {EXAMPLE} --reason "the job is over"')
def revoke(ctx: typer.Context, *, grant_id: GrantId, reason: Reason) -> None:
    """Take a grant back: the next call it would have covered asks again. Its tool is typed to confirm."""
    session = current(ctx)
    api = session.api.grants
    require_id("grt", grant_id)
    session.require_consent_by_name()
    if not session.options.yes:
        seen = session.elevated(lambda: api.show(grant_id)).data
        for line in aligned((name, seen.get(name)) for name in _TOLD):
            session.say(line)
        session.confirm_by_name(f"Revoke {grant_id}.", typable(seen.get("tool"), grant_id))
    key = session.new_key()
    answer = session.elevated(lambda: api.act(grant_id, "revoke", {"comment": reason}, key=key))
    session.output.one(answer.text, answer.data)
