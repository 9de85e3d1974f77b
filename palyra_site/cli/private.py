"""Files of credentials: read only when nobody else can read or may have written them."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from palyra_site.cli.failures import UsageError


def read_private(path: Path) -> str:
    """Return the text of `path`, or raise UsageError when it is missing, unreadable or not private."""
    try:
        status = path.stat()
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read.") from error
    if status.st_uid not in {os.geteuid(), 0}:
        raise UsageError(f"{path} belongs to another user.")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise UsageError(f"{path} is readable by others.", hint=f"chmod 600 {path}")
    return text


def write_private(path: Path, text: str) -> None:
    """Put `text` in place of `path`, whole or not at all, readable by this user alone."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from error


@contextmanager
def replacing(path: Path, mode: str = "w") -> Iterator[Any]:
    """Yield a file of mode 0600 that takes the place of `path` when the block ends without an error.

    It is one of text, or with `wb` of bytes. Raises OSError; whatever goes wrong, `path` is as it was and
    nothing else is left.
    """
    descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Make a rename survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
