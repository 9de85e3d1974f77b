"""Which server, with which credential: flag, then environment, profile, bootstrap file, default."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from palyra_site.cli.failures import UsageError
from palyra_site.cli.options import Options
from palyra_site.cli.private import read_private
from palyra_site.cli.profiles import NO_PROFILE, Profile, chosen_profile
from palyra_site.cli.world import World

DEFAULT_URL = "http://127.0.0.1:8470"
DEFAULT_TIMEOUT = 30.0
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_LONGEST_TIMEOUT = 3600.0
API_PREFIX = "/api/v1"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to send requests and as whom. The token is absent from `repr`."""

    origin: str
    loopback: bool
    profile: Profile | None
    ca_file: str | None
    timeout: float
    token: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Bootstrap:
    origin: str
    token: str = field(repr=False)


def resolve(options: Options, world: World) -> Settings:
    """Return the settings of this invocation, or raise UsageError before anything is sent."""
    profile = chosen_profile(options.profile, world)
    bootstrap = None if profile or _is_complete(options, world) else _bootstrap(world)
    origin = _permitted_origin(options, world, _stored_url(profile, bootstrap))
    _require_expected(options.expect_profile, profile, origin)
    return _settings(options, world, profile, origin, _token(origin, profile, bootstrap, world))


def login_origin(options: Options, world: World, profile: Profile | None) -> str:
    """Return the server to log in to: flag, environment, profile, a local server's own file, default."""
    named = options.url is not None or bool(world.environ.get("PALYRA_URL")) or profile is not None
    return _permitted_origin(options, world, _stored_url(profile, None if named else _bootstrap(world)))


def login_settings(
    options: Options, world: World, profile: Profile | None, *, origin: str, token: str | None
) -> Settings:
    """Return settings for exactly this token: one that is in no profile yet, or one to be removed."""
    return _settings(options, world, profile, origin, checked_token(token) if token else None)


def _permitted_origin(options: Options, world: World, stored: str) -> str:
    origin = parse_origin(_first(options.url, world.environ.get("PALYRA_URL") or None, stored))
    if origin.startswith("http://") and not is_loopback(origin) and not options.insecure_http:
        raise UsageError(f"{origin} is another machine and http is readable on the way.", hint="use https://")
    return origin


def _settings(
    options: Options, world: World, profile: Profile | None, origin: str, token: str | None
) -> Settings:
    of_profile = profile.ca_file if profile else None
    return Settings(
        origin=origin,
        loopback=is_loopback(origin),
        profile=profile,
        ca_file=options.ca_file or world.environ.get("PALYRA_CA_FILE") or of_profile,
        timeout=_timeout(options.timeout),
        token=token,
    )


def parse_origin(url: str) -> str:
    """Return `scheme://host[:port]` of a server address, or raise UsageError.

    A trailing `/api/v1` is accepted, any other path, query, fragment or user part is not.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError as error:
        raise UsageError("The server address is not a URL.") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError("The server address must start with http:// or https://.")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError("The server address holds no user, query or fragment.")
    if parts.path.rstrip("/") not in {"", API_PREFIX}:
        raise UsageError("The server address is an origin without a path.")
    host = _host(parts.hostname)
    return f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")


def _host(name: str) -> str:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        if not _HOST.fullmatch(name):
            raise UsageError("The host of the server address is no ASCII host name.") from None
        return name
    if "%" in name:
        raise UsageError("The server address names no network interface.")
    return f"[{address}]" if address.version == 6 else str(address)


def is_loopback(origin: str) -> bool:
    """Tell whether requests to `origin` stay on this machine."""
    host = urlsplit(origin).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_complete(options: Options, world: World) -> bool:
    """Flag and environment say everything, so no file of credentials is opened."""
    named = options.url is not None or bool(world.environ.get("PALYRA_URL"))
    return named and bool(world.environ.get("PALYRA_TOKEN"))


def _first(flag: str | None, variable: str | None, default: str) -> str:
    if flag is not None:
        return flag
    return variable if variable is not None else default


def _timeout(seconds: float | None) -> float:
    if seconds is None:
        return DEFAULT_TIMEOUT
    if not 0 < seconds <= _LONGEST_TIMEOUT:
        raise UsageError("--timeout takes more than 0 and at most 3600 seconds.")
    return seconds


def _stored_url(profile: Profile | None, bootstrap: _Bootstrap | None) -> str:
    if profile:
        return profile.url
    return bootstrap.origin if bootstrap else DEFAULT_URL


def _token(origin: str, profile: Profile | None, bootstrap: _Bootstrap | None, world: World) -> str | None:
    """A stored token goes to the server it was stored for and to no other."""
    from_environment = world.environ.get("PALYRA_TOKEN", "").strip()
    if from_environment:
        return checked_token(from_environment)
    if profile and parse_origin(profile.url) == origin:
        stored = profile.read_token(world)
        return checked_token(stored) if stored else None
    if bootstrap and bootstrap.origin == origin:
        return checked_token(bootstrap.token)
    return None


def checked_token(token: str) -> str:
    """Return a token that can stand in a header, or raise UsageError, which does not repeat it."""
    if not token.isascii() or not token.isprintable() or " " in token or len(token) > 512:
        raise UsageError("The token is not usable: it must be one line of printable characters.")
    return token


def _require_expected(expected: str | None, profile: Profile | None, origin: str) -> None:
    """Refuse another profile than the expected one, and another server under its name."""
    active = profile.name if profile else NO_PROFILE
    if expected is None:
        return
    if expected != active:
        raise UsageError(f"The active profile is {active}, not {expected}.")
    if profile and parse_origin(profile.url) != origin:
        raise UsageError(f"Profile {active} is {profile.url}, but the server is {origin}.")


def _bootstrap(world: World) -> _Bootstrap | None:
    path = Path(world.environ.get("PALYRA_HOME") or world.server_home) / "bootstrap.json"
    if not os.access(path, os.R_OK):
        return None
    return _parse_bootstrap(path, read_private(path))


def _parse_bootstrap(path: Path, content: str) -> _Bootstrap | None:
    try:
        data: object = json.loads(content)
    except ValueError as error:
        raise UsageError(f"{path} is not JSON.") from error
    values: Mapping[str, object] = data if isinstance(data, dict) else {}
    url, token = values.get("api_url"), values.get("owner_token")
    if not isinstance(url, str) or not isinstance(token, str) or not token:
        return None
    origin = parse_origin(url)
    return _Bootstrap(origin=origin, token=token) if is_loopback(origin) else None
