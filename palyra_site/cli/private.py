"""Files of credentials: read only when nobody else can read or may have written them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

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
