"""`palyra tools`: what agents may propose, and who decides that."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from palyra_site.cli.arguments import IfMatch, Reason, parse_json, read_source
from palyra_site.cli.changes import edit
from palyra_site.cli.commands import allowlist, limits
from palyra_site.cli.exits import Exit
from palyra_site.cli.failures import CliError, UsageError
from palyra_site.cli.listing import write_list
from palyra_site.cli.session import Session, current

app = typer.Typer(help="Tools that agents may propose.", no_args_is_help=True)
app.add_typer(limits.app, name="limits")
app.add_typer(allowlist.allowlist, name="allowlist")
app.add_typer(allowlist.sensitive, name="sensitive")

COLUMNS = ("name", "tier", "risk", "posture", "enabled", "description")
CATALOG = ("name", "version", "tier", "risk", "posture")
FILTERED = ("name", "reason_code", "repair")
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the tool.")]


class Risk(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Posture(StrEnum):
    ALWAYS_ALLOW = "always_allow"
    ASK_EACH_TIME = "ask_each_time"
    DISABLED = "disabled"


@app.command("list", epilog="Example: palyra tools list --risk high")
def list_(
    ctx: typer.Context,
    *,
    risk: Annotated[list[Risk] | None, typer.Option("--risk", help="Risk; may be repeated.")] = None,
    posture: Annotated[
        list[Posture] | None, typer.Option("--posture", help="Posture here; may be repeated.")
    ] = None,
) -> None:
    """List the tools of the catalog."""
    session = current(ctx)
    filters = {"risk": [one.value for one in risk or ()], "posture": [one.value for one in posture or ()]}
    write_list(session, session.api.tools, filters, COLUMNS, everything=False)


@app.command(epilog="Example: palyra tools show fs.write --schema")
def show(
    ctx: typer.Context,
    *,
    name: Name,
    schema: Annotated[bool, typer.Option("--schema", help="Write its input schema alone.")] = False,
) -> None:
    """Show a tool: its definition, versions, posture here, and whether its tier is there."""
    session = current(ctx)
    answer = session.elevated(lambda: session.api.tools.show(name))
    if schema:
        session.output.value(answer.data.get("input_schema") or {})
        return
    session.output.one(answer.text, answer.data)


@app.command(epilog="Example: palyra tools catalog -o json")
def catalog(ctx: typer.Context) -> None:
    """List what you could call now; on standard error, what you could not, and why."""
    session = current(ctx)
    answer = session.elevated(session.api.tools.catalog)
    session.output.page(answer.text, answer.data, CATALOG)
    for one in answer.data.get("filtered") or ():
        session.say(" ".join(str(one.get(name, "")) for name in FILTERED))


@app.command(epilog="Example: palyra tools register -f wc.json --yes")
def register(
    ctx: typer.Context,
    *,
    file: Annotated[
        str, typer.Option("--file", "-f", help="JSON file with the definition, or - for standard input.")
    ],
) -> None:
    """Register a tool, or a new version of it when its name is taken by a custom tool."""
    session = current(ctx)
    body = _definition(file, session)
    session.require_consent()
    known = _known(session, body["name"])
    for line in _words(body):
        session.say(line)
    key = session.new_key()
    if known is None:
        session.confirm(f"Register the tool {body['name']}?")
        answer = session.elevated(lambda: session.api.tools.create(body, key=key))
    else:
        session.confirm(f"Register a new version of {body['name']}, which is at {known.get('version')}?")
        rest = {name: value for name, value in body.items() if name != "name"}
        answer = session.elevated(lambda: session.api.tools.act(body["name"], "versions", rest, key=key))
    session.output.one(answer.text, answer.data)


@app.command(epilog='Example: palyra tools enable demo.wc --reason "looked at it" --yes')
def enable(ctx: typer.Context, *, name: Name, reason: Reason, if_match: IfMatch = None) -> None:
    """Switch a tool on."""
    _switch(ctx, name, reason, if_match, on=True)


@app.command(epilog='Example: palyra tools disable demo.wc --reason "odd calls" --yes')
def disable(ctx: typer.Context, *, name: Name, reason: Reason, if_match: IfMatch = None) -> None:
    """Switch a tool off; what is queued or waits is refused when its turn comes."""
    _switch(ctx, name, reason, if_match, on=False)


@app.command(epilog='Example: palyra tools describe demo.wc --text "Counts lines." --reason typo --yes')
def describe(
    ctx: typer.Context,
    *,
    name: Name,
    text: Annotated[str, typer.Option("--text", help="The new description.")],
    reason: Reason,
    if_match: IfMatch = None,
) -> None:
    """Describe a custom tool anew; its definition stays."""
    session = current(ctx)
    wanted = {"description": text, "reason": reason}
    edit(session, session.api.tools, name, wanted, if_match=if_match)


def _switch(ctx: typer.Context, name: str, reason: str, if_match: str | None, *, on: bool) -> None:
    session = current(ctx)
    edit(session, session.api.tools, name, {"enabled": on, "reason": reason}, if_match=if_match)


def _definition(source: str, session: Session) -> dict[str, Any]:
    text = read_source(source if source == "-" else f"@{Path(source)}", session.world)
    body = parse_json(text)
    if not isinstance(body, dict) or not isinstance(body.get("name"), str) or not body["name"]:
        raise UsageError("The file must hold one JSON object with the name of the tool.")
    return body


def _known(session: Session, name: str) -> Mapping[str, Any] | None:
    try:
        found = session.elevated(lambda: session.api.tools.show(name)).data
    except CliError as error:
        if error.exit_code == Exit.NOT_FOUND:
            return None
        raise
    return found


def _words(body: Mapping[str, Any]) -> list[str]:
    """What a person should have read before they confirm."""
    return [
        f"{name}: {body[name]}"
        for name in ("argv_template", "capabilities", "tier", "risk", "egress_hosts", "secrets", "sinks")
        if name in body
    ]
