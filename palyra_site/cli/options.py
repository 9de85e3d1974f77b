"""Options that every command takes, before or after its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer

_META = "palyra.options"


class Format(StrEnum):
    """How data is written to standard output."""

    TABLE = "table"
    JSON = "json"
    NDJSON = "ndjson"
    YAML = "yaml"


@dataclass(frozen=True, slots=True)
class Options:
    """The common options as given; None means not given."""

    profile: str | None = None
    url: str | None = None
    output: Format | None = None
    json: bool = False
    columns: str | None = None
    quiet: bool = False
    no_color: bool = False
    no_input: bool = False
    yes: bool = False
    timeout: float | None = None
    otp: str | None = None
    otp_file: str | None = None
    expect_profile: str | None = None
    idempotency_key: str | None = None
    ca_file: str | None = None
    insecure_http: bool = False
    verbose: int = 0


def given(ctx: typer.Context) -> Options:
    """Return the common options of this command line; one after the command wins over one before."""
    return Options(**ctx.meta.get(_META, {}))


def add_to(command: Any) -> None:
    """Give the common options to `command` and to every command below it."""
    _append(command, _parameters())


def _append(command: Any, parameters: list[Any]) -> None:
    """A command whose own option has the name of a common one keeps its own."""
    taken = {name for parameter in command.params for name in parameter.opts}
    command.params.extend(one for one in parameters if not taken.intersection(one.opts))
    for child in getattr(command, "commands", {}).values():
        _append(child, parameters)


def _parameters() -> list[Any]:
    template = typer.Typer(add_completion=False)
    template.command()(_template)
    parameters = list(typer.main.get_command(template).params)
    for parameter in parameters:
        parameter.expose_value = False
    return parameters


def _store(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
    absent = value is None or (isinstance(value, int) and not value)
    if not absent:
        stored: Mapping[str, Any] = ctx.meta.get(_META, {})
        ctx.meta[_META] = {**stored, str(param.name): value}
    return value


def _option(*names: str, text: str, metavar: str | None = None, count: bool = False) -> Any:
    return typer.Option(*names, help=text, metavar=metavar, count=count, callback=_store, show_default=False)


def _template(
    *,
    profile: Annotated[str | None, _option("--profile", text="Profile of the config file.")] = None,
    url: Annotated[str | None, _option("--url", text="Origin of the server.")] = None,
    output: Annotated[
        Format | None, _option("--output", "-o", text="table, json, ndjson or yaml.", metavar="FORMAT")
    ] = None,
    json: Annotated[bool, _option("--json", text="The API's object; the same as -o json.")] = False,
    columns: Annotated[
        str | None, _option("--columns", text="Columns of a table, as a,b.c.", metavar="A,B")
    ] = None,
    quiet: Annotated[bool, _option("--quiet", "-q", text="Print ids only.")] = False,
    no_color: Annotated[bool, _option("--no-color", text="No colours.")] = False,
    no_input: Annotated[bool, _option("--no-input", text="Never ask.")] = False,
    yes: Annotated[bool, _option("--yes", "-y", text="Do not ask for confirmation.")] = False,
    timeout: Annotated[
        float | None, _option("--timeout", text="Wait for an answer this long (30).", metavar="SECONDS")
    ] = None,
    otp: Annotated[
        str | None, _option("--otp", text="One-time code; - reads it from stdin.", metavar="CODE")
    ] = None,
    otp_file: Annotated[
        str | None, _option("--otp-file", text="File that holds the one-time code.", metavar="FILE")
    ] = None,
    expect_profile: Annotated[
        str | None, _option("--expect-profile", text="Refuse when another profile is active.", metavar="NAME")
    ] = None,
    idempotency_key: Annotated[
        str | None,
        _option("--idempotency-key", text="Key of the change, to repeat it safely.", metavar="KEY"),
    ] = None,
    ca_file: Annotated[
        str | None, _option("--ca-file", text="Certificates to trust for https.", metavar="FILE")
    ] = None,
    insecure_http: Annotated[
        bool, _option("--insecure-http", text="Allow http to another machine; the token is readable.")
    ] = False,
    verbose: Annotated[int, _option("--verbose", "-v", text="Timing; twice: headers too.", count=True)] = 0,
) -> None:
    """Only its parameters are used."""
