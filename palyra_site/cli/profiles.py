"""Profiles: `[profiles.<name>]` in the config file, with references to tokens and never tokens."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palyra_site.cli.failures import UsageError
from palyra_site.cli.private import read_private
from palyra_site.cli.world import World

_TEXT_KEYS = ("token_ref", "ca_file", "client_cert", "client_key", "color")
_KNOWN = frozenset({"url", "risk_level", *_TEXT_KEYS})
_RISKS = ("low", "medium", "high", "critical")


@dataclass(frozen=True, slots=True)
class Profile:
    """One server as the user named it. `token_ref` is `file:<path>` or `env:<NAME>`."""

    name: str
    url: str
    token_ref: str | None = None
    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    risk_level: str = "low"
    color: str | None = None

    def read_token(self, world: World) -> str | None:
        """Return the token the reference points to, None without a reference, or raise UsageError."""
        if self.token_ref is None:
            return None
        kind, _, place = self.token_ref.partition(":")
        if kind == "env" and place:
            return world.environ.get(place, "").strip() or None
        if kind == "file" and place:
            return read_private(Path(place).expanduser()).strip() or None
        raise UsageError(f"token_ref of profile {self.name} is neither file:<path> nor env:<NAME>.")

    @property
    def prompts_with_name(self) -> bool:
        """A confirmation on this server names the profile."""
        return self.risk_level != "low"


def config_path(world: World) -> Path:
    """Return where the config file is or would be."""
    named = world.environ.get("PALYRA_CONFIG")
    if named:
        return Path(named)
    base = world.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else world.user_home / ".config") / "palyra" / "config.toml"


def chosen_profile(flag: str | None, world: World) -> Profile | None:
    """Return the profile of `--profile`, PALYRA_PROFILE or the file's `profile`; None when none exists."""
    path = config_path(world)
    config = _load(path, must_exist="PALYRA_CONFIG" in world.environ)
    profiles = config.get("profiles", {})
    name = flag or world.environ.get("PALYRA_PROFILE") or config.get("profile")
    if name is None and profiles:
        raise UsageError(
            f"No profile is chosen; {path} has {', '.join(profiles)}.", hint="add --profile NAME"
        )
    if name is None:
        return None
    if not isinstance(profiles, dict) or not isinstance(profiles.get(name), dict):
        raise UsageError(f"There is no profile {name} in {path}.")
    return _parse(str(name), profiles[name])


def _load(path: Path, *, must_exist: bool) -> dict[str, Any]:
    if not path.exists() and not must_exist:
        return {}
    try:
        return tomllib.loads(read_private(path))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}") from error


def _parse(name: str, values: dict[str, Any]) -> Profile:
    if "token" in values:
        raise UsageError(
            f"Profile {name} holds a token; a config file holds references only.",
            hint="put the token into a file of mode 0600 and write token_ref = 'file:<path>'",
        )
    unknown = sorted(set(values) - _KNOWN)
    if unknown:
        raise UsageError(f"Profile {name} has unknown keys: {', '.join(unknown)}.")
    if not isinstance(values.get("url"), str):
        raise UsageError(f"Profile {name} has no url.")
    if values.get("risk_level", "low") not in _RISKS:
        raise UsageError(f"risk_level of profile {name} is one of {', '.join(_RISKS)}.")
    for key in _TEXT_KEYS:
        if not isinstance(values.get(key, ""), str):
            raise UsageError(f"{key} of profile {name} must be text.")
    return Profile(name=name, **values)
