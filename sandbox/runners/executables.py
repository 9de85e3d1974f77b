"""Finding the program that a call names and making sure that it is the operator's, not the tool's."""

from __future__ import annotations

import functools
import hashlib
import os
import stat
from dataclasses import dataclass

from sandbox.argv import is_interpreter
from sandbox.spec import SandboxSpec
from sandbox.types import ErrorKind, SandboxRefusal

SEARCH_PATH = ("/usr/local/bin", "/usr/bin", "/bin")
VISIBLE = ("/usr/", "/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/")


@dataclass(frozen=True, slots=True)
class Executable:
    """A program by its real path and `sha256:` of its bytes."""

    path: str
    digest: str


def find_executable(name: str, spec: SandboxSpec, *, named_by_operator: bool, uid: int) -> Executable:
    """Return the program, or raise SandboxRefusal.

    `named_by_operator` skips the allowlist: the path stands in the tool's own definition. `uid` is the
    sandbox's uid on the host; what it could change is never executed.
    """
    if not named_by_operator and name not in spec.allowed_executables:
        raise _not_allowed(name, "is not an allowed executable")
    if "/" in name and not name.startswith("/"):
        raise _not_allowed(name, "is neither a bare name nor an absolute path")
    real = os.path.realpath(_lookup(name))
    try:
        facts = os.stat(real)
    except OSError as error:
        raise _not_allowed(name, "does not exist on this host") from error
    if not real.startswith(VISIBLE) or not stat.S_ISREG(facts.st_mode) or not facts.st_mode & 0o001:
        raise _not_allowed(name, "is not a program that the sandbox can see")
    if facts.st_mode & 0o002 or (facts.st_uid == uid and uid != 0):
        raise _not_allowed(name, "could be changed by the sandbox")
    digest, head = _identity(
        real, facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
    )
    if is_interpreter(os.path.basename(real), head) and not spec.allow_interpreters:
        raise SandboxRefusal(
            ErrorKind.WORKSPACE_SCOPE_DENIED,
            "sandbox.interpreter_refused",
            f"{name} is an interpreter, which the policy does not allow.",
        )
    return Executable(real, digest)


def _lookup(name: str) -> str:
    if name.startswith("/"):
        return name
    for directory in SEARCH_PATH:
        path = f"{directory}/{name}"
        if os.path.isfile(path):
            return path
    raise _not_allowed(name, "does not exist on this host")


@functools.lru_cache(maxsize=256)
def _identity(path: str, *_facts: int) -> tuple[str, bytes]:
    with open(path, "rb") as file:
        head = file.read(64)
        file.seek(0)
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest(), head


def _not_allowed(name: str, why: str) -> SandboxRefusal:
    return SandboxRefusal(
        ErrorKind.WORKSPACE_SCOPE_DENIED, "sandbox.executable_not_allowed", f"{name} {why}."
    )
