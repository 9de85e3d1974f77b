"""`palyra calls`: propose a tool call and see what became of it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from palyra_site.cli.arguments import All, Cursor, Limit, Since, Until, require_id, tool_input, window
from palyra_site.cli.exits import Exit, exit_for_call
from palyra_site.cli.failures import CliError, UsageError
from palyra_site.cli.listing import write_list
from palyra_site.cli.session import Session, current
from palyra_site.cli.waiting import wait_for_call

if TYPE_CHECKING:
    from palyra_site.cli.connection import Answer

app = typer.Typer(help="Tool calls: proposed, decided, executed.", no_args_is_help=True)

COLUMNS = ("id", "state", "tool.name", "reason_code", "run_id", "created_at")
CallId = Annotated[str, typer.Argument(metavar="ID", help="call_…")]
_LONGEST = 86_400


class Outcome(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"


_RESOLVED = {
    Outcome.SUCCEEDED: "succeeded",
    Outcome.FAILED: "failed",
    Outcome.UNKNOWN: "cannot be found out",
}


@app.command(
    epilog="Example: palyra calls propose fs.write --new-run --input path=notes/a.md content=hello --wait 60"
)
def propose(
    ctx: typer.Context,
    *,
    tool: Annotated[str, typer.Argument(help="Name of the tool.")],
    pairs: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="More input.")] = None,
    run: Annotated[str | None, typer.Option("--run", help="run_… that the call belongs to.")] = None,
    new_run: Annotated[bool, typer.Option("--new-run", help="Open a run for this call.")] = False,
    input_: Annotated[
        list[str] | None, typer.Option("--input", help="@file, - or KEY=VALUE; KEY==VALUE is always text.")
    ] = None,
    wait: Annotated[
        int, typer.Option("--wait", min=0, max=_LONGEST, help="Seconds to wait for the end of the call.")
    ] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only decide: nothing is recorded.")] = False,
) -> None:
    """Propose a call. Its id comes first on stderr, then the call on stdout."""
    if (run is None) is not new_run:
        raise UsageError("Give either --run ID or --new-run.")
    if dry_run and (new_run or wait):
        raise UsageError("--dry-run changes nothing: it takes --run, and nothing to wait for.")
    session = current(ctx)
    values = tool_input([*(input_ or ()), *(pairs or ())], session.world)
    key = session.new_key()
    run_id = require_id("run", run) if run else _open_run(session, key)
    answer = session.api.calls.propose(run_id=run_id, tool=tool, arguments=values, key=key, dry_run=dry_run)
    if dry_run:
        _finish_preview(session, answer)
        return
    call_id = str(answer.data.get("id"))
    session.say(call_id)
    _finish(session, wait_for_call(session, call_id, seconds=wait, seen=answer), waited=wait > 0)


@app.command(epilog="Example: palyra calls show call_01JD2Q8ZV0C3M4N5P6R7S8T9VW --json")
def show(ctx: typer.Context, *, call_id: CallId) -> None:
    """Show a call with its gates, decision and result."""
    session = current(ctx)
    answer = session.api.calls.show(require_id("call", call_id))
    session.output.one(answer.text, answer.data)


@app.command("list", epilog="Example: palyra calls list --state denied --since 2h")
def list_(
    ctx: typer.Context,
    *,
    run: Annotated[str | None, typer.Option("--run", help="run_…")] = None,
    state: Annotated[list[str] | None, typer.Option("--state", help="State; may be repeated.")] = None,
    tool: Annotated[str | None, typer.Option("--tool", help="Name of the tool.")] = None,
    agent: Annotated[str | None, typer.Option("--agent", help="Agent that proposed.")] = None,
    reason_code: Annotated[str | None, typer.Option("--reason-code", help="Code of the decision.")] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    all_: All = False,
    since: Since = None,
    until: Until = None,
) -> None:
    """List calls, newest first, without input and result."""
    session = current(ctx)
    filters = {
        "run": run,
        "state": state,
        "tool": tool,
        "agent": agent,
        "reason_code": reason_code,
        "limit": limit,
        "cursor": cursor,
        **window(session.world, since, until),
    }
    write_list(session, session.api.calls, filters, COLUMNS, everything=all_)


@app.command(epilog="Example: palyra calls wait call_01JD2Q8ZV0C3M4N5P6R7S8T9VW --for 300")
def wait(
    ctx: typer.Context,
    *,
    call_id: CallId,
    seconds: Annotated[int, typer.Option("--for", min=0, max=_LONGEST, help="Seconds to wait.")] = 300,
) -> None:
    """Wait until a call has ended. Exit 0 when it succeeded, 10 when it still waits."""
    session = current(ctx)
    require_id("call", call_id)
    _finish(session, wait_for_call(session, call_id, seconds=seconds), waited=True)


@app.command(epilog="Example: palyra calls cancel call_01JD2Q8ZV0C3M4N5P6R7S8T9VW --yes")
def cancel(
    ctx: typer.Context,
    *,
    call_id: CallId,
    reason: Annotated[str | None, typer.Option("--reason", help="Why.")] = None,
) -> None:
    """Cancel a call that waits, or ask a running one to stop."""
    session = current(ctx)
    require_id("call", call_id)
    session.confirm(f"Cancel {call_id}?")
    answer = session.api.calls.cancel(call_id, reason=reason, key=session.new_key())
    session.output.one(answer.text, answer.data)


@app.command(
    epilog="Example: palyra calls resolve call_01JD2Q8ZV0C3M4N5P6R7S8T9VW --outcome failed"
    ' --note "no file was written" --yes'
)
def resolve(
    ctx: typer.Context,
    *,
    call_id: CallId,
    outcome: Annotated[Outcome, typer.Option("--outcome", help="What the tool did after all.")],
    note: Annotated[str, typer.Option("--note", help="How that was found out; at least 10 characters.")],
) -> None:
    """Record what was found out about an ambiguous call. The call stays ambiguous."""
    session = current(ctx)
    require_id("call", call_id)
    session.confirm(f"Record that {call_id} {_RESOLVED[outcome]}?")
    key = session.new_key()
    answer = session.elevated(
        lambda: session.api.calls.resolve(call_id, outcome=outcome.value, note=note, key=key)
    )
    session.output.one(answer.text, answer.data)


def _open_run(session: Session, key: str) -> str:
    """Open a run. Keys belong to a route, so the call's own key serves here too."""
    run_id = session.api.runs.open(key=key).data.get("id")
    if not isinstance(run_id, str):
        raise CliError("invalid_answer", "The server named no run.", exit_code=Exit.INTERNAL)
    session.say(run_id)
    return run_id


def _finish(session: Session, answer: Answer, *, waited: bool) -> None:
    data = answer.data
    session.output.one(answer.text, data)
    raise typer.Exit(exit_for_call(str(data.get("state")), waited=waited))


def _finish_preview(session: Session, answer: Answer) -> None:
    data = answer.data
    session.output.one(answer.text, data)
    decision = data.get("decision")
    effect = decision.get("effect") if isinstance(decision, dict) else None
    raise typer.Exit(Exit.DONE if effect in {"allow", "require_approval"} else Exit.REFUSED)
