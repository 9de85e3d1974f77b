"""Profiles: `[profiles.<name>]` in the config file, with references to tokens and never tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palyra_site.cli.config_file import load_config
from palyra_site.cli.credentials import FORMS, read_token
from palyra_site.cli.failures import UsageError
from palyra_site.cli.world import World

_TEXT_KEYS = ("token_ref", "ca_file", "client_cert", "client_key", "color")
_KNOWN = frozenset({"url", "risk_level", *_TEXT_KEYS})
_RISKS = ("low", "medium", "high", "critical")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NO_PROFILE = "none"


@dataclass(frozen=True, slots=True)
class Profile:
    """One server as the user named it. `token_ref` tells where its token is (`credentials`)."""

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
        return read_token(self.token_ref, world) if self.token_ref else None

    @property
    def place_of_token(self) -> str:
        """Say for a person where the token is."""
        kind, _, place = (self.token_ref or "").partition(":")
        return {"keyring": "the keyring", "env": f"the variable {place}"}.get(kind, place or "no place")

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


def token_folder(world: World) -> Path:
    """Return where tokens are kept without a keyring: a folder beside the config file."""
    return config_path(world).absolute().parent / "tokens"


def chosen_profile(flag: str | None, world: World) -> Profile | None:
    """Return the profile of `--profile`, PALYRA_PROFILE or the file's `profile`; None when none exists."""
    path, config = config_path(world), read_config(world)
    name, profiles = chosen_name(flag, config, world), config.get("profiles", {})
    if name is None and profiles:
        raise UsageError(
            f"No profile is chosen; {path} has {', '.join(profiles)}.", hint="add --profile NAME"
        )
    if name is None:
        return None
    if not isinstance(profiles, dict) or not isinstance(profiles.get(name), dict):
        raise UsageError(f"There is no profile {name} in {path}.", hint=f"palyra login --profile {name}")
    return _parse(name, profiles[name])


def chosen_name(flag: str | None, config: Mapping[str, Any], world: World) -> str | None:
    """Return the name a command goes by, whether or not such a profile exists."""
    name = flag or world.environ.get("PALYRA_PROFILE") or config.get("profile")
    return None if name is None else str(name)


def read_config(world: World) -> dict[str, Any]:
    """Return the config file's content, empty when there is none; one that is named must be there."""
    path = config_path(world)
    if not path.exists() and "PALYRA_CONFIG" not in world.environ:
        return {}
    return load_config(path)


def read_config_if_any(world: World) -> dict[str, Any]:
    """Return the config file's content for a command that may make the file."""
    return load_config(config_path(world)) if config_path(world).exists() else {}


def known_profiles(config: Mapping[str, Any]) -> dict[str, Profile]:
    """Return every profile by its name, or raise UsageError when one is not as it must be."""
    profiles = config.get("profiles", {})
    if not isinstance(profiles, dict) or not all(isinstance(one, dict) for one in profiles.values()):
        raise UsageError("In the config file `profiles` is a table of tables.")
    return {name: _parse(name, values) for name, values in profiles.items()}


def require_name(name: str) -> str:
    """Return a name that a new profile may have, or raise UsageError."""
    if not _NAME.fullmatch(name) or name == NO_PROFILE:
        raise UsageError(f"{name} is no name for a profile: letters, digits, dot, dash, at most 64.")
    return name


def absolute(name: str | None) -> str | None:
    """Return a path that means the same from every directory."""
    return str(Path(name).expanduser().resolve()) if name else None


def _parse(name: str, values: dict[str, Any]) -> Profile:
    if "token" in values:
        raise UsageError(
            f"Profile {name} holds a token; a config file holds references only.",
            hint=f"remove the line, revoke that token, and run: palyra login --profile {name}",
        )
    unknown = sorted(set(values) - _KNOWN)
    if unknown:
        raise UsageError(f"Profile {name} has unknown keys: {', '.join(unknown)}.")
    if not isinstance(values.get("url"), str):
        raise UsageError(f"Profile {name} has no url.")
    if not _is_reference(values.get("token_ref")):
        raise UsageError(f"token_ref of profile {name} is not {FORMS}.")
    if values.get("risk_level", "low") not in _RISKS:
        raise UsageError(f"risk_level of profile {name} is one of {', '.join(_RISKS)}.")
    for key in _TEXT_KEYS:
        if not isinstance(values.get(key, ""), str):
            raise UsageError(f"{key} of profile {name} must be text.")
    return Profile(name=name, **values)


def _is_reference(value: Any) -> bool:
    return not isinstance(value, str) or value.startswith(("keyring:palyra/", "file:", "env:"))
