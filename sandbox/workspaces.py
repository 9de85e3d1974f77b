"""Which directories may become a workspace root. Reads the file system, changes nothing."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from kernel.errors import Detail, InvalidError


def require_root(path: Path, *, base: Path, home: Path) -> Path:
    """Return `path` when tools may be given it, or raise InvalidError with one Detail.

    It must be an absolute, normal path of an existing directory with no symlink in any component,
    strictly below `base` (PALYRA_WORKSPACES_DIR), and neither `/`, a home directory, `home`
    (PALYRA_HOME), an ancestor of one of these, nor anything in PALYRA_HOME outside `workspaces`.
    """
    text = os.fspath(path)
    if not path.is_absolute() or os.path.normpath(text) != text:
        raise _refusal("not_normal", "The path must be absolute, without . or .. or double slashes.")
    _refuse_links(path)
    if path == home or path in home.parents or _is_private(path, home):
        raise _refusal("holds_secrets", "The path is, or holds, Palyra's own directory.")
    if any(path == person or path in person.parents for person in _homes()):
        raise _refusal("home_directory", "The path is, or holds, a home directory.")
    if base not in path.parents:
        raise _refusal("outside_base", f"The path must lie below {base}.")
    return path


def _is_private(path: Path, home: Path) -> bool:
    """Only `workspaces` below the home is meant for tools; keys, database and blobs are beside it."""
    return home in path.parents and path.relative_to(home).parts[0] != "workspaces"


def _refuse_links(path: Path) -> None:
    for part in (*reversed(path.parents), path):
        try:
            mode = part.lstat().st_mode
        except OSError as error:
            raise _refusal("missing", "The directory does not exist or cannot be read.") from error
        if stat.S_ISLNK(mode):
            raise _refusal("symlink", "A component of the path is a symbolic link.")
        if not stat.S_ISDIR(mode):
            raise _refusal("not_a_directory", "A component of the path is not a directory.")


def _homes() -> set[Path]:
    """Return the home of every account that is a real place; `/` and `/nonexistent` protect nothing."""
    entries = {Path(entry.pw_dir) for entry in pwd.getpwall()}
    return {place for place in entries | {Path.home()} if place != Path("/")}


def _refusal(code: str, text: str) -> InvalidError:
    return InvalidError("invalid", text, errors=(Detail("/path", f"workspace_root.{code}", text),))
