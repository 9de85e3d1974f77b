"""The home directory: its identity and the key file that seals identity's secrets."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

KEY_BYTES = 32


def instance_digest(home: Path) -> str:
    """Return the short name of an installation, used for directories outside the home."""
    return hashlib.sha256(str(home).encode()).hexdigest()[:12]


def sealing_key(path: Path) -> bytes:
    """Return the bytes of the key file, or raise ImproperlyConfigured naming the file.

    A fresh home (no directory yet) gets a new key. An existing home without its key never gets
    another one, because everything sealed under the old key would silently stop opening.
    """
    if not path.exists():
        if _has_neighbours(path) and not path.exists():
            raise ImproperlyConfigured(f"key file {path} is missing; restore it from backup")
        _create_key(path)
    mode = path.stat()
    if stat.S_IMODE(mode.st_mode) & 0o077 or mode.st_uid != os.geteuid():
        raise ImproperlyConfigured(f"key file {path} must belong to the server's user with mode 0600")
    key = path.read_bytes()
    if len(key) < KEY_BYTES:
        raise ImproperlyConfigured(f"key file {path} is shorter than {KEY_BYTES} bytes")
    return key


def _has_neighbours(path: Path) -> bool:
    """Tell whether the key's directory holds anything but the key and drafts of it."""
    if not path.parent.exists():
        return False
    return any(
        entry.name != path.name and not entry.name.startswith(_draft_prefix(path))
        for entry in path.parent.iterdir()
    )


def _create_key(path: Path) -> None:
    """Create the key unless another process was faster; nobody ever sees half of one."""
    _make_private(path.parent)
    draft = path.with_name(_draft_prefix(path) + secrets.token_hex(8))
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()


def _make_private(directory: Path) -> None:
    """Make a directory and its missing parents for their owner alone; `mkdir` would open the parents."""
    for part in reversed([place for place in (directory, *directory.parents) if not place.exists()]):
        part.mkdir(exist_ok=True, mode=0o700)


def _draft_prefix(path: Path) -> str:
    return f".{path.name}."
