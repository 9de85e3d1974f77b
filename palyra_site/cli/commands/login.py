"""`palyra login` and `palyra logout`: keep a personal token for a profile, and forget it again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from palyra_site.cli.config_file import set_keys
from palyra_site.cli.credentials import forget_token, keep_token
from palyra_site.cli.exits import Exit
from palyra_site.cli.failures import CliError, UsageError
from palyra_site.cli.profiles import (
    Profile,
    absolute,
    chosen_name,
    chosen_profile,
    config_path,
    known_profiles,
    read_config_if_any,
    require_name,
    token_folder,
)
from palyra_site.cli.session import Session, current
from palyra_site.cli.settings import login_origin, login_settings, parse_origin

if TYPE_CHECKING:
    from palyra_site.cli.connection import Answer

SHOWN = ("id", "kind", "workspace_id", "roles")
FIRST_PROFILE = "default"
_TOKEN = re.compile(r"plr_(agt|usr|svc|adm)_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}")


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the top level."""
    app.command(epilog="Example: palyra login --url https://palyra.example.com --profile prod")(login)
    app.command(epilog="Example: palyra logout --revoke --profile prod")(logout)


def login(
    ctx: typer.Context,
    *,
    token_stdin: Annotated[
        bool, typer.Option("--token-stdin", help="Read the token from standard input.")
    ] = False,
) -> None:
    """Ask for a personal token (console: My tokens), try it, and keep it for a profile.

    It is kept in the system's keyring, without one in a file that only you can read.
    """
    session = current(ctx)
    config = read_config_if_any(session.world)
    name = require_name(chosen_name(session.options.profile, config, session.world) or FIRST_PROFILE)
    profile = known_profiles(config).get(name)
    origin = login_origin(session.options, session.world, profile)
    _require_same_place(session, name, profile, origin)
    token = _given_token(session, origin, from_stdin=token_stdin)
    session.use(login_settings(session.options, session.world, profile, origin=origin, token=token))
    answer = session.api.whoami()
    _keep(session, name, profile, token)
    _say_where(session, name, answer)
    session.output.one(answer.text, answer.data, [(name, answer.data.get(name)) for name in SHOWN])


def logout(
    ctx: typer.Context,
    *,
    revoke: Annotated[bool, typer.Option("--revoke", help="Revoke the token on the server first.")] = False,
) -> None:
    """Forget the token of a profile; with --revoke nobody can use it any more."""
    session = current(ctx)
    profile = chosen_profile(session.options.profile, session.world)
    if profile is None:
        raise UsageError("There is no profile to log out from.", hint="palyra profiles list")
    token = profile.read_token(session.world) if revoke else None
    origin = parse_origin(profile.url)
    session.use(login_settings(session.options, session.world, profile, origin=origin, token=token))
    session.require_expected(profile.name)
    if token is not None:
        _revoke(session)
    _forget(session, profile)


def _require_same_place(session: Session, name: str, profile: Profile | None, origin: str) -> None:
    """A profile is one server: logging in to another one must not send its name's commands there."""
    session.require_expected(name)
    if profile is not None and parse_origin(profile.url) != origin:
        raise UsageError(
            f"Profile {name} is {profile.url}, not {origin}.",
            hint="choose another name with --profile NAME",
        )


def _given_token(session: Session, origin: str, *, from_stdin: bool) -> str:
    if from_stdin:
        text = session.world.stdin.readline()
    elif session.interactive:
        session.say(f"mint a personal token at {origin}/admin/ under My tokens")
        text = session.world.ask_secret(f"Token for {origin}: ")
    else:
        raise UsageError("Nobody can be asked for the token.", hint="palyra login --token-stdin < FILE")
    token = text.strip()
    if not _TOKEN.fullmatch(token):
        raise UsageError("This is no token of Palyra; nothing was sent.")
    return token


def _keep(session: Session, name: str, profile: Profile | None, token: str) -> None:
    """Keep the token, then let the config point to it; what an earlier login kept elsewhere goes."""
    world, path = session.world, config_path(session.world)
    folder = token_folder(world)
    reference = keep_token(token, profile=name, folder=folder, world=world)
    values: dict[str, str | None] = {}
    if profile is None:
        values |= {"url": session.settings.origin, "ca_file": absolute(session.settings.ca_file)}
    values["token_ref"] = reference
    set_keys(path, ("profiles", name), values)
    if profile is not None and profile.token_ref not in (None, reference):
        forget_token(profile.token_ref or "", folder=folder, world=world)
    if "profile" not in read_config_if_any(world):
        set_keys(path, (), {"profile": name})


def _say_where(session: Session, name: str, answer: Answer) -> None:
    profile = known_profiles(read_config_if_any(session.world))[name]
    session.say(f"logged in to {profile.url} as {answer.data.get('id')}")
    session.say(f"profile {name}, token kept in {profile.place_of_token}")
    if session.world.environ.get("PALYRA_TOKEN"):
        session.say("warning: PALYRA_TOKEN is set and wins over the profile")
    if read_config_if_any(session.world).get("profile") != name:
        session.say(f"use it with --profile {name}, or always: palyra profiles use {name}")


def _revoke(session: Session) -> None:
    """Revoke the profile's own token; one that the server no longer takes is gone already."""
    try:
        token_id = session.api.whoami().data.get("token_id")
    except CliError as error:
        if error.code != "unauthenticated":
            raise
        session.say("the server no longer accepts the token")
        return
    if not isinstance(token_id, str):
        raise CliError("invalid_answer", "The server named no token.", exit_code=Exit.UNSUPPORTED)
    session.confirm(f"Revoke {token_id}?")
    key = session.new_key()
    session.elevated(lambda: session.api.tokens.act(token_id, "revoke", {"reason": "logout"}, key=key))
    session.say(f"revoked {token_id}")


def _forget(session: Session, profile: Profile) -> None:
    world = session.world
    if profile.token_ref is None:
        session.say(f"profile {profile.name} holds no token")
        return
    removed = forget_token(profile.token_ref, folder=token_folder(world), world=world)
    set_keys(config_path(world), ("profiles", profile.name), {"token_ref": None})
    where = "removed" if removed else f"not kept by login and stays in {profile.place_of_token}"
    session.say(f"profile {profile.name}: the token is {where}")
