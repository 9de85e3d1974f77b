"""Commands about the server and this command itself: whoami, up-check, api, version, completion."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palyra_site.cli.arguments import parse_json, read_source
from palyra_site.cli.exits import Exit
from palyra_site.cli.failures import CliError, UsageError
from palyra_site.cli.session import Session, current
from palyra_site.cli.settings import API_PREFIX
from palyra_site.cli.version import VERSION

if TYPE_CHECKING:
    from palyra_site.cli.connection import Answer

_ROOTS = ("/api/", "/healthz", "/readyz", "/metrics", "/.well-known/")
_HEADER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_OWN_HEADERS = frozenset(
    {
        "authorization",
        "host",
        "content-length",
        "content-type",
        "connection",
        "transfer-encoding",
        "cookie",
        "idempotency-key",
    }
)


class Method(StrEnum):
    GET = "GET"
    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"
    DELETE = "DELETE"


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the top level."""
    app.command(epilog="Example: palyra whoami --json")(whoami)
    app.command("up-check", epilog="Example: palyra up-check --url http://127.0.0.1:8470")(up_check)
    app.command(epilog="Example: palyra api GET /approvals?state=pending")(api)
    app.command(epilog="Example: palyra version")(version)
    app.command(epilog="Example: palyra completion bash > ~/.local/share/bash-completion/completions/palyra")(
        completion
    )


def whoami(ctx: typer.Context) -> None:
    """Show the principal that the server sees."""
    session = current(ctx)
    answer = session.api.whoami()
    session.output.one(answer.text, answer.data)


def up_check(ctx: typer.Context) -> None:
    """Tell whether a server is there and ready, and how far its clock is off. Exit 4 when not."""
    session = current(ctx)
    health = session.api.healthz()
    ready, failing = _readiness(session)
    report = {
        "object": "up_check",
        "url": session.settings.origin,
        "healthy": health.data.get("status") == "ok",
        "ready": ready,
        "failing": failing,
        "clock_offset_seconds": _clock_offset(session, health),
        "encrypted": session.settings.origin.startswith("https://"),
        "profile": session.settings.profile.name if session.settings.profile else None,
    }
    session.output.value(report)
    if not (report["healthy"] and ready):
        raise typer.Exit(Exit.UNREACHABLE)


def api(
    ctx: typer.Context,
    *,
    method: Annotated[Method, typer.Argument(case_sensitive=False, help="GET, POST, PUT, PATCH, DELETE.")],
    path: Annotated[str, typer.Argument(help="Path below /api/v1, or a whole path from the root.")],
    data: Annotated[str | None, typer.Option("--data", help="JSON body: @file or - for stdin.")] = None,
    header: Annotated[list[str] | None, typer.Option("--header", help="NAME:VALUE; may be repeated.")] = None,
) -> None:
    """Send one request with the credential, retries and exit codes of all commands."""
    from palyra_site.cli.connection import Query

    session = current(ctx)
    target, headers = api_path(path), _headers(header or [])
    if method is not Method.GET:
        session.confirm(f"{method} {target} on {session.settings.origin}?")
    body = _body(session, method, data)
    answer = session.api.connection.send(
        Query(method.value, target, body=body, headers=headers, key=session.new_key())
    )
    if "json" in answer.headers.get("Content-Type", ""):
        session.output.body(answer.text, answer.value)
    elif answer.text:
        session.output.raw(answer.text)


def version() -> None:
    """Print the version of this command."""
    typer.echo(f"palyra {VERSION}")


def completion(
    ctx: typer.Context, *, shell: Annotated[Shell, typer.Argument(help="bash, zsh, fish or powershell.")]
) -> None:
    """Print the completion script of a shell."""
    from palyra_site.cli.completion import print_script

    print_script(ctx.find_root().command, shell.value)


def api_path(path: str) -> str:
    """Return the path to send: a root path as it is, anything else below /api/v1."""
    if not path.startswith("/") or path.startswith("//") or "\\" in path or "#" in path:
        raise UsageError("The path starts with one slash and names no host.")
    if not path.isascii() or not path.isprintable() or " " in path:
        raise UsageError("The path holds printable ASCII only; encode the rest with %XX.")
    return path if path.startswith(_ROOTS) else f"{API_PREFIX}{path}"


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _HEADER_NAME.fullmatch(name) or not line.isascii() or not line.isprintable():
            raise UsageError("--header takes NAME:VALUE in printable ASCII.")
        if name.lower() in _OWN_HEADERS:
            raise UsageError(f"The header {name} is set by the command itself.")
        headers[name] = value.strip()
    return headers


def _body(session: Session, method: Method, source: str | None) -> Any:
    if source is None:
        return None
    if method is Method.GET:
        raise UsageError("GET takes no --data.")
    if source != "-" and not source.startswith("@"):
        raise UsageError("--data takes @file or -.")
    return parse_json(read_source(source, session.world))


def _readiness(session: Session) -> tuple[bool, object]:
    try:
        session.api.readyz()
    except CliError as error:
        if error.exit_code is not Exit.UNREACHABLE or error.document is None:
            raise
        return False, error.document.get("failing") or error.code
    return True, None


def _clock_offset(session: Session, answer: Answer) -> int | None:
    """Return how many seconds the server's clock is ahead, None when it sends no date."""
    try:
        there = parsedate_to_datetime(answer.headers.get("Date", ""))
    except ValueError:
        return None
    return round(there.timestamp() - session.world.clock())
