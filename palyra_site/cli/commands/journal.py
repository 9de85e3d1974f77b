"""`palyra journal`: what happened, and the proof that it was recorded then and not since."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from palyra_site.cli.arguments import All, Cursor, Limit, Since, Until, require_id, window
from palyra_site.cli.exits import Exit
from palyra_site.cli.failures import CliError
from palyra_site.cli.listing import write_list, write_one
from palyra_site.cli.options import Format
from palyra_site.cli.output import cell
from palyra_site.cli.session import Session, current

app = typer.Typer(help="The record of everything, and its proofs.", no_args_is_help=True)

COLUMNS = ("seq", "id", "time", "type", "actor", "subject", "call_id")
CHECKPOINTS = ("tree_size", "root", "key_id", "sealed_at", "witnesses")
LAST_SHOWN = 20
EventId = Annotated[str, typer.Argument(metavar="EVENT", help="evt_…")]
Type = Annotated[
    list[str] | None, typer.Option("--type", help="Name, or a family such as 'tool_call.*'; repeat it.")
]
Actor = Annotated[list[str] | None, typer.Option("--actor", help="Who did it; may be repeated.")]
Subject = Annotated[list[str] | None, typer.Option("--subject", help="What it was done to; repeat it.")]
Run = Annotated[list[str] | None, typer.Option("--run", help="run_…; may be repeated.")]
Call = Annotated[list[str] | None, typer.Option("--call", help="call_…; may be repeated.")]
Out = Annotated[
    str, typer.Option("--output", "-o", "--out", metavar="FILE", help="File (mode 0600); - is stdout.")
]


@app.command("list", epilog="Example: palyra journal list --type 'tool_call.*' --since 2h")
def list_(
    ctx: typer.Context,
    *,
    type_: Type = None,
    actor: Actor = None,
    subject: Subject = None,
    run: Run = None,
    call: Call = None,
    after_seq: Annotated[
        int | None, typer.Option("--after-seq", min=0, help="Sealed events behind this number, in order.")
    ] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    all_: All = False,
    since: Since = None,
    until: Until = None,
) -> None:
    """List events, newest first. What was opened in them is itself recorded."""
    from palyra_site.cli.journal_api import journal_of

    session = current(ctx)
    filters = _named(type_, actor, subject, run, call) | window(session.world, since, until)
    filters |= {"after_seq": after_seq, "limit": limit, "cursor": cursor}
    write_list(session, journal_of(session).events, filters, COLUMNS, everything=all_)


@app.command(epilog="Example: palyra journal show evt_01JD2Q8ZV0C3M4N5P6R7S8T9VW")
def show(ctx: typer.Context, *, event_id: EventId) -> None:
    """Show one event with its place in the log."""
    from palyra_site.cli.journal_api import journal_of

    session = current(ctx)
    write_one(session, journal_of(session).events, require_id("evt", event_id))


@app.command(epilog="Example: palyra journal tail --follow --type 'approval.*'")
def tail(
    ctx: typer.Context,
    *,
    type_: Type = None,
    actor: Actor = None,
    subject: Subject = None,
    run: Run = None,
    call: Call = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as events are sealed.")] = False,
    after: Annotated[
        int | None, typer.Option("--after", min=0, help="Begin behind this number; without it, 20 back.")
    ] = None,
) -> None:
    """Show the newest sealed events in the order of their numbers. Ctrl-C ends it.

    Numbers that are not there are named as a gap: they are gone, or not yours to see.
    """
    from palyra_site.cli.following import follow_journal

    session = current(ctx)
    filters = _named(type_, actor, subject, run, call)
    start = _recent(session) if after is None else after
    read = follow_journal if follow else _up_to_now
    events = read(session, filters, after=start)
    if not any(filters.values()):
        events = with_gaps(session, events, after=start)
    _write(session, events)


@app.command("prove", epilog="Example: palyra journal prove evt_01JD2Q8ZV0C3M4N5P6R7S8T9VW -o e.tlog-proof")
@app.command("proof", hidden=True, epilog="Example: palyra journal proof evt_01JD2Q8ZV0C3M4N5P6R7S8T9VW")
def prove(
    ctx: typer.Context,
    *,
    event_id: EventId,
    size: Annotated[
        int | None, typer.Option("--size", min=1, help="Size of the checkpoint; the newest without it.")
    ] = None,
    out: Out = "-",
) -> None:
    """Take the proof of one event: the envelope, its way up and the signed checkpoint."""
    from palyra_site.cli.journal_api import journal_of

    session = current(ctx)
    answer = journal_of(session).proof(require_id("evt", event_id), size)
    _keep(session, answer.text, out)


@app.command(epilog="Example: palyra journal checkpoint -o checkpoint")
def checkpoint(ctx: typer.Context, *, out: Out = "-") -> None:
    """Take the newest signed checkpoint: what is kept elsewhere shows a log that was cut later."""
    from palyra_site.cli.journal_api import journal_of

    session = current(ctx)
    _keep(session, journal_of(session).checkpoint().text, out)


@app.command(epilog="Example: palyra journal checkpoints --limit 5")
def checkpoints(ctx: typer.Context, *, limit: Limit = None, cursor: Cursor = None, all_: All = False) -> None:
    """List the signed checkpoints."""
    from palyra_site.cli.journal_api import journal_of

    session = current(ctx)
    rows = journal_of(session).collection("checkpoints")
    write_list(session, rows, {"limit": limit, "cursor": cursor}, CHECKPOINTS, everything=all_)


@app.command(epilog="Example: palyra journal consistency 1042 2080")
def consistency(
    ctx: typer.Context,
    *,
    old: Annotated[int, typer.Argument(metavar="A", min=0, help="Size of the older tree.")],
    new: Annotated[int, typer.Argument(metavar="B", min=0, help="Size of the newer tree.")],
) -> None:
    """Check here that the log of one size begins with that of another; exit 12 when it does not.

    The roots are those that the server names: compare them with checkpoints that you kept.
    """
    from governance.journal.merkle import verify_consistency
    from palyra_site.cli.journal_api import journal_of

    session = current(ctx)
    answer = journal_of(session).consistency(old, new)
    found = answer.data
    old_root, new_root, *path = _hashes(found)
    session.output.one(answer.text, found, identity=f"{old} {new}")
    if (found.get("from"), found.get("to")) != (old, new):
        raise CliError("invalid_answer", "The proof is for other sizes.", exit_code=Exit.INTERNAL)
    if not verify_consistency(old, new, old_root, new_root, path):
        session.say("the proof does not hold")
        raise typer.Exit(Exit.FINDINGS)


def with_gaps(session: Session, events: Iterable[Mapping[str, Any]], *, after: int | None) -> Iterator[Any]:
    """Yield the events and say on standard error where numbers are missing between them."""
    last = after
    for event in events:
        seq = event.get("seq")
        if isinstance(seq, int):
            if last is not None and seq > last + 1:
                session.say(f"!! gap {last}→{seq}")
            last = seq
        yield event


def _named(
    type_: list[str] | None,
    actor: list[str] | None,
    subject: list[str] | None,
    run: list[str] | None,
    call: list[str] | None,
) -> dict[str, Any]:
    return {"type": type_, "actor": actor, "subject": subject, "run": run, "call": call}


def _recent(session: Session) -> int | None:
    """Return the number behind which the newest events lie, None when that is the whole log."""
    size = _size(session)
    return size - 1 - LAST_SHOWN if size > LAST_SHOWN else None


def _size(session: Session) -> int:
    """Return how many events are sealed, 0 when there is no checkpoint yet."""
    from palyra_site.cli.journal_api import journal_of

    try:
        lines = journal_of(session).checkpoint().text.split("\n")
    except CliError as error:
        if error.exit_code is Exit.NOT_FOUND:
            return 0
        raise
    return int(lines[1]) if len(lines) > 1 and lines[1].isdecimal() else 0


def _up_to_now(session: Session, filters: Mapping[str, Any], *, after: int | None) -> Iterator[Any]:
    import json

    from palyra_site.cli.journal_api import journal_of

    for line in journal_of(session).lines(filters, after=after):
        if line:
            yield json.loads(line)


def _write(session: Session, events: Iterator[Mapping[str, Any]]) -> None:
    if session.output.format is Format.TABLE and not session.output.quiet and not session.output.columns:
        for event in events:
            session.output.raw("\t".join(cell(event.get(name), name) for name in COLUMNS))
    elif session.output.format is Format.YAML:
        for event in events:
            session.output.items([event], COLUMNS)
    else:
        session.output.items(events, COLUMNS)


def _keep(session: Session, text: str, out: str) -> None:
    """Write a text of the server byte for byte into a file, or to standard output."""
    from palyra_site.cli.exporting import target

    if out == "-":
        session.output.raw(text)
        return
    with target(Path(out)) as file:
        file.write(text)
    session.say(f"written to {out}")


def _hashes(found: Mapping[str, Any]) -> list[bytes]:
    from governance.journal.export_lines import decoded

    path = found.get("hashes")
    try:
        texts = [found.get("from_root"), found.get("to_root"), *(path if isinstance(path, list) else [None])]
        return [decoded(text) for text in texts]
    except ValueError as error:
        raise CliError("invalid_answer", "The proof is none.", exit_code=Exit.INTERNAL) from error
