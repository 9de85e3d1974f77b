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
    return _key_bytes(path)


def older_key(path: Path) -> bytes:
    """Return the bytes of a key file that is kept for reading; ImproperlyConfigured when it is not there."""
    if not path.is_file():
        raise ImproperlyConfigured(f"older key file {path} is missing; take it off the list or restore it")
    return _key_bytes(path)


def _key_bytes(path: Path) -> bytes:
    key = private_bytes(path)
    if len(key) < KEY_BYTES:
        raise ImproperlyConfigured(f"key file {path} is shorter than {KEY_BYTES} bytes")
    return key


def secret_text(place: str) -> str:
    """Return the one line of a secret's file, or nothing when no file is named.

    ImproperlyConfigured for a file that is missing, empty, longer than a line, or open to others.
    """
    if not place:
        return ""
    path = Path(place)
    if not path.is_file():
        raise ImproperlyConfigured(f"secret file {path} is missing")
    text = private_bytes(path).decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")
    if not text or not text.isprintable():
        raise ImproperlyConfigured(f"secret file {path} must hold one line of text")
    return text


def private_bytes(path: Path) -> bytes:
    """Return the content of a file that only the server's user may read; ImproperlyConfigured for another."""
    mode = path.stat()
    if stat.S_IMODE(mode.st_mode) & 0o077 or mode.st_uid != os.geteuid():
        raise ImproperlyConfigured(f"key file {path} must belong to the server's user with mode 0600")
    return path.read_bytes()


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
