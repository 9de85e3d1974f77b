"""`palyra approvals watch`: requests as they come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from palyra_site.cli.commands.approvals import Risk
from palyra_site.cli.options import Format
from palyra_site.cli.output import cell, pick
from palyra_site.cli.session import Session, current

COLUMNS = ("time", "data.risk", "subject", "data.subject_label", "data.by", "data.expires_at")


def register(app: typer.Typer) -> None:
    """Add the command to `palyra approvals`."""
    app.command(epilog="Example: palyra approvals watch --risk high --risk critical --bell")(watch)


def watch(
    ctx: typer.Context,
    *,
    risk: Annotated[list[Risk] | None, typer.Option("--risk", help="Risk; may be repeated.")] = None,
    bell: Annotated[bool, typer.Option("--bell", help="Ring the terminal for each.")] = False,
) -> None:
    """Show requests you could answer: those that wait now, then each new one. Ctrl-C ends it.

    Watching counts as seeing none of them. With --json each is one line, for a program that reads them.
    """
    from palyra_site.cli.following import follow_questions

    session = current(ctx)
    wanted = {one.value for one in risk or Risk}
    for event in follow_questions(session):
        if event.get("type") != "approval.requested" or pick(event, "data.risk") not in wanted:
            continue
        _write(session, event)
        if bell:
            _ring(session)


def question_line(event: Mapping[str, Any]) -> str:
    """Return a new request as one line: when, how risky, which, about what, for whom, and until when."""
    return "\t".join(cell(pick(event, name), name) for name in COLUMNS)


def _write(session: Session, event: Mapping[str, Any]) -> None:
    output = session.output
    if output.quiet:
        output.raw(cell(event.get("subject")))
    elif output.format is Format.TABLE:
        output.raw(question_line(event))
    else:
        output.items([event], COLUMNS)


def _ring(session: Session) -> None:
    """Ring where a person can hear it, and put the control character nowhere else."""
    if session.world.stderr.isatty():
        session.world.stderr.write("\a")
        session.world.stderr.flush()
