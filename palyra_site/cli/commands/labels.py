"""`palyra labels`: what a session has read."""

from __future__ import annotations

from typing import Annotated

import typer

from palyra_site.cli import changes
from palyra_site.cli.arguments import Reason
from palyra_site.cli.listing import write_list
from palyra_site.cli.session import current

app = typer.Typer(help="Labels: what a session has read.", no_args_is_help=True)

COLUMNS = ("label", "state", "calls", "added_at", "expires_at", "declassified_by")
EXAMPLE = "ses_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
SessionId = Annotated[
    str, typer.Argument(metavar="SESSION", help="ses_…, or agt_… for an agent's runs without a session.")
]


@app.command(epilog=f"Example: palyra labels show {EXAMPLE}")
def show(ctx: typer.Context, *, session_id: SessionId) -> None:
    """Show the labels of a session and the calls that added them."""
    session = current(ctx)
    labels = session.api.sessions.within(session_id, "labels")
    write_list(session, labels, {}, COLUMNS, everything=False)


@app.command(epilog=f'Example: palyra labels declassify {EXAMPLE} untrusted_content --reason "read it all"')
def declassify(
    ctx: typer.Context,
    *,
    session_id: SessionId,
    label: Annotated[str, typer.Argument(metavar="LABEL", help="The label, for example untrusted_content.")],
    reason: Reason,
) -> None:
    """Take a label away from a session; what adds it later brings it back."""
    session = current(ctx)
    labels = session.api.sessions.within(session_id, "labels")
    changes.act(session, labels, label, "declassify", reason)
