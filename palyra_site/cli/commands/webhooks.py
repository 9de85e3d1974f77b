"""`palyra webhooks`: where events are posted, and how that went."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from palyra_site.cli.arguments import All, Cursor, IfMatch, Limit, require_id
from palyra_site.cli.changes import act, edit
from palyra_site.cli.listing import write_list, write_one
from palyra_site.cli.once import Out, tell_once
from palyra_site.cli.session import current

app = typer.Typer(help="Webhooks: events posted to other systems.", no_args_is_help=True)

COLUMNS = ("id", "url", "event_types", "enabled", "disabled_reason", "failing_since", "description")
DELIVERIES = ("id", "type", "state", "attempt", "status_code", "error", "next_attempt_at", "event")
EXAMPLE = "whk_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
WebhookId = Annotated[str, typer.Argument(metavar="ID", help="whk_…")]
Events = Annotated[
    list[str] | None, typer.Option("--event", help="*, approval.*, or a name; may be repeated.")
]
Description = Annotated[str | None, typer.Option("--description", help="What it is for.")]


class State(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    ABANDONED = "abandoned"


@app.command("list", epilog="Example: palyra webhooks list")
def list_(ctx: typer.Context, *, limit: Limit = None, cursor: Cursor = None, all_: All = False) -> None:
    """List webhooks, newest first. Their secrets are told nowhere."""
    session = current(ctx)
    filters = {"limit": limit, "cursor": cursor}
    write_list(session, session.api.webhooks, filters, COLUMNS, everything=all_)


@app.command(epilog=f"Example: palyra webhooks show {EXAMPLE}")
def show(ctx: typer.Context, *, webhook_id: WebhookId) -> None:
    """Show a webhook, and since when it fails."""
    session = current(ctx)
    write_one(session, session.api.webhooks, require_id("whk", webhook_id))


@app.command(
    epilog="Example: palyra webhooks create --to https://hooks.example.com/palyra --event 'approval.*' "
    "--out hook.secret"
)
def create(
    ctx: typer.Context,
    *,
    to: Annotated[str, typer.Option("--to", help="https URL of a public host.")],
    event: Events = None,
    description: Description = None,
    out: Out = None,
) -> None:
    """Add a webhook. Its secret is told once: on stdout, alone with -q, or in the file --out."""
    session = current(ctx)
    body: dict[str, Any] = {"url": to, "event_types": event or ["*"], "description": description}
    session.confirm(f"Post {', '.join(body['event_types'])} to {to}?")
    key = session.new_key()
    tell_once(session, lambda: session.api.webhooks.create(body, key=key), field="secret", out=out)


@app.command(epilog=f"Example: palyra webhooks update {EXAMPLE} --enabled")
def update(
    ctx: typer.Context,
    *,
    webhook_id: WebhookId,
    to: Annotated[str | None, typer.Option("--to", help="New https URL.")] = None,
    event: Events = None,
    description: Description = None,
    enabled: Annotated[
        bool | None, typer.Option("--enabled/--disabled", help="Whether anything is posted.")
    ] = None,
    if_match: IfMatch = None,
) -> None:
    """Show what would change, ask, and change it."""
    session = current(ctx)
    wanted = {"url": to, "event_types": event, "description": description, "enabled": enabled}
    given = {name: value for name, value in wanted.items() if value is not None}
    edit(session, session.api.webhooks, require_id("whk", webhook_id), given, if_match=if_match)


@app.command(epilog=f"Example: palyra webhooks rotate {EXAMPLE} --out hook.secret")
def rotate(ctx: typer.Context, *, webhook_id: WebhookId, out: Out = None) -> None:
    """Make a new secret; the one before signs beside it for 24 hours."""
    session = current(ctx)
    require_id("whk", webhook_id)
    session.confirm(f"Rotate the secret of {webhook_id}?")
    key = session.new_key()
    tell_once(
        session,
        lambda: session.api.webhooks.act(webhook_id, "rotate", {}, key=key),
        field="secret",
        out=out,
    )


@app.command(epilog=f"Example: palyra webhooks test {EXAMPLE} --yes")
def test(ctx: typer.Context, *, webhook_id: WebhookId) -> None:
    """Post an event that says nothing; `deliveries` tells how it went."""
    session = current(ctx)
    act(session, session.api.webhooks, require_id("whk", webhook_id), "test", None)


@app.command(epilog=f"Example: palyra webhooks delete {EXAMPLE} --yes")
def delete(ctx: typer.Context, *, webhook_id: WebhookId, if_match: IfMatch = None) -> None:
    """Take a webhook out of use for good; what is on its way to it ends."""
    session = current(ctx)
    require_id("whk", webhook_id)
    session.require_consent()
    api = session.api.webhooks
    tag = if_match or str(session.elevated(lambda: api.show(webhook_id)).headers.get("ETag", ""))
    session.confirm(f"Delete {webhook_id}?")
    session.elevated(lambda: api.remove(webhook_id, if_match=tag))
    session.say(f"{webhook_id} is deleted")


@app.command(epilog=f"Example: palyra webhooks deliveries {EXAMPLE} --state abandoned")
def deliveries(
    ctx: typer.Context,
    *,
    webhook_id: WebhookId,
    state: Annotated[list[State] | None, typer.Option("--state", help="State; may be repeated.")] = None,
    event: Annotated[list[str] | None, typer.Option("--event", help="Name; may be repeated.")] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    all_: All = False,
) -> None:
    """List what was posted, is on its way, or was given up, newest first."""
    session = current(ctx)
    filters = {
        "state": [one.value for one in state or ()],
        "type": event,
        "limit": limit,
        "cursor": cursor,
    }
    of_one = session.api.webhooks.within(require_id("whk", webhook_id), "deliveries")
    write_list(session, of_one, filters, DELIVERIES, everything=all_)


@app.command(epilog="Example: palyra webhooks redeliver whd_01JD2Q8ZV0C3M4N5P6R7S8T9VW --yes")
def redeliver(
    ctx: typer.Context, *, delivery_id: Annotated[str, typer.Argument(metavar="ID", help="whd_…")]
) -> None:
    """Post an ended delivery again, under the same id."""
    session = current(ctx)
    act(session, session.api.webhooks.deliveries, require_id("whd", delivery_id), "replay", None)
