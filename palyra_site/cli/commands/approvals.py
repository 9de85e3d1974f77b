"""`palyra approvals`: read requests, answer one, withdraw one."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from palyra_site.cli.approval_words import quorum_line, request_rows
from palyra_site.cli.arguments import All, Cursor, Limit, Since, Until, require_id, window
from palyra_site.cli.deciding import (
    Scope,
    Verdict,
    Wish,
    answered,
    check,
    chosen_pattern,
    seen_request,
    typed_pattern,
)
from palyra_site.cli.listing import write_list
from palyra_site.cli.session import current

app = typer.Typer(help="Requests that wait for a person.", no_args_is_help=True)

EXAMPLE = "apr_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
COLUMNS = ("id", "state", "risk", "subject_label", "requested_at", "expires_at")
PATTERN_COLUMNS = ("id", "words", "covers.matched", "covers.asks")
ApprovalId = Annotated[str, typer.Argument(metavar="ID", help="apr_…")]
Comment = Annotated[str | None, typer.Option("--comment", help="Why; the record keeps it.")]
IfVersion = Annotated[
    int | None, typer.Option("--if-version", min=1, help="Version you saw; else the one that is printed.")
]


class Status(StrEnum):
    PENDING = "pending"
    ALLOWED = "allowed"
    DENIED = "denied"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    ALL = "all"


class Risk(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


@app.command("list", epilog="Example: palyra approvals list --status pending --risk high --mine")
def list_(
    ctx: typer.Context,
    *,
    status: Annotated[
        Status, typer.Option("--status", "--state", help="State of the request.")
    ] = Status.PENDING,
    risk: Annotated[list[Risk] | None, typer.Option("--risk", help="Risk; may be repeated.")] = None,
    subject_type: Annotated[str | None, typer.Option(help="Kind of subject, such as tool.")] = None,
    agent: Annotated[str | None, typer.Option(help="Agent that asks.")] = None,
    tool: Annotated[str | None, typer.Option(help="Tool or skill it is about.")] = None,
    run: Annotated[str | None, typer.Option(help="run_…")] = None,
    mine: Annotated[bool, typer.Option("--mine", help="Only what you may answer.")] = False,
    limit: Limit = None,
    cursor: Cursor = None,
    all_: All = False,
    since: Since = None,
    until: Until = None,
) -> None:
    """List approval requests, newest first."""
    session = current(ctx)
    filters: dict[str, Any] = {
        "state": None if status is Status.ALL else status.value,
        "risk": [one.value for one in risk or ()],
        "subject_type": subject_type,
        "agent": agent,
        "tool": tool,
        "run": run,
        "mine": "eligible" if mine else None,
        "limit": limit,
        "cursor": cursor,
        **window(session.world, since, until),
    }
    write_list(session, session.api.approvals, filters, COLUMNS, everything=all_)


@app.command(epilog=f"Example: palyra approvals show {EXAMPLE}")
def show(
    ctx: typer.Context,
    *,
    approval_id: ApprovalId,
    raw: Annotated[bool, typer.Option("--raw", help="Every field of the API's object.")] = False,
) -> None:
    """Show who asks for what, with which parameters, why a person is needed, and what you may answer."""
    session = current(ctx)
    require_id("apr", approval_id)
    answer = session.elevated(lambda: session.api.approvals.show(approval_id))
    session.output.one(answer.text, answer.data, None if raw else request_rows(answer.data))


@app.command(epilog=f"Example: palyra approvals patterns {EXAMPLE}")
def patterns(ctx: typer.Context, *, approval_id: ApprovalId) -> None:
    """List what an allow may cover, narrowest first; `decide --pattern` takes the number."""
    session = current(ctx)
    offered = session.api.approvals.patterns(require_id("apr", approval_id))
    write_list(session, offered, {}, PATTERN_COLUMNS, everything=False)


@app.command(
    epilog=f"Example: palyra approvals decide {EXAMPLE} --decision allow --scope session --pattern 2"
)
def decide(
    ctx: typer.Context,
    *,
    approval_id: ApprovalId,
    decision: Annotated[Verdict, typer.Option("--decision", help="allow or deny.")],
    scope: Annotated[Scope | None, typer.Option("--scope", help="How far an allow reaches (once).")] = None,
    ttl_ms: Annotated[int | None, typer.Option("--ttl-ms", min=1, help="Length of scope temporary.")] = None,
    pattern: Annotated[
        str | None, typer.Option("--pattern", metavar="N|@FILE", help="What it covers (this very call).")
    ] = None,
    comment: Annotated[str | None, typer.Option("--comment", help="Reason; needed to deny.")] = None,
    end_run: Annotated[bool, typer.Option("--end-run", help="End the run too; with deny.")] = False,
    if_version: IfVersion = None,
) -> None:
    """Show a request, ask, and send the decision. Already decided: exit 7."""
    wish = Wish(decision, scope, ttl_ms, pattern, comment, end_run)
    check(wish)
    session = current(ctx)
    wanted = typed_pattern(pattern, session.world)
    request_id = require_id("apr", approval_id)
    session.require_consent()
    _, etag = seen_request(session, request_id, if_version)
    body: dict[str, Any] = {
        "decision": decision.value,
        "scope": wish.reach.value if wish.reach else None,
        "ttl_ms": ttl_ms,
        "pattern": chosen_pattern(session, request_id, wish, wanted),
        "comment": comment,
        "end_run": end_run or None,
    }
    session.confirm(_question(request_id, wish))
    answer = answered(session, request_id, "decision", body, etag)
    if answer.status == 202:
        session.say(quorum_line(answer.data))
    session.output.one(answer.text, answer.data)


@app.command(epilog=f"Example: palyra approvals cancel {EXAMPLE} --yes")
def cancel(
    ctx: typer.Context,
    *,
    approval_id: ApprovalId,
    reason: Annotated[str | None, typer.Option("--reason", help="Why.")] = None,
) -> None:
    """Withdraw a request that still waits; its call does not run."""
    session = current(ctx)
    request_id = require_id("apr", approval_id)
    session.confirm(f"Cancel {request_id}?")
    key = session.new_key()
    answer = session.elevated(lambda: session.api.approvals.cancel(request_id, reason=reason, key=key))
    session.output.one(answer.text, answer.data)


def _question(request_id: str, wish: Wish) -> str:
    if wish.reach is not None:
        length = f", {wish.ttl_ms} ms" if wish.ttl_ms is not None else ""
        return f"Allow {request_id} for scope {wish.reach}{length}?"
    return f"Deny {request_id}" + (" and end its run?" if wish.end_run else "?")
