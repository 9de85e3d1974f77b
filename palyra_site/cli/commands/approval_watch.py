"""`palyra approvals watch`: requests as they come, for a person at a terminal or a program of theirs."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from palyra_site.cli.commands.approvals import Risk
from palyra_site.cli.failures import UsageError
from palyra_site.cli.options import Format
from palyra_site.cli.output import cell, pick
from palyra_site.cli.session import Session, current

COLUMNS = ("time", "data.risk", "subject", "data.subject_label", "data.by", "data.expires_at")
PROGRAM_PATIENCE = 60.0


def register(app: typer.Typer) -> None:
    """Add the command to `palyra approvals`."""
    app.command(epilog="Example: palyra approvals watch --risk high --risk critical --bell")(watch)


def watch(
    ctx: typer.Context,
    *,
    risk: Annotated[list[Risk] | None, typer.Option("--risk", help="Risk; may be repeated.")] = None,
    bell: Annotated[bool, typer.Option("--bell", help="Ring the terminal for each.")] = False,
    program: Annotated[
        str | None,
        typer.Option("--exec", metavar="CMD", help="Run for each, with the event as JSON on its stdin."),
    ] = None,
) -> None:
    """Show requests you could answer: those that wait now, then each new one. Ctrl-C ends it.

    Watching counts as seeing none of them. CMD is run without a shell and without your token.
    """
    from palyra_site.cli.following import follow_questions

    session = current(ctx)
    words = _words(program)
    wanted = {one.value for one in risk or Risk}
    for event in follow_questions(session):
        if event.get("type") != "approval.requested" or pick(event, "data.risk") not in wanted:
            continue
        _write(session, event)
        if bell:
            _ring(session)
        if words:
            _run(session, words, event)


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


def _words(program: str | None) -> list[str]:
    """Return the program and its arguments, or raise UsageError when there is no such program."""
    if program is None:
        return []
    try:
        words = shlex.split(program)
    except ValueError as error:
        raise UsageError(f"--exec cannot be read: {error}.") from error
    if not words or shutil.which(words[0]) is None:
        raise UsageError("--exec names no program that can be run.")
    return words


def _run(session: Session, words: list[str], event: Mapping[str, Any]) -> None:
    """Run the program to its end. What it does or fails to do does not end the watch."""
    import subprocess

    try:
        done = subprocess.run(
            words,
            input=json.dumps(event).encode("ascii"),
            stdout=2,
            env=_without_token(session),
            timeout=PROGRAM_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        session.say(f"{words[0]} did not end well: {type(error).__name__}")
        return
    if done.returncode:
        session.say(f"{words[0]} ended with {done.returncode}")


def _without_token(session: Session) -> dict[str, str]:
    """Return the environment less every variable that holds the credential, whatever it is called."""
    token = session.settings.token
    environ = session.world.environ
    return {
        name: value
        for name, value in environ.items()
        if name != "PALYRA_TOKEN" and not (token and token in value)
    }
