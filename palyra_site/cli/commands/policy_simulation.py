"""`palyra policy simulate|simulations|flips|shadow`: what a set would have decided, before it decides."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palyra_site.cli.arguments import All, Cursor, Limit, Since, point_in_time, require_id
from palyra_site.cli.exits import Exit, exit_for_job
from palyra_site.cli.failures import CliError
from palyra_site.cli.listing import write_list
from palyra_site.cli.session import Session, current
from palyra_site.cli.waiting import wait_for_job

if TYPE_CHECKING:
    from palyra_site.cli.client import Collection
    from palyra_site.cli.connection import Answer

simulations = typer.Typer(help="Simulations of a set that were made.", no_args_is_help=True)
shadow = typer.Typer(help="Sets that are asked beside the one in force.", no_args_is_help=True)

RUNS = ("number", "state", "total", "loosened", "tightened", "reason_only", "unchanged", "created_at")
FLIPS = ("direction", "old_effect", "new_effect", "resource_id", "principal_id", "call_id", "new_policies")
RESULTS = ("hour", "old_effect", "new_effect", "count", "errors")
ACTIVE = "active"
_LONGEST = 86_400
_MOST = 50_000


class Direction(StrEnum):
    LOOSENED = "loosened"
    TIGHTENED = "tightened"
    REASON_ONLY = "reason_only"


SetId = Annotated[str, typer.Argument(metavar="ID", help="pol_…")]
AnySet = Annotated[str, typer.Argument(metavar="ID", help="pol_… or active.")]
Number = Annotated[int | None, typer.Option("--number", min=1, help="Which simulation; default the newest.")]
Last = Annotated[
    int | None, typer.Option("--last", min=1, max=_MOST, help="The newest N records; default 1000.")
]
Agent = Annotated[str | None, typer.Option("--agent", help="agt_… whose decisions are replayed.")]
Tool = Annotated[str | None, typer.Option("--tool", help="Tool whose decisions are replayed.")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow a large simulation until it has ended.")]
Directions = Annotated[
    list[Direction] | None, typer.Option("--direction", help="Only these; may be repeated.")
]


def register(app: typer.Typer) -> None:
    """Add these commands to `palyra policy`."""
    app.command(epilog="Example: palyra policy simulate pol_01JD2Q8ZV0C3M4N5P6R7S8T9VW --last 5000 --wait")(
        simulate
    )
    app.command(epilog="Example: palyra policy flips pol_01JD2Q8ZV0C3M4N5P6R7S8T9VW --direction loosened")(
        flips
    )
    app.add_typer(simulations, name="simulations")
    app.add_typer(shadow, name="shadow")


def simulate(
    ctx: typer.Context,
    *,
    set_id: SetId,
    last: Last = None,
    since: Since = None,
    agent: Agent = None,
    tool: Tool = None,
    wait: Wait = False,
) -> None:
    """Replay recorded decisions against a draft or validated set. A filtered one allows no activation."""
    session = current(ctx)
    now = datetime.fromtimestamp(session.world.clock(), UTC)
    given = {
        "n": last,
        "since": point_in_time(since, now),
        "agent": require_id("agt", agent) if agent else None,
        "tool": tool,
    }
    body = {name: value for name, value in given.items() if value is not None}
    sets, key = _sets(session), session.new_key()
    wanted = require_id("pol", set_id)
    answer = session.elevated(lambda: sets.act(wanted, "simulate", body, key=key))
    if answer.data.get("object") != "job":
        session.output.one(answer.text, answer.data)
        return
    session.say(f"{answer.data.get('id')}: more than 2,000 records were asked for, so a job does it")
    if not wait:
        session.output.one(answer.text, answer.data)
        return
    _follow(session, wanted, answer)


def flips(
    ctx: typer.Context,
    *,
    set_id: SetId,
    number: Number = None,
    direction: Directions = None,
    limit: Limit = None,
    cursor: Cursor = None,
    all_: All = False,
) -> None:
    """List the recorded decisions that a simulation found to change."""
    session = current(ctx)
    runs = _runs(session, require_id("pol", set_id))
    chosen = number or _newest(session, runs)
    filters = {
        "direction": [one.value for one in direction] if direction else None,
        "limit": limit,
        "cursor": cursor,
    }
    write_list(session, runs.within(str(chosen), "flips"), filters, FLIPS, everything=all_)


@simulations.command("list", epilog="Example: palyra policy simulations list pol_01JD2Q8ZV0C3M4N5P6R7S8T9VW")
def list_(
    ctx: typer.Context, *, set_id: SetId, limit: Limit = None, cursor: Cursor = None, all_: All = False
) -> None:
    """List the simulations of a set, newest first."""
    session = current(ctx)
    runs = _runs(session, require_id("pol", set_id))
    write_list(session, runs, {"limit": limit, "cursor": cursor}, RUNS, everything=all_)


@simulations.command(epilog="Example: palyra policy simulations show pol_01JD2Q8ZV0C3M4N5P6R7S8T9VW")
def show(ctx: typer.Context, *, set_id: SetId, number: Number = None) -> None:
    """Show one simulation with its counts."""
    session = current(ctx)
    runs = _runs(session, require_id("pol", set_id))
    answer = session.elevated(lambda: runs.show(str(number or _newest(session, runs))))
    session.output.one(answer.text, answer.data)


@shadow.command(epilog="Example: palyra policy shadow on pol_01JD2Q8ZV0C3M4N5P6R7S8T9VW --yes")
def on(ctx: typer.Context, *, set_id: SetId) -> None:
    """Have a validated set asked beside the one in force; it decides nothing."""
    _switch(current(ctx), set_id, enabled=True)


@shadow.command(epilog="Example: palyra policy shadow off pol_01JD2Q8ZV0C3M4N5P6R7S8T9VW --yes")
def off(ctx: typer.Context, *, set_id: SetId) -> None:
    """Stop asking a set that is in shadow; what it came to stays."""
    _switch(current(ctx), set_id, enabled=False)


@shadow.command(epilog="Example: palyra policy shadow results pol_01JD2Q8ZV0C3M4N5P6R7S8T9VW --all")
def results(
    ctx: typer.Context, *, set_id: AnySet, limit: Limit = None, cursor: Cursor = None, all_: All = False
) -> None:
    """List how often, hour by hour, a shadow would have answered otherwise.

    Of the set in force: what would come out with its policies that are marked @mode("shadow").
    """
    session = current(ctx)
    name = set_id if set_id == ACTIVE else require_id("pol", set_id)
    rows = _sets(session).within(name, "shadow-results")
    write_list(session, rows, {"limit": limit, "cursor": cursor}, RESULTS, everything=all_)


def _sets(session: Session) -> Collection:
    from palyra_site.cli.client import Collection
    from palyra_site.cli.settings import API_PREFIX

    return Collection(session.api.connection, f"{API_PREFIX}/policy-sets")


def _runs(session: Session, set_id: str) -> Collection:
    return _sets(session).within(set_id, "simulations")


def _newest(session: Session, runs: Collection) -> int:
    data: Any = session.elevated(lambda: runs.page({"limit": 1})).data.get("data") or []
    number = data[0].get("number") if data and isinstance(data[0], dict) else None
    if not isinstance(number, int):
        raise CliError(
            "not_found",
            "This set was not simulated yet.",
            exit_code=Exit.NOT_FOUND,
            hint="palyra policy simulate ID",
        )
    return number


def _follow(session: Session, set_id: str, started: Answer) -> None:
    """Show the progress on standard error and, when the job succeeded, the simulation."""
    job = wait_for_job(session, str(started.data.get("id")), seconds=_LONGEST, seen=started)
    result = job.data.get("result")
    if job.data.get("state") != "succeeded" or not isinstance(result, dict):
        session.output.one(job.text, job.data)
        raise typer.Exit(exit_for_job(str(job.data.get("state"))))
    answer = session.elevated(lambda: _runs(session, set_id).show(str(result.get("number"))))
    session.output.one(answer.text, answer.data)


def _switch(session: Session, set_id: str, *, enabled: bool) -> None:
    wanted = require_id("pol", set_id)
    session.confirm(f"Put {wanted} into shadow?" if enabled else f"Take {wanted} out of shadow?")
    sets, key = _sets(session), session.new_key()
    answer = session.elevated(lambda: sets.act(wanted, "shadow", {"enabled": enabled}, key=key))
    session.output.one(answer.text, answer.data)
