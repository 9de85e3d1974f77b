"""`palyra break-glass`: decisions that one person forced, and what another says about them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from palyra_site.cli.arguments import All, Cursor, Limit, require_id
from palyra_site.cli.listing import write_list
from palyra_site.cli.session import current

app = typer.Typer(help="Forced decisions and their reviews.", no_args_is_help=True)

EXAMPLE = "bgr_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
COLUMNS = ("id", "state", "by", "approval_id", "subject_label", "risk", "due_at", "finding")


class State(StrEnum):
    OPEN = "open"
    OVERDUE = "overdue"
    REVIEWED = "reviewed"


class Finding(StrEnum):
    JUSTIFIED = "justified"
    UNJUSTIFIED = "unjustified"


@app.command("list", epilog="Example: palyra break-glass list --state overdue")
def list_(
    ctx: typer.Context,
    *,
    state: Annotated[list[State] | None, typer.Option("--state", help="State; may be repeated.")] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    all_: All = False,
) -> None:
    """List forced decisions, newest first; `palyra approvals break-glass` is what forces one."""
    session = current(ctx)
    filters = {"state": [one.value for one in state or ()], "limit": limit, "cursor": cursor}
    write_list(session, session.api.break_glass_reviews, filters, COLUMNS, everything=all_)


@app.command(
    epilog=f'Example: palyra break-glass review {EXAMPLE} --finding justified --comment "the outage was real"'
)
def review(
    ctx: typer.Context,
    *,
    review_id: Annotated[str, typer.Argument(metavar="ID", help="bgr_…")],
    finding: Annotated[Finding, typer.Option("--finding", help="justified or unjustified.")],
    comment: Annotated[str, typer.Option("--comment", help="Why; the record keeps it.")],
) -> None:
    """Say whether a forced decision of somebody else was justified."""
    session = current(ctx)
    require_id("bgr", review_id)
    session.confirm(f"Call {review_id} {finding}?")
    key = session.new_key()
    body = {"finding": finding.value, "comment": comment}
    answer = session.elevated(lambda: session.api.break_glass_reviews.find(review_id, body, key=key))
    session.output.one(answer.text, answer.data)
