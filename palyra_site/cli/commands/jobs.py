"""`palyra jobs`: long work of the server, how far it is, and stopping it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from palyra_site.cli.arguments import All, Cursor, Limit, require_id
from palyra_site.cli.exits import exit_for_job
from palyra_site.cli.listing import write_list, write_one
from palyra_site.cli.session import current
from palyra_site.cli.waiting import wait_for_job

app = typer.Typer(help="Long work of the server: progress, end, stop.", no_args_is_help=True)

COLUMNS = ("id", "kind", "state", "done", "total", "error_code", "created_at")
_LONGEST = 86_400


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


JobId = Annotated[str, typer.Argument(metavar="ID", help="job_…")]
States = Annotated[list[JobState] | None, typer.Option("--state", help="State; may be repeated.")]
Seconds = Annotated[int, typer.Option("--for", min=0, max=_LONGEST, help="Seconds to wait.")]


@app.command("list", epilog="Example: palyra jobs list --state running")
def list_(
    ctx: typer.Context,
    *,
    state: States = None,
    limit: Limit = None,
    cursor: Cursor = None,
    all_: All = False,
) -> None:
    """List the jobs you may see, newest first."""
    session = current(ctx)
    wanted = [one.value for one in state] if state else None
    filters = {"state": wanted, "limit": limit, "cursor": cursor}
    write_list(session, session.api.jobs, filters, COLUMNS, everything=all_)


@app.command(epilog="Example: palyra jobs show job_01JD2Q8ZV0C3M4N5P6R7S8T9VW")
def show(ctx: typer.Context, *, job_id: JobId) -> None:
    """Show one job with its progress and its result."""
    session = current(ctx)
    write_one(session, session.api.jobs, require_id("job", job_id))


@app.command(epilog="Example: palyra jobs wait job_01JD2Q8ZV0C3M4N5P6R7S8T9VW --for 600")
def wait(ctx: typer.Context, *, job_id: JobId, seconds: Seconds = 300) -> None:
    """Follow a job on standard error until it has ended. Exit 0 when it succeeded, 10 when it still runs."""
    session = current(ctx)
    answer = wait_for_job(session, require_id("job", job_id), seconds=seconds)
    session.output.one(answer.text, answer.data)
    raise typer.Exit(exit_for_job(str(answer.data.get("state"))))


@app.command(epilog="Example: palyra jobs cancel job_01JD2Q8ZV0C3M4N5P6R7S8T9VW --yes")
def cancel(ctx: typer.Context, *, job_id: JobId) -> None:
    """Cancel a job that waits, or ask the worker of a running one to stop."""
    session = current(ctx)
    require_id("job", job_id)
    session.confirm(f"Cancel {job_id}?")
    key = session.new_key()
    answer = session.elevated(lambda: session.api.jobs.act(job_id, "cancel", {}, key=key))
    session.output.one(answer.text, answer.data)
