"""Reading the input of `process.run`: shapes, names and early hints. The kernel is the boundary, not this."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from sandbox.types import ErrorKind, SandboxRefusal

MAX_COMMAND = 128
MAX_ARGS = 64
MAX_ARG_BYTES = 4_096
MAX_ARGV_BYTES = 65_536
MAX_CWD = 1_024
MAX_STDIN_BYTES = 65_536
MAX_ENV = 32
MAX_ENV_VALUE = 4_096

_FIELDS = {"command", "args", "cwd", "stdin", "env", "requested_egress_hosts", "timeout_ms"}
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_ENV_NEVER = re.compile(
    r"(LD_|DYLD_|GLIBC_|MALLOC_|PYTHON|PERL5|RUBY|GIT_|SSH_).*"
    r"|NODE_OPTIONS|JAVA_TOOL_OPTIONS|BASH_ENV|ENV|IFS|PS4|PATH|HOME|.*_PROXY|.*_proxy"
)
_HOST_ROOTS = frozenset({"boot", "home", "media", "mnt", "opt", "root", "run", "srv", "sys", "var"})
_VERSION_SUFFIX = re.compile(r"[-.]?[0-9][0-9.]*$")
_RUN_TEXT = """
    sh bash dash zsh ksh fish csh tcsh busybox toybox python pypy perl ruby node deno bun php lua luajit tclsh
    awk gawk mawk nawk R Rscript julia java groovy scala erl pwsh powershell cmd osascript
"""
_RUN_OTHERS = """
    env xargs find make ninja git tar ssh scp rsync nice nohup timeout setsid stdbuf strace gdb watch script
    expect parallel vi vim ed systemd-run nsenter unshare bwrap
"""
_INTERPRETERS = frozenset((_RUN_TEXT + _RUN_OTHERS).split())


@dataclass(frozen=True, slots=True)
class ProcessRequest:
    """A checked `process.run` input: texts without NUL, within every size."""

    command: str
    args: tuple[str, ...]
    cwd: str
    stdin: bytes
    env: Mapping[str, str]


def read_request(value: Mapping[str, object], *, allowed_env: Sequence[str]) -> ProcessRequest:
    """Return the checked input, or raise SandboxRefusal InvalidInput or WorkspaceScopeDenied."""
    unknown = set(value) - _FIELDS
    if unknown:
        _invalid("sandbox.input_unknown_field", f"unknown field {sorted(unknown)[0]}")
    command = _text(value.get("command"), "command", MAX_COMMAND)
    if not command:
        _invalid("sandbox.input_invalid", "command is empty")
    return ProcessRequest(
        command=command,
        args=_args(value.get("args", [])),
        cwd=check_cwd(_text(value.get("cwd", ""), "cwd", MAX_CWD)),
        stdin=_text(value.get("stdin", ""), "stdin", MAX_STDIN_BYTES).encode(),
        env=_env(value.get("env", {}), allowed_env),
    )


def check_argv(argv: Sequence[object]) -> tuple[str, ...]:
    """Return an expanded template as a tuple within the limits of `process.run`."""
    if not argv:
        _invalid("sandbox.input_invalid", "the argv is empty")
    return (_text(argv[0], "argv/0", MAX_ARG_BYTES), *_args(list(argv[1:])))


def check_cwd(cwd: str) -> str:
    """Return a relative directory without empty, `.` or `..` parts; absolute or climbing is refused."""
    parts = [part for part in cwd.split("/") if part not in ("", ".")]
    if cwd.startswith("/") or ".." in parts:
        raise SandboxRefusal(
            ErrorKind.WORKSPACE_SCOPE_DENIED, "sandbox.cwd_outside", "cwd must stay beneath the workspace."
        )
    return "/".join(parts)


def is_interpreter(real_name: str, head: bytes) -> bool:
    """Tell whether a program runs other programs' text: by its real file name, or by a `#!` start."""
    if head.startswith(b"#!") or real_name.startswith("ld-linux"):
        return True
    return real_name in _INTERPRETERS or _VERSION_SUFFIX.sub("", real_name) in _INTERPRETERS


def outside_path(args: Sequence[str], *, cwd: str) -> int | None:
    """Return the index of the first argument that surely names a path outside the sandbox, else None.

    An explanation given early, not a check: what it misses the mounts refuse. So it knows only the
    host's usual top-level directories, which do not exist inside, and `..` that climbs out.
    """
    depth = len([part for part in cwd.split("/") if part])
    for index, argument in enumerate(args):
        if any(_leaves(candidate, depth) for candidate in _candidates(argument)):
            return index
    return None


def _candidates(argument: str) -> tuple[str, ...]:
    found = [argument]
    if "=" in argument:
        found.append(argument.split("=", 1)[1])
    if argument.startswith("-") and len(argument) > 2:
        found.append(argument[2:])
    if argument.startswith("@"):
        found.append(argument[1:])
    if argument.startswith("file:"):
        found.append(argument[5:].removeprefix("//"))
    return tuple(found)


def _leaves(path: str, depth: int) -> bool:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/"):
        return bool(parts) and parts[0] in _HOST_ROOTS
    if "/" not in path and path != "..":
        return False
    for part in parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return True
    return False


def _args(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MAX_ARGS:
        _invalid("sandbox.input_invalid", f"args must be a list of at most {MAX_ARGS}")
    args = tuple(_text(item, f"args/{index}", MAX_ARG_BYTES) for index, item in enumerate(value))
    if sum(len(item.encode()) for item in args) > MAX_ARGV_BYTES:
        _invalid("sandbox.input_invalid", "args are too long in sum")
    return args


def _env(value: object, allowed: Sequence[str]) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > MAX_ENV:
        _invalid("sandbox.input_invalid", f"env must be a map of at most {MAX_ENV}")
    for name in value:
        if not isinstance(name, str) or not _ENV_NAME.fullmatch(name):
            _invalid("sandbox.env_refused", "an environment name is malformed")
        if _ENV_NEVER.fullmatch(name) or name not in allowed:
            _invalid("sandbox.env_refused", f"a call may not set {name}")
    return {name: _text(item, f"env/{name}", MAX_ENV_VALUE) for name, item in value.items()}


def _text(value: object, field: str, limit: int) -> str:
    if not isinstance(value, str):
        _invalid("sandbox.input_invalid", f"{field} must be a string")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        _invalid("sandbox.input_invalid", f"{field} is not Unicode text")
    if "\0" in value:
        _invalid("sandbox.input_nul", f"{field} holds a NUL")
    if size > limit:
        _invalid("sandbox.input_invalid", f"{field} is longer than {limit} bytes")
    return value


def _invalid(code: str, message: str) -> NoReturn:
    raise SandboxRefusal(ErrorKind.INVALID_INPUT, code, message)
