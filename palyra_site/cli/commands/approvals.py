"""`palyra approvals`: read requests and answer them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palyra_site.cli.arguments import All, Cursor, Limit, Since, Until, require_id, window
from palyra_site.cli.exits import Exit
from palyra_site.cli.failures import CliError, UsageError
from palyra_site.cli.listing import write_list
from palyra_site.cli.output import cell, flatten
from palyra_site.cli.session import Session, current

if TYPE_CHECKING:
    from palyra_site.cli.connection import Answer

app = typer.Typer(help="Requests that wait for a person.", no_args_is_help=True)

COLUMNS = ("id", "state", "risk", "subject_label", "requested_at", "expires_at")
ApprovalId = Annotated[str, typer.Argument(metavar="ID", help="apr_…")]


class Verdict(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


class Scope(StrEnum):
    ONCE = "once"
    SESSION = "session"
    TEMPORARY = "temporary"
    ALWAYS = "always"


class Status(StrEnum):
    PENDING = "pending"
    ALLOWED = "allowed"
    DENIED = "denied"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    ALL = "all"


@app.command("list", epilog="Example: palyra approvals list --status pending --risk high")
def list_(
    ctx: typer.Context,
    *,
    status: Annotated[Status, typer.Option(help="State of the request.")] = Status.PENDING,
    risk: Annotated[str | None, typer.Option(help="low, medium, high or critical.")] = None,
    subject_type: Annotated[str | None, typer.Option(help="Kind of subject, such as tool.")] = None,
    agent: Annotated[str | None, typer.Option(help="Agent that asks.")] = None,
    run: Annotated[str | None, typer.Option(help="run_…")] = None,
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
        "risk": risk,
        "subject_type": subject_type,
        "agent": agent,
        "run": run,
        "limit": limit,
        "cursor": cursor,
        **window(session.world, since, until),
    }
    write_list(session, session.api.approvals, filters, COLUMNS, everything=all_)


@app.command(epilog="Example: palyra approvals show apr_01JD2Q8ZV0C3M4N5P6R7S8T9VW")
def show(
    ctx: typer.Context,
    *,
    approval_id: ApprovalId,
    raw: Annotated[bool, typer.Option("--raw", help="Every field of the API's object.")] = False,
) -> None:
    """Show who asks for what, with which parameters, and why a person is needed."""
    session = current(ctx)
    answer = session.api.approvals.show(require_id("apr", approval_id))
    session.output.one(answer.text, answer.data, None if raw else prompt_fields(answer.data))


@app.command(
    epilog="Example: palyra approvals decide apr_01JD2Q8ZV0C3M4N5P6R7S8T9VW --decision allow --scope once"
)
def decide(
    ctx: typer.Context,
    *,
    approval_id: ApprovalId,
    decision: Annotated[Verdict, typer.Option("--decision", help="allow or deny.")],
    scope: Annotated[Scope | None, typer.Option("--scope", help="How far an allow reaches (once).")] = None,
    ttl_ms: Annotated[int | None, typer.Option("--ttl-ms", min=1, help="Length of scope temporary.")] = None,
    comment: Annotated[str | None, typer.Option("--comment", help="Reason; needed to deny.")] = None,
    if_version: Annotated[int | None, typer.Option("--if-version", min=1, help="Version you saw.")] = None,
) -> None:
    """Show a request, ask, and send the decision. Already decided: exit 7."""
    check_decision(decision, scope, ttl_ms=ttl_ms, comment=comment)
    session = current(ctx)
    request_id = require_id("apr", approval_id)
    session.require_consent()
    seen = session.api.approvals.show(request_id)
    refuse_settled(seen.data)
    explain(session, seen.data)
    effective = scope or Scope.ONCE
    reach = f" for scope {effective}" if decision is Verdict.ALLOW else ""
    session.confirm(f"{decision.capitalize()} {request_id}{reach}?")
    answer = _send(
        session,
        request_id,
        _etag(request_id, seen, if_version),
        decision=decision.value,
        scope=effective.value if decision is Verdict.ALLOW else None,
        ttl_ms=ttl_ms,
        comment=comment,
    )
    if answer.status == 202:
        session.say(quorum_line(answer.data))
    session.output.one(answer.text, answer.data)


@app.command(epilog="Example: palyra approvals cancel apr_01JD2Q8ZV0C3M4N5P6R7S8T9VW --yes")
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
    answer = session.api.approvals.cancel(request_id, reason=reason, key=session.new_key())
    session.output.one(answer.text, answer.data)


def check_decision(
    decision: Verdict, scope: Scope | None, *, ttl_ms: int | None, comment: str | None
) -> None:
    """Refuse, before any request, options that contradict each other."""
    if decision is Verdict.DENY:
        if scope is not None or ttl_ms is not None:
            raise UsageError("--scope and --ttl-ms belong to --decision allow.")
        if not (comment or "").strip():
            raise UsageError("A denial needs --comment.")
        return
    if scope is Scope.TEMPORARY and ttl_ms is None:
        raise UsageError("--scope temporary needs --ttl-ms.")
    if scope is not Scope.TEMPORARY and ttl_ms is not None:
        raise UsageError("--ttl-ms belongs to --scope temporary.")


def refuse_settled(approval: Mapping[str, Any]) -> None:
    """Raise `already_decided` for a request that no longer waits, with its end and the time."""
    if approval.get("state") == "pending":
        return
    when = approval.get("resolved_at")
    raise CliError(
        "already_decided",
        f"{approval.get('id')} is {approval.get('state')}" + (f" since {when}." if when else "."),
        exit_code=Exit.CONFLICT,
        hint=f"palyra approvals show {approval.get('id')}",
    )


def prompt_fields(approval: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Yield what a person needs to decide, in reading order: state, who, what, why, how."""
    context = approval.get("context")
    prompt = context if isinstance(context, dict) else {}
    for name in ("id", "state", "risk", "subject_label", "requested_at", "expires_at", "resolved_at"):
        if approval.get(name) is not None:
            yield name, approval[name]
    for name in ("title", "summary", "risk_reasons"):
        yield from _named(name, prompt.get(name))
    yield from _named("requester", prompt.get("requester") or approval.get("requester"))
    yield from _named("parameters", prompt.get("parameters_view"))
    shown = {"title", "summary", "risk", "risk_reasons", "requester", "parameters_view"}
    for name, value in prompt.items():
        if name not in shown:
            yield from _named(name, value)
    for name in ("quorum", "eligible", "ineligible_reason"):
        yield from _named(name, approval.get(name))


def explain(session: Session, approval: Mapping[str, Any]) -> None:
    """Write the request to standard error, one field a line."""
    for name, value in prompt_fields(approval):
        session.say(f"{name}: {cell(value, name)}")


def quorum_line(data: Mapping[str, Any]) -> str:
    """Return `1 of 2 approvals` for a decision that left the request open."""
    quorum = data.get("quorum")
    if not isinstance(quorum, dict):
        return "more approvals are needed"
    return f"{quorum.get('allowed')} of {quorum.get('needed')} approvals"


def _named(name: str, value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from flatten(value, f"{name}.")
    elif value not in (None, [], ""):
        yield name, value


def _etag(request_id: str, seen: Answer, version: int | None) -> str:
    if version is not None:
        return f'"{request_id}:{version}"'
    etag = seen.headers.get("ETag")
    if not etag:
        raise CliError(
            "invalid_answer", "The server sent no version of the request.", exit_code=Exit.INTERNAL
        )
    return etag


def _send(session: Session, request_id: str, etag: str, **parts: Any) -> Answer:
    from palyra_site.cli.client import Decision

    key = session.new_key()
    return session.with_step_up(
        lambda otp: session.api.approvals.decide(
            request_id, Decision(otp=otp, **parts), if_match=etag, key=key
        )
    )
