"""`palyra approvals bulk-decide`, `edit`, `break-glass`: the rarer ways to answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palyra_site.cli.approval_words import aligned, brief_rows, change_lines
from palyra_site.cli.arguments import require_id, tool_input
from palyra_site.cli.commands.approvals import EXAMPLE, ApprovalId, IfVersion
from palyra_site.cli.deciding import Verdict, answered, etag_of, require_comment, seen_request
from palyra_site.cli.exits import Exit, exit_for, exit_for_call
from palyra_site.cli.failures import UsageError
from palyra_site.cli.session import Session, current

if TYPE_CHECKING:
    from palyra_site.cli.connection import Answer

MOST_AT_ONCE = 50
SHORTEST_EMERGENCY = 20
ROW_COLUMNS = ("id", "status", "outcome.state", "error.code", "error.detail")
Why = Annotated[str, typer.Option("--comment", help="Why; the record keeps it.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `palyra approvals`."""
    bulk = f'Example: palyra approvals bulk-decide {EXAMPLE} --decision allow --comment "nightly run"'
    app.command("bulk-decide", epilog=bulk)(bulk_decide)
    new_input = f'Example: palyra approvals edit {EXAMPLE} --input @new.json --comment "smaller"'
    app.command(epilog=new_input)(edit)
    forced = f'Example: palyra approvals break-glass {EXAMPLE} --comment "outage 4711, nobody else reachable"'
    app.command("break-glass", epilog=forced)(break_glass)


def bulk_decide(
    ctx: typer.Context,
    *,
    approval_ids: Annotated[list[str], typer.Argument(metavar="ID…", help="apr_…, up to 50.")],
    decision: Annotated[Verdict, typer.Option("--decision", help="allow or deny.")],
    comment: Annotated[str | None, typer.Option("--comment", help="Reason; needed to deny.")] = None,
) -> None:
    """Give requests of one agent and one tool the same answer; an allow is for once.

    Each has its own result, and one that fails stops no other; the exit code is that of the first failure.
    """
    if len(set(approval_ids)) != len(approval_ids) or len(approval_ids) > MOST_AT_ONCE:
        raise UsageError(f"bulk-decide takes 1 to {MOST_AT_ONCE} different ids.")
    if decision is Verdict.DENY:
        require_comment(comment, "A denial needs --comment.")
    session = current(ctx)
    names = [require_id("apr", one) for one in approval_ids]
    session.require_consent()
    versions = [_versioned(session, name) for name in names]
    session.confirm(f"{decision.capitalize()} these {len(names)}?")
    key = session.new_key()
    body = {"requests": versions, "decision": decision.value, "comment": comment}
    answer = session.with_step_up(
        lambda otp: session.api.approvals.decide_many({**body, "otp": otp}, key=key)
    )
    session.output.page(answer.text, answer.data, ROW_COLUMNS)
    _end_as_rows(session, answer.data)


def edit(
    ctx: typer.Context,
    *,
    approval_id: ApprovalId,
    new_input: Annotated[str, typer.Option("--input", help="The whole new input: @file, or - for stdin.")],
    comment: Why,
    if_version: IfVersion = None,
) -> None:
    """Put other arguments in the place of those that wait, and say what became of the new call.

    Up to medium risk that is your allow too; above, somebody else is asked.
    """
    require_comment(comment, "An edit needs --comment.")
    if new_input != "-" and not new_input.startswith("@"):
        raise UsageError("--input takes @file or -: the whole new input, not a part of it.")
    session = current(ctx)
    request_id = require_id("apr", approval_id)
    session.require_consent()
    values = tool_input([new_input], session.world)
    seen, etag = seen_request(session, request_id, if_version)
    for line in change_lines(_shown_parameters(seen), values):
        session.say(f"change {line}")
    session.confirm(f"Change the arguments of {request_id}?")
    answer = answered(session, request_id, "edit", {"input": values, "comment": comment}, etag)
    session.output.one(answer.text, answer.data)
    _end_as_edited(session, answer)


def break_glass(
    ctx: typer.Context, *, approval_id: ApprovalId, comment: Why, if_version: IfVersion = None
) -> None:
    """Allow a request once and alone in an emergency. Somebody else reviews it within 24 hours."""
    require_comment(
        comment,
        f"Breaking the glass needs a --comment of {SHORTEST_EMERGENCY} characters.",
        SHORTEST_EMERGENCY,
    )
    session = current(ctx)
    request_id = require_id("apr", approval_id)
    session.require_consent()
    _, etag = seen_request(session, request_id, if_version)
    session.confirm(f"Force {request_id} alone? The owners are told now, somebody else reviews it.")
    answer = answered(session, request_id, "break-glass", {"comment": comment}, etag)
    session.output.one(answer.text, answer.data)


def _versioned(session: Session, request_id: str) -> str:
    """Show one of many and return it with the version that was shown."""
    seen = session.api.approvals.show(request_id)
    for line in (*aligned(brief_rows(seen.data)), ""):
        session.say(line)
    return etag_of(request_id, seen, None).strip('"')


def _end_as_rows(session: Session, data: Mapping[str, Any]) -> None:
    rows = [row for row in data.get("data") or () if isinstance(row, dict)]
    failed = [row for row in rows if not _is_done(row)]
    session.say(f"{len(rows) - len(failed)} of {len(rows)} answered")
    if failed:
        raise typer.Exit(_exit_of(failed[0]))


def _is_done(row: Mapping[str, Any]) -> bool:
    status = row.get("status")
    return isinstance(status, int) and 200 <= status < 300


def _exit_of(row: Mapping[str, Any]) -> Exit:
    error, status = row.get("error"), row.get("status")
    code = error.get("code") if isinstance(error, dict) else None
    if not isinstance(status, int):
        return Exit.INTERNAL
    return exit_for(status, code if isinstance(code, str) else None)


def _shown_parameters(seen: Answer) -> object:
    context = seen.data.get("context")
    return context.get("parameters_view") if isinstance(context, dict) else None


def _end_as_edited(session: Session, answer: Answer) -> None:
    """Say which request stands in its place; a new call that was refused at once is a refusal."""
    after = answer.data.get("superseded_by")
    if not isinstance(after, dict):
        return
    if answer.status == 202:
        session.say(f"the new call waits for an answer: {after.get('approval_id')}")
    code = exit_for_call(str(after.get("call_state")), waited=False)
    if code is Exit.REFUSED:
        raise typer.Exit(code)
