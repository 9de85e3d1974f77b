"""`palyra evidence`: everything about one call in one file, and checking such a file anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from palyra_site.cli.arguments import require_id
from palyra_site.cli.commands.journal_verify import Keys
from palyra_site.cli.exits import Exit
from palyra_site.cli.failures import CliError
from palyra_site.cli.options import Format
from palyra_site.cli.session import current

CHECKS = ("check", "holds", "detail")


class Evidence(TyperGroup):
    """`palyra evidence call_… -o FILE` is short for `palyra evidence get call_… -o FILE`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0].startswith("call_"):
            args = ["get", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(cls=Evidence, help="The evidence of one call, as a file.", no_args_is_help=True)


@app.command(epilog="Example: palyra evidence get call_01JD2Q8ZV0C3M4N5P6R7S8T9VW -o evidence.zip")
def get(
    ctx: typer.Context,
    *,
    call_id: Annotated[str, typer.Argument(metavar="CALL", help="call_…")],
    out: Annotated[
        Path, typer.Option("--output", "-o", "--out", metavar="FILE", help="File to write (mode 0600).")
    ],
    reveal: Annotated[
        bool, typer.Option("--reveal", help="With the data of events, input and output; it is recorded.")
    ] = False,
) -> None:
    """Take the evidence of a call: events with proofs, attestation, rules, answers, keys, a verifier."""
    from palyra_site.cli.connection import ARCHIVE
    from palyra_site.cli.exporting import binary_target
    from palyra_site.cli.journal_api import journal_of

    session = current(ctx)
    wanted = require_id("call", call_id)
    answer = session.elevated(lambda: journal_of(session).evidence(wanted, reveal=reveal))
    if answer.headers.get("Content-Type") != ARCHIVE:
        raise CliError("invalid_answer", "The server sent no bundle.", exit_code=Exit.INTERNAL)
    with binary_target(out) as file:
        file.write(answer.content)
    session.say(f"{len(answer.content)} bytes in {out}")


@app.command(epilog="Example: palyra evidence verify evidence.zip --key pub.pem")
def verify(
    ctx: typer.Context,
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A bundle of evidence.")],
    key: Keys = None,
) -> None:
    """Check a bundle here, without a server. Exit 0 when everything holds, 12 when something does not.

    Without a key that you trust from elsewhere, a bundle vouches only for itself.
    """
    from palyra_site.cli.offline_bundle import check_bundle
    from palyra_site.cli.offline_keys import read_anchors

    session = current(ctx)
    anchors = read_anchors(key) if key else None
    checked = check_bundle(file, anchors)
    text, verdict = checked.shown()
    if session.output.format is Format.TABLE and not session.output.quiet:
        session.output.items(verdict["checks"], CHECKS)
    else:
        session.output.one(text, verdict)
    if anchors is None and checked.holds:
        session.say("holds by its own keys: compare their ids with a source that you trust, or give --key")
    if not checked.holds:
        raise typer.Exit(Exit.FINDINGS)
