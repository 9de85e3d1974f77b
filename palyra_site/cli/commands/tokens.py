"""`palyra tokens`: bearer tokens of people and agents."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from palyra_site.cli.arguments import All, Cursor, Limit, Reason, require_id
from palyra_site.cli.changes import act_for_good
from palyra_site.cli.failures import UsageError
from palyra_site.cli.listing import write_list, write_one
from palyra_site.cli.once import Out, tell_once
from palyra_site.cli.session import Session, current
from palyra_site.cli.spans import days_of, seconds_of

app = typer.Typer(help="API tokens of people and agents.", no_args_is_help=True)

COLUMNS = ("id", "label", "kind", "state", "principal.id", "prefix", "expires_at", "last_used_at")
LABEL = "palyra tokens create"
TokenId = Annotated[str, typer.Argument(metavar="ID", help="tok_…")]


class Kind(StrEnum):
    AGENT = "agt"
    USER = "usr"
    SERVICE = "svc"
    ADMIN = "adm"


class State(StrEnum):
    ACTIVE = "active"
    OVERLAPPING = "overlapping"
    EXPIRED = "expired"
    REVOKED = "revoked"


@app.command("list", epilog="Example: palyra tokens list --kind agt --state active")
def list_(
    ctx: typer.Context,
    *,
    state: Annotated[list[State] | None, typer.Option("--state", help="State; may be repeated.")] = None,
    kind: Annotated[list[Kind] | None, typer.Option("--kind", help="Kind; may be repeated.")] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    all_: All = False,
) -> None:
    """List tokens, newest first. Their secrets are stored nowhere."""
    session = current(ctx)
    filters = {
        "state": [one.value for one in state or ()],
        "kind": [one.value for one in kind or ()],
        "limit": limit,
        "cursor": cursor,
    }
    write_list(session, session.api.tokens, filters, COLUMNS, everything=all_)


@app.command(epilog="Example: palyra tokens show tok_01JD2Q8ZV0C3M4N5P6R7S8T9VW")
def show(ctx: typer.Context, *, token_id: TokenId) -> None:
    """Show a token's scopes, limits, and when it was last used."""
    session = current(ctx)
    write_one(session, session.api.tokens, require_id("tok", token_id))


@app.command(
    epilog="Example: palyra tokens create --agent agt_01JD2Q8ZV0C3M4N5P6R7S8T9VW --scope agent "
    "--expires 30d --label ci --out ci.token"
)
def create(
    ctx: typer.Context,
    *,
    scope: Annotated[
        list[str], typer.Option("--scope", help="Scope, or a group: agent, compat, readonly; repeat it.")
    ],
    agent: Annotated[str | None, typer.Option("--agent", help="agt_… that will hold it.")] = None,
    user: Annotated[str | None, typer.Option("--user", help="me, or your own usr_….")] = None,
    service: Annotated[bool, typer.Option("--service", help="One of your own for a service.")] = False,
    label: Annotated[str, typer.Option("--label", help="What it is for.")] = LABEL,
    expires: Annotated[str | None, typer.Option("--expires", help="Days it lives, such as 30d.")] = None,
    rate: Annotated[int | None, typer.Option("--rate", min=1, help="Most requests in a minute.")] = None,
    network: Annotated[
        list[str] | None, typer.Option("--network", help="CIDR it may come from; repeat it.")
    ] = None,
    out: Out = None,
) -> None:
    """Mint a token. Its text is told once: on stdout, alone with -q, or in the file --out."""
    if [agent is not None, user is not None, service].count(True) != 1:
        raise UsageError("Give one of --agent ID, --user me and --service.")
    session = current(ctx)
    body: dict[str, Any] = {
        "label": label,
        "kind": "agt" if agent else "svc" if service else "usr",
        "agent": require_id("agt", agent) if agent else None,
        "scopes": [one.strip() for text in scope for one in text.split(",")],
        "expires_in_days": days_of("--expires", expires),
        "rate_per_minute": rate,
        "allowed_networks": network,
    }
    session.require_consent()
    if user is not None:
        _require_self(session, user)
    session.confirm(f"Mint a token for {agent or 'yourself'} with {', '.join(body['scopes'])}?")
    key = session.new_key()
    tell_once(session, lambda: session.api.tokens.create(body, key=key), field="token", out=out)


@app.command(epilog="Example: palyra tokens rotate tok_01JD2Q8ZV0C3M4N5P6R7S8T9VW --overlap 1h --out token")
def rotate(
    ctx: typer.Context,
    *,
    token_id: TokenId,
    overlap: Annotated[
        str | None, typer.Option("--overlap", help="How long the old one still works, such as 1h.")
    ] = None,
    out: Out = None,
) -> None:
    """Mint the successor of a token; the old one works on for the overlap."""
    session = current(ctx)
    require_id("tok", token_id)
    seconds = seconds_of("--overlap", overlap)
    session.confirm(f"Rotate {token_id}?")
    body = {} if seconds is None else {"overlap_seconds": seconds}
    key = session.new_key()
    tell_once(
        session, lambda: session.api.tokens.act(token_id, "rotate", body, key=key), field="token", out=out
    )


@app.command(epilog='Example: palyra tokens revoke tok_01JD2Q8ZV0C3M4N5P6R7S8T9VW --reason "laptop lost"')
def revoke(ctx: typer.Context, *, token_id: TokenId, reason: Reason) -> None:
    """End a token for good, from the next request on."""
    session = current(ctx)
    act_for_good(session, session.api.tokens, require_id("tok", token_id), "revoke", reason, label="label")


def _require_self(session: Session, user: str) -> None:
    """Nobody mints for another person, and the API has no way to ask for it."""
    if user != "me" and user != session.api.whoami().data.get("id"):
        raise UsageError("A person's token is minted by that person.", hint="--user me, or --agent ID")
