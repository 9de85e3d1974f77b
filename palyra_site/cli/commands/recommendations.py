"""`palyra posture recommend`: what the last two weeks say about postures."""

from __future__ import annotations

from typing import Annotated

import typer

from palyra_site.cli.listing import write_list
from palyra_site.cli.session import current

app = typer.Typer(help="Recommendations, drawn from what people answered.", no_args_is_help=True)

COLUMNS = ("id", "kind", "tool", "scope_kind", "current", "target", "reason")
Id = Annotated[str, typer.Argument(metavar="ID", help="rec:… of the list.")]
Why = Annotated[str, typer.Option("--reason", help="Why; it is recorded.")]
EXAMPLE = "rec:tighten:global::fs.write:disabled"


@app.command("list", epilog="Example: palyra posture recommend list")
def list_(ctx: typer.Context) -> None:
    """List what holds for this workspace now and nobody has put off."""
    session = current(ctx)
    write_list(session, session.api.posture.recommendations, {}, COLUMNS, everything=False)


@app.command(epilog=f"Example: palyra posture recommend accept {EXAMPLE} --yes")
def accept(ctx: typer.Context, *, recommendation: Id, reason: Why = "") -> None:
    """Set the override that is recommended."""
    _answer(ctx, recommendation, "accept", reason)


@app.command(epilog=f"Example: palyra posture recommend dismiss {EXAMPLE} --yes")
def dismiss(ctx: typer.Context, *, recommendation: Id, reason: Why = "") -> None:
    """Hide a recommendation for 30 days."""
    _answer(ctx, recommendation, "dismiss", reason)


@app.command(epilog=f"Example: palyra posture recommend defer {EXAMPLE} --yes")
def defer(ctx: typer.Context, *, recommendation: Id, reason: Why = "") -> None:
    """Hide a recommendation for 7 days."""
    _answer(ctx, recommendation, "defer", reason)


def _answer(ctx: typer.Context, recommendation: str, answer: str, reason: str) -> None:
    session = current(ctx)
    session.confirm(f"{answer.capitalize()} {recommendation}?")
    key = session.new_key()
    body = {"answer": answer, **({"reason": reason} if reason else {})}
    found = session.api.posture.recommendations
    sent = session.elevated(lambda: found.act(recommendation, "answer", body, key=key))
    session.output.one(sent.text, sent.data)
