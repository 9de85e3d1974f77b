"""`palyra runs`: the pieces of work that calls belong to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from palyra_site.cli.arguments import All, Cursor, Limit, Since, Until, read_source, require_id, window
from palyra_site.cli.failures import UsageError
from palyra_site.cli.listing import write_list
from palyra_site.cli.options import Format
from palyra_site.cli.output import cell
from palyra_site.cli.session import current
from palyra_site.cli.world import World

app = typer.Typer(help="Runs: the work that calls belong to.", no_args_is_help=True)

COLUMNS = ("id", "state", "agent", "purpose", "calls_used", "calls_limit", "expires_at")
EVENT_COLUMNS = ("event_seq", "time", "type", "call_id", "subject")
_TELLING = ("effect", "decision", "state", "outcome", "verdict", "reason_code", "code", "close_code", "risk")
RunId = Annotated[str, typer.Argument(metavar="ID", help="run_…")]


@app.command("open", epilog="Example: palyra runs open --session-key chat-7 --task-text @task.txt")
def open_(
    ctx: typer.Context,
    *,
    purpose: Annotated[str | None, typer.Option("--purpose", help="What the run is for.")] = None,
    max_calls: Annotated[
        int | None, typer.Option("--max-calls", min=1, help="Most calls it may make.")
    ] = None,
    session_key: Annotated[
        str | None, typer.Option("--session-key", help="The conversation it belongs to.")
    ] = None,
    task_text: Annotated[
        str | None, typer.Option("--task-text", help="What was asked for: @file or - for stdin.")
    ] = None,
) -> None:
    """Open a run."""
    session = current(ctx)
    answer = session.api.runs.open(
        key=session.new_key(),
        purpose=purpose,
        max_calls=max_calls,
        session_key=session_key,
        task_text=None if task_text is None else _source(task_text, session.world),
    )
    session.output.one(answer.text, answer.data)


@app.command("list", epilog="Example: palyra runs list --state open")
def list_(
    ctx: typer.Context,
    *,
    state: Annotated[list[str] | None, typer.Option("--state", help="State; may be repeated.")] = None,
    agent: Annotated[str | None, typer.Option("--agent", help="Agent of the run.")] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    all_: All = False,
    since: Since = None,
    until: Until = None,
) -> None:
    """List runs, newest first."""
    session = current(ctx)
    filters = {"state": state, "agent": agent, "limit": limit, "cursor": cursor}
    filters |= window(session.world, since, until)
    write_list(session, session.api.runs, filters, COLUMNS, everything=all_)


@app.command(epilog="Example: palyra runs show run_01JD2Q8ZV0C3M4N5P6R7S8T9VW")
def show(ctx: typer.Context, *, run_id: RunId) -> None:
    """Show a run with its calls counted by state."""
    session = current(ctx)
    answer = session.api.runs.show(require_id("run", run_id))
    session.output.one(answer.text, answer.data)


@app.command(epilog="Example: palyra runs events run_01JD2Q8ZV0C3M4N5P6R7S8T9VW --follow --after 12")
def events(
    ctx: typer.Context,
    *,
    run_id: RunId,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the run is over.")] = False,
    after: Annotated[
        str | None, typer.Option("--after", help="Begin after this number, or after this evt_….")
    ] = None,
    names: Annotated[
        str | None, typer.Option("--events", help="Only these, separated by commas: tool_result,run_status")
    ] = None,
) -> None:
    """Tell what happened in a run, in order. Ctrl-C ends it and leaves the run alone."""
    from palyra_site.cli.following import follow_events, past_events

    session = current(ctx)
    require_id("run", run_id)
    read = follow_events if follow else past_events
    story = read(session, run_id, after=after, names=names)
    if session.output.format is Format.TABLE and not session.output.quiet:
        for event in story:
            session.output.raw(event_line(event))
    elif session.output.format is Format.YAML:
        for event in story:
            session.output.items([event], EVENT_COLUMNS)
    else:
        session.output.items(story, EVENT_COLUMNS)


@app.command(epilog="Example: palyra runs complete run_01JD2Q8ZV0C3M4N5P6R7S8T9VW --yes")
def complete(ctx: typer.Context, *, run_id: RunId) -> None:
    """Say that the work of a run is done. Refused while calls of it are open."""
    session = current(ctx)
    require_id("run", run_id)
    session.confirm(f"Complete {run_id}?")
    answer = session.api.runs.complete(run_id, key=session.new_key())
    session.output.one(answer.text, answer.data)


@app.command(epilog='Example: palyra runs cancel run_01JD2Q8ZV0C3M4N5P6R7S8T9VW --reason "wrong input" --yes')
def cancel(
    ctx: typer.Context,
    *,
    run_id: RunId,
    reason: Annotated[str, typer.Option("--reason", help="Why.")],
) -> None:
    """Cancel a run with everything in it that waits or runs."""
    session = current(ctx)
    require_id("run", run_id)
    session.confirm(f"Cancel {run_id} and all its open calls?")
    answer = session.api.runs.cancel(run_id, reason=reason, key=session.new_key())
    session.output.one(answer.text, answer.data)


def event_line(event: Mapping[str, Any]) -> str:
    """Return an event as one line: number, time, name, what it is about, and what became of it."""
    data = event.get("data")
    told = data if isinstance(data, dict) else {}
    about = event.get("call_id") or event.get("subject")
    words = " ".join(cell(told[name]) for name in _TELLING if told.get(name))
    parts = (event.get("event_seq"), event.get("time"), event.get("type"), about, words)
    return "\t".join(cell(part) for part in parts)


def _source(given: str, world: World) -> str:
    if given != "-" and not given.startswith("@"):
        raise UsageError("--task-text takes @file or -.")
    return read_source(given, world)
