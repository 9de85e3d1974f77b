"""`palyra tools allowlist` and `palyra tools sensitive`: the lists of this workspace."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from palyra_site.cli import changes
from palyra_site.cli.arguments import All, Cursor, Limit
from palyra_site.cli.listing import write_list
from palyra_site.cli.session import Session, current

if TYPE_CHECKING:
    from palyra_site.cli.client import Entries

allowlist = typer.Typer(help="What this workspace allows.", no_args_is_help=True)
sensitive = typer.Typer(help="What this workspace holds to be sensitive besides.", no_args_is_help=True)

COLUMNS = ("id", "kind", "value")


class Kind(StrEnum):
    TOOL = "tool"
    SKILL = "skill"
    PRINCIPAL = "tool_execute_principal"
    CHANNEL = "tool_execute_channel"


class Sensitive(StrEnum):
    TOOL = "tool"
    ACTION = "action"
    CAPABILITY = "capability"


KindOf = Annotated[Kind, typer.Argument(metavar="KIND", help="Which list.")]
SensitiveOf = Annotated[Sensitive, typer.Argument(metavar="KIND", help="tool, action or capability.")]
Value = Annotated[str, typer.Argument(metavar="NAME", help="Its name or id.")]
OnlyKind = Annotated[list[Kind] | None, typer.Option("--kind", help="Which list; may be repeated.")]
OnlySensitive = Annotated[list[Sensitive] | None, typer.Option("--kind", help="May be repeated.")]


@allowlist.command("list", epilog="Example: palyra tools allowlist list --kind tool")
def list_(
    ctx: typer.Context,
    *,
    kind: OnlyKind = None,
    limit: Limit = None,
    cursor: Cursor = None,
    all_: All = False,
) -> None:
    """List what is allowed."""
    session = current(ctx)
    filters = {"kind": [one.value for one in kind or ()], "limit": limit, "cursor": cursor}
    write_list(session, session.api.allowlist, filters, COLUMNS, everything=all_)


@allowlist.command(epilog="Example: palyra tools allowlist add tool demo.wc --yes")
def add(ctx: typer.Context, *, kind: KindOf, name: Value) -> None:
    """Allow one name."""
    session = current(ctx)
    body = {"kind": kind.value, "value": name}
    changes.create(session, session.api.allowlist, body, f"Allow the {kind} {name}?")


@allowlist.command(epilog="Example: palyra tools allowlist remove tool demo.wc --yes")
def remove(ctx: typer.Context, *, kind: KindOf, name: Value) -> None:
    """Take one name off. The last principal or channel taken off lifts that restriction for everybody."""
    session = current(ctx)
    _remove(session, session.api.allowlist, kind.value, name, f"Take the {kind} {name} off the list?")


@sensitive.command("list", epilog="Example: palyra tools sensitive list")
def rules(
    ctx: typer.Context,
    *,
    kind: OnlySensitive = None,
    limit: Limit = None,
    cursor: Cursor = None,
    all_: All = False,
) -> None:
    """List what is held to be sensitive besides the defaults."""
    session = current(ctx)
    filters = {"kind": [one.value for one in kind or ()], "limit": limit, "cursor": cursor}
    write_list(session, session.api.sensitive, filters, COLUMNS, everything=all_)


@sensitive.command("add", epilog="Example: palyra tools sensitive add tool fs.read --yes")
def hold(ctx: typer.Context, *, kind: SensitiveOf, name: Value) -> None:
    """Hold a tool, action or capability to be sensitive."""
    session = current(ctx)
    body = {"kind": kind.value, "value": name}
    changes.create(session, session.api.sensitive, body, f"Hold the {kind} {name} to be sensitive?")


@sensitive.command("remove", epilog="Example: palyra tools sensitive remove tool fs.read --yes")
def release(ctx: typer.Context, *, kind: SensitiveOf, name: Value) -> None:
    """Take one rule back; the defaults stay."""
    session = current(ctx)
    _remove(
        session, session.api.sensitive, kind.value, name, f"Hold {kind} {name} no longer to be sensitive?"
    )


def _remove(session: Session, entries: Entries, kind: str, name: str, question: str) -> None:
    session.confirm(question)
    session.elevated(lambda: entries.remove(kind, name))
    session.say(f"removed {kind} {name}")
