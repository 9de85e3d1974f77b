"""`fs.read`, `fs.list` and `fs.write`, as they run in a forked child of the launcher.

Standard library only. The child gets the workspace root as a descriptor and reaches nothing else; its
answer is one JSON document: `{"ok": {...}}` or `{"error": {kind, code, message}}`.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import errno
import fnmatch
import json
import os
import resource
import secrets
import stat
import unicodedata
from collections.abc import Iterator
from typing import Any

from sandbox.runners import landlock
from sandbox.runners.beneath import open_beneath, open_component

HIDDEN = (".env", ".env.*", ".netrc", ".ssh", ".aws", ".gnupg", ".npmrc", ".pypirc")
PROTECTED = (
    *HIDDEN,
    *(".git/hooks", ".git/config", ".git/modules", ".envrc", ".vscode", ".idea", ".github/workflows"),
    *(".gitlab-ci.yml", ".claude", ".mcp.json", ".bashrc", ".profile", ".gitconfig"),
)
"""What a tool may not write, and of it what it may not read either. Patterns match whole components."""

OWN_PREFIX = ".palyra"
MAX_PATH = 1_024
MAX_NAME = 255
MAX_DEPTH = 4
MAX_ENTRIES = 1_000
MAX_SCANNED = 20_000
_RENAME_NOREPLACE = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
_BY_ERRNO = {
    errno.ELOOP: ("WorkspaceScopeDenied", "sandbox.symlink_in_path", "a symlink is in the path"),
    errno.EXDEV: ("WorkspaceScopeDenied", "sandbox.path_outside", "the path leaves the workspace"),
    errno.ENOENT: ("RuntimeFailure", "sandbox.not_found", "no such file or directory"),
    errno.ENOTDIR: ("RuntimeFailure", "sandbox.not_a_directory", "not a directory"),
    errno.EISDIR: ("RuntimeFailure", "sandbox.not_a_file", "not a regular file"),
    errno.EEXIST: ("RuntimeFailure", "sandbox.exists", "the file exists already"),
    errno.EACCES: ("RuntimeFailure", "sandbox.permission_denied", "permission denied"),
    errno.ENOSPC: ("QuotaExceeded", "sandbox.quota_workspace", "the workspace is full"),
    errno.EDQUOT: ("QuotaExceeded", "sandbox.quota_workspace", "the workspace is full"),
    errno.EFBIG: ("QuotaExceeded", "sandbox.quota_file_size", "the file is larger than allowed"),
}


class FileRefusedError(Exception):
    """The operation did not happen; the three parts go to the caller."""

    def __init__(self, kind: str, code: str, message: str) -> None:
        self.answer = {"kind": kind, "code": code, "message": message}
        super().__init__(code)


def serve(root: int, request_fd: int, answer_fd: int) -> None:
    """Confine this process, perform the one request and write the answer."""
    with os.fdopen(request_fd, "rb") as file:
        request = json.load(file)
    for number in (resource.RLIMIT_NPROC, resource.RLIMIT_CORE):
        resource.setrlimit(number, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
    resource.setrlimit(resource.RLIMIT_FSIZE, (request["max_file_bytes"],) * 2)
    confined = landlock.restrict_to(root)
    answer = {**answer_to(root, request), "landlock": confined}
    with os.fdopen(answer_fd, "wb") as file:
        file.write(json.dumps(answer).encode())


def answer_to(root: int, request: dict[str, Any]) -> dict[str, Any]:
    """Perform a request; every refusal and every error of the file system becomes an answer."""
    operations = {"fs.read": read, "fs.list": list_entries, "fs.write": write}
    try:
        return {"ok": operations[request["tool"]](root, request)}
    except FileRefusedError as refusal:
        return {"error": refusal.answer}
    except OSError as error:
        unknown = ("RuntimeFailure", "sandbox.io_error", os.strerror(error.errno or errno.EIO))
        kind, code, message = _BY_ERRNO.get(error.errno or 0, unknown)
        return {"error": {"kind": kind, "code": code, "message": message}}


def read(root: int, request: dict[str, Any]) -> dict[str, Any]:
    """Return at most `max_bytes` of a regular file as text, or as base64 when it is not UTF-8."""
    path = clean_path(request["input"].get("path"))
    refuse_protected(path, HIDDEN)
    limit = min(request["input"].get("max_bytes", request["max_bytes"]), request["max_bytes"])
    with open_regular(root, path) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(limit + 1)
    truncated = len(data) > limit
    text, encoding = as_text(data[:limit], truncated)
    return {"path": path, "content": text, "encoding": encoding, "bytes": size, "truncated": truncated}


def list_entries(root: int, request: dict[str, Any]) -> dict[str, Any]:
    """Return entries sorted by name, parents before children; symlinks are named, never followed."""
    path = clean_path(request["input"].get("path"), empty=True)
    refuse_protected(path, HIDDEN)
    depth = min(request["input"].get("depth", 1), MAX_DEPTH)
    limit = min(request["input"].get("limit", MAX_ENTRIES), MAX_ENTRIES)
    top = open_beneath(root, path, os.O_RDONLY | os.O_DIRECTORY)
    budget = request["max_bytes"]
    entries: list[dict[str, Any]] = []
    for entry in _walk(top, path, depth):
        budget -= len(json.dumps(entry))
        if len(entries) >= limit or budget < 0:
            return {"path": path, "entries": entries, "truncated": True}
        entries.append(entry)
    return {"path": path, "entries": entries, "truncated": False}


def write(root: int, request: dict[str, Any]) -> dict[str, Any]:
    """Replace or create a regular file at once: temporary file, fsync, rename in the same directory."""
    value = request["input"]
    path = clean_path(value.get("path"))
    if not request["writable"]:
        raise FileRefusedError(
            "WorkspaceScopeDenied", "sandbox.workspace_read_only", "the workspace is read-only"
        )
    refuse_protected(path, PROTECTED)
    content = value["content"].encode()
    if len(content) > request["max_file_bytes"]:
        raise OSError(errno.EFBIG, "too large")
    directory, _, name = path.rpartition("/")
    parent = open_beneath(root, directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        created = _put(parent, name, content, create_only=value.get("create_only", False))
    finally:
        os.close(parent)
    return {"path": path, "bytes": len(content), "created": created}


def clean_path(value: object, *, empty: bool = False) -> str:
    """Return a relative path without empty or `.` components, or refuse it."""
    if not isinstance(value, str) or "\0" in value:
        raise FileRefusedError("InvalidInput", "sandbox.path_invalid", "the path is not usable text")
    try:
        encoded = value.encode()
    except UnicodeEncodeError as error:
        raise FileRefusedError("InvalidInput", "sandbox.path_invalid", "the path is not Unicode") from error
    parts = [part for part in value.split("/") if part not in ("", ".")]
    if value.startswith("/") or ".." in parts:
        raise FileRefusedError(
            "WorkspaceScopeDenied", "sandbox.path_outside", "the path leaves the workspace"
        )
    if len(encoded) > MAX_PATH or any(len(part.encode()) > MAX_NAME for part in parts):
        raise FileRefusedError("InvalidInput", "sandbox.path_invalid", "the path is too long")
    if any(folded(part).startswith(OWN_PREFIX) for part in parts):
        raise FileRefusedError("WorkspaceScopeDenied", "sandbox.path_protected", "the name is reserved")
    if not parts and not empty:
        raise FileRefusedError("InvalidInput", "sandbox.path_invalid", "the path is empty")
    return "/".join(parts)


def refuse_protected(path: str, patterns: tuple[str, ...]) -> None:
    """Refuse a path that is, lies beneath or spells like a protected one, at any depth."""
    if protected(path, patterns):
        raise FileRefusedError("WorkspaceScopeDenied", "sandbox.path_protected", f"{path} is protected")


def protected(path: str, patterns: tuple[str, ...]) -> bool:
    """Compare folded components, so that no other case or Unicode form slips through."""
    parts = [folded(part) for part in path.split("/")]
    for pattern in patterns:
        wanted = pattern.split("/")
        for start in range(len(parts) - len(wanted) + 1):
            window = parts[start : start + len(wanted)]
            if all(fnmatch.fnmatchcase(part, want) for part, want in zip(window, wanted, strict=True)):
                return True
    return False


def folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", name).casefold())


@contextlib.contextmanager
def open_regular(root: int, path: str) -> Iterator[Any]:
    """Open a file for reading only after it is known to be regular: opening a device may act."""
    handle = open_beneath(root, path, os.O_PATH)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EISDIR, "not a regular file")
        with open(f"/proc/self/fd/{handle}", "rb") as file:
            yield file
    finally:
        os.close(handle)


def as_text(data: bytes, truncated: bool) -> tuple[str, str]:
    """Return text and its encoding; a character cut by the limit is left out."""
    for trim in range(4 if truncated else 1):
        with contextlib.suppress(UnicodeDecodeError):
            return data[: len(data) - trim].decode(), "utf-8"
    return base64.b64encode(data).decode(), "base64"


def _walk(directory: int, path: str, depth: int) -> Iterator[dict[str, Any]]:
    try:
        names = sorted(os.listdir(directory))[:MAX_SCANNED]
        for name in names:
            facts = os.stat(name, dir_fd=directory, follow_symlinks=False)
            place = f"{path}/{name}" if path else name
            kind = _KINDS.get(stat.S_IFMT(facts.st_mode), "other")
            yield {
                "path": os.fsencode(place).decode("utf-8", "replace"),
                "type": kind,
                "bytes": facts.st_size,
            }
            if kind == "directory" and depth > 1 and not protected(place, HIDDEN):
                with contextlib.suppress(PermissionError, FileNotFoundError):
                    inner = open_component(directory, name, os.O_RDONLY | os.O_DIRECTORY)
                    yield from _walk(inner, place, depth - 1)
    finally:
        os.close(directory)


_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}


def _put(parent: int, name: str, content: bytes, *, create_only: bool) -> bool:
    mode = _mode_of(parent, name)
    temporary = f"{OWN_PREFIX}-{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600, dir_fd=parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), 0o644 if mode is None else mode & 0o777)
            os.fsync(file.fileno())
        _rename(parent, temporary, name, create_only)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=parent)
        raise
    os.fsync(parent)
    return mode is None


def _mode_of(parent: int, name: str) -> int | None:
    try:
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, "symlink")
    if not stat.S_ISREG(mode):
        raise OSError(errno.EISDIR, "not a regular file")
    return mode


def _rename(parent: int, source: str, target: str, create_only: bool) -> None:
    if not create_only:
        os.rename(source, target, src_dir_fd=parent, dst_dir_fd=parent)
        return
    names = os.fsencode(source), os.fsencode(target)
    if _LIBC.renameat2(parent, names[0], parent, names[1], _RENAME_NOREPLACE) == 0:
        return
    code = ctypes.get_errno()
    if code not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(code, os.strerror(code))
    os.link(source, target, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
    os.unlink(source, dir_fd=parent)
