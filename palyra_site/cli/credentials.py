"""Where the token of a profile is kept: the system's keyring, a private file, or the environment.

A reference is `keyring:palyra/<profile>`, `file:<path>` or `env:<NAME>`; it tells where, never what.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from palyra_site.cli.failures import UsageError
from palyra_site.cli.private import read_private, write_private

if TYPE_CHECKING:
    from palyra_site.cli.world import World

SERVICE = "palyra"
FORMS = "keyring:palyra/<profile>, file:<path> or env:<NAME>"
# Below this the store is a plain file of somebody else's making; ours has the better modes.
_TRUSTED_PRIORITY = 1


class Keyring(Protocol):
    """The part of a keyring backend that is used here."""

    def get_password(self, service: str, username: str, /) -> str | None: ...
    def set_password(self, service: str, username: str, password: str, /) -> None: ...
    def delete_password(self, service: str, username: str, /) -> None: ...


def system_keyring() -> Keyring | None:
    """Return this user's keyring, None when there is none worth the name."""
    import keyring

    backend = keyring.get_keyring()
    return backend if backend.priority >= _TRUSTED_PRIORITY else None


def keep_token(token: str, *, profile: str, folder: Path, world: World) -> str:
    """Keep the token of a profile and return its reference; a file in `folder` without a keyring."""
    store = world.keyring()
    if store is not None and _kept(store, profile, token):
        return f"keyring:{SERVICE}/{profile}"
    path = folder / profile
    write_private(path, f"{token}\n")
    return f"file:{path}"


def read_token(reference: str, world: World) -> str | None:
    """Return the token behind a reference, None where the place is empty, or raise UsageError."""
    kind, _, place = reference.partition(":")
    if kind == "env" and place:
        return world.environ.get(place, "").strip() or None
    if kind == "file" and place:
        return read_private(Path(place).expanduser()).strip() or None
    name = _name_in_keyring(reference)
    if name is not None:
        return _from_keyring(name, world)
    raise UsageError(f"A token_ref is {FORMS}.")


def forget_token(reference: str, *, folder: Path, world: World) -> bool:
    """Remove what `keep_token` kept and tell whether it did; what others keep stays with them."""
    name = _name_in_keyring(reference)
    if name is not None:
        return _removed(name, world)
    path = Path(reference.removeprefix("file:"))
    if not reference.startswith("file:") or path.parent != folder:
        return False
    with suppress(FileNotFoundError):
        path.unlink()
    return True


def _name_in_keyring(reference: str) -> str | None:
    prefix = f"keyring:{SERVICE}/"
    return reference.removeprefix(prefix) or None if reference.startswith(prefix) else None


def _kept(store: Keyring, name: str, token: str) -> bool:
    """A keyring that is locked or broken is no keyring; the token is read back to be sure."""
    from keyring.errors import KeyringError

    try:
        store.set_password(SERVICE, name, token)
        return store.get_password(SERVICE, name) == token
    except (KeyringError, OSError):
        return False


def _from_keyring(name: str, world: World) -> str | None:
    from keyring.errors import KeyringError

    store = world.keyring()
    if store is None:
        raise UsageError("The token is in a keyring and there is none here.", hint="palyra login")
    try:
        return store.get_password(SERVICE, name)
    except (KeyringError, OSError) as error:
        raise UsageError("The keyring does not open.") from error


def _removed(name: str, world: World) -> bool:
    from keyring.errors import KeyringError, PasswordDeleteError

    store = world.keyring()
    if store is None:
        return False
    try:
        store.delete_password(SERVICE, name)
    except PasswordDeleteError:
        return store.get_password(SERVICE, name) is None
    except (KeyringError, OSError):
        return False
    return True
