"""`palyra profiles`: the servers of the config file."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from palyra_site.cli.config_file import drop_table, set_keys
from palyra_site.cli.credentials import forget_token
from palyra_site.cli.failures import UsageError
from palyra_site.cli.profiles import (
    Profile,
    absolute,
    chosen_name,
    config_path,
    known_profiles,
    read_config_if_any,
    require_name,
    token_folder,
)
from palyra_site.cli.session import Session, current
from palyra_site.cli.settings import login_origin, login_settings, parse_origin

app = typer.Typer(help="Servers of the config file, by name.", no_args_is_help=True)

COLUMNS = ("name", "active", "url", "risk_level", "token")
ProfileName = Annotated[str, typer.Argument(metavar="NAME", help="Name of a profile.")]


class Risk(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


@app.command("list", epilog="Example: palyra profiles list")
def list_(ctx: typer.Context) -> None:
    """List the profiles and where each keeps its token. Reads no token."""
    session = current(ctx)
    config = read_config_if_any(session.world)
    active = chosen_name(session.options.profile, config, session.world)
    items = [_row(profile, active) for profile in known_profiles(config).values()]
    data = {"object": "list", "data": items, "has_more": False, "next_cursor": None}
    session.output.page(json.dumps(data, ensure_ascii=False), data, COLUMNS)


@app.command(epilog="Example: palyra profiles use prod")
def use(ctx: typer.Context, *, name: ProfileName) -> None:
    """Choose the profile of commands that name none."""
    session = current(ctx)
    _require_known(session, name)
    set_keys(config_path(session.world), (), {"profile": name})
    session.say(f"profile {name} is chosen")


@app.command(epilog="Example: palyra profiles add prod --url https://palyra.example.com --risk-level high")
def add(
    ctx: typer.Context,
    *,
    name: ProfileName,
    risk_level: Annotated[
        Risk, typer.Option("--risk-level", help="From medium on, questions name the profile.")
    ] = Risk.LOW,
    client_cert: Annotated[str | None, typer.Option("--client-cert", help="Certificate of mTLS.")] = None,
    client_key: Annotated[str | None, typer.Option("--client-key", help="File of its key.")] = None,
) -> None:
    """Add a server without a token; `palyra login --profile NAME` gives it one."""
    session = current(ctx)
    if require_name(name) in known_profiles(read_config_if_any(session.world)):
        raise UsageError(f"There is a profile {name} already.", hint=f"palyra profiles remove {name}")
    if session.options.url is None:
        raise UsageError("A profile needs --url.")
    values = {
        "url": login_origin(session.options, session.world, None),
        "risk_level": risk_level.value,
        "ca_file": absolute(session.options.ca_file),
        "client_cert": absolute(client_cert),
        "client_key": absolute(client_key),
    }
    set_keys(config_path(session.world), ("profiles", name), values)
    session.say(f"profile {name} added; next: palyra login --profile {name}")


@app.command(epilog="Example: palyra profiles remove old --yes")
def remove(ctx: typer.Context, *, name: ProfileName) -> None:
    """Remove a profile and the token kept for it. The token itself stays valid (logout --revoke)."""
    session = current(ctx)
    profile = _require_known(session, name)
    path, world, origin = config_path(session.world), session.world, parse_origin(profile.url)
    session.use(login_settings(session.options, world, profile, origin=origin, token=None))
    session.confirm(f"Remove profile {name} ({profile.url}) and its token?")
    if profile.token_ref is not None:
        forget_token(profile.token_ref, folder=token_folder(world), world=world)
    if read_config_if_any(world).get("profile") == name:
        set_keys(path, (), {"profile": None})
    drop_table(path, ("profiles", name))
    session.say(f"profile {name} removed")


def _row(profile: Profile, active: str | None) -> dict[str, object]:
    return {
        "name": profile.name,
        "object": "profile",
        "active": profile.name == active,
        "url": profile.url,
        "risk_level": profile.risk_level,
        "token": profile.token_ref,
    }


def _require_known(session: Session, name: str) -> Profile:
    found = known_profiles(read_config_if_any(session.world)).get(name)
    if found is None:
        raise UsageError(f"There is no profile {name}.", hint="palyra profiles list")
    return found
