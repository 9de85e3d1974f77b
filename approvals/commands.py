"""Argument vectors: which others an approved one stands for.

What an option means is its program's business. So options and fixed arguments keep their text and their
order, and only files beneath an approved directory may be others of their kind.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from approvals.paths import is_beneath, path_parts

MAX_TOKENS = 64
LEFT_OUT = frozenset({"--recursive", "--force", "--verbose"})
"""Options whose names say, for whatever program, that without them it reaches no further."""

_LISTS = frozenset(":,;=")
"""What programs split a single argument at, so that one that begins beneath a directory leaves it."""
_PROGRAM = re.compile(r"[!-~]+")
_VERSION = re.compile(r"[-.]?[0-9][0-9.]*$")
_BEGINNINGS = ("python", "pypy", "ld-linux", "ld.so", "ld-musl", "git-")
_SHELLS = """
    sh bash dash zsh ksh mksh fish csh tcsh ash rbash busybox toybox pwsh powershell cmd osascript
"""
_INTERPRETERS = """
    perl ruby irb node nodejs deno bun php lua luajit tclsh wish expect awk gawk mawk nawk sed gsed R
    rscript julia java javac groovy scala erl escript elixir iex ghci runghc guile racket sbcl swift dotnet
    mono ocaml octave gnuplot maxima wasmtime wine jshell bc dc m4 sqlite3 psql mysql mariadb mongosh
    redis-cli
"""
_STARTERS = """
    env xargs sudo su doas pkexec runuser setpriv chroot nice ionice chrt taskset timeout time nohup setsid
    stdbuf unbuffer script watch entr parallel flock find fd git hg svn ssh scp sftp rsync tar cpio zip
    make gmake cmake ninja meson bazel scons ant mvn gradle gradlew npm npx yarn pnpm corepack pip pipx uv
    uvx poetry tox nox pytest py.test jest mocha vitest rspec phpunit ctest cargo rustc go gem bundle rake
    composer gcc cc clang tcc docker podman nerdctl buildah kubectl helm terraform tofu ansible
    ansible-playbook vagrant systemd-run systemctl service crontab at batch nsenter unshare bwrap firejail
    flatpak snap apt apt-get dpkg yum dnf rpm apk brew pacman strace ltrace gdb lldb valgrind perf vi vim
    nvim view ed ex emacs nano less more most man screen tmux socat nc ncat telnet curl wget openssl
    eslint tsc tsx ts-node webpack vite babel gulp grunt rails flask django-admin uvicorn gunicorn celery
    alembic pre-commit just task invoke fab lein sbt mix stack cabal zig nim crystal pdflatex latex xelatex
    lualatex gs magick convert qemu logrotate tcpdump xdg-open open xterm fzf
    command exec eval source split busctl dbus-send start-stop-daemon
"""
_PLAIN = """
    b2sum base32 base64 basename bunzip2 bzip2 cat chgrp chmod chown cksum cmp column comm cp cut df diff
    dirname du echo egrep expand expr false fgrep file fmt fold grep gunzip gzip head hexdump id join ln ls
    md5sum mkdir mv nl od paste printf pwd readlink realpath rev rm rmdir seq sha1sum sha224sum sha256sum
    sha384sum sha512sum sleep stat strings sum tac tail tee test touch tr tree true truncate tsort uname
    unexpand uniq unxz wc xxd xz zcat zstd
"""
_ON_DATA = frozenset(_PLAIN.split())
"""Programs to which every file is data, whatever stands in it."""
_RUN_OTHERS = frozenset((_SHELLS + _INTERPRETERS + _STARTERS).lower().split())


@dataclass(frozen=True, slots=True)
class Argv:
    """An approved vector. `under` is the directory whose files may be others, None for none."""

    tokens: tuple[str, ...]
    under: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Item:
    """One or more neighbouring tokens. `most` is 0 for a token that stays as it is."""

    text: str
    most: int = 0
    may_miss: bool = False


def may_generalise(program: object) -> bool:
    """Tell whether other arguments of a program can be meant by an approval of some.

    Judged by the text of argv[0] alone: a bare name, which the runner finds on its own fixed path, or an
    absolute path, whose last component counts; a relative path may be what the agent wrote. A version at
    the end does not count. Programs that run text or other programs never generalise.
    """
    if not isinstance(program, str) or not _PROGRAM.fullmatch(program):
        return False
    if "/" in program and (not program.startswith("/") or path_parts(program[1:]) is None):
        return False
    name = _name_of(program)
    if not name or name.startswith(_BEGINNINGS) or name.startswith(("-", ".")):
        return False
    return name not in _RUN_OTHERS and _VERSION.sub("", name) not in _RUN_OTHERS


def works_on_data(program: object) -> bool:
    """Tell whether a program that an agent chose is known to take its files as data.

    Nobody has a list of all that run what stands in a file, so one that is not known is taken for such.
    """
    return isinstance(program, str) and may_generalise(program) and _name_of(program) in _ON_DATA


def _name_of(program: str) -> str:
    return program.rsplit("/", 1)[-1].lower().removesuffix(".exe")


def tokens_of(value: object) -> tuple[str, ...] | None:
    """Return an argument vector, or None for what is none."""
    if not isinstance(value, list) or len(value) > MAX_TOKENS:
        return None
    if not all(isinstance(token, str) and "\0" not in token for token in value):
        return None
    return tuple(value)


def file_parts(token: str) -> tuple[str, ...] | None:
    """Return the components of an argument that is one relative path, or None."""
    if token.startswith("-") or not _LISTS.isdisjoint(token):
        return None
    return path_parts(token)


def has_file_under(argv: Argv) -> bool:
    """Tell whether the approved vector holds a file beneath its directory at all."""
    return any(item.most for item in _items(argv))


def accepts(argv: Argv, value: object) -> bool:
    """Tell whether a vector is one that the approved one stands for.

    Token by token in the approved order: each option (compared as a whole text: `-rf` is not `-r`) and
    each fixed argument, where options of `LEFT_OUT` may be missing, and in place of neighbouring files
    under the approved directory at least one and at most as many others under it. After `--` nothing is
    an option.
    """
    tokens = tokens_of(value)
    if tokens is None:
        return False
    items = _items(argv)
    states = _ahead(items, {(0, 0)})
    for token in tokens:
        states = _ahead(items, {after for state in states for after in _step(argv, items, state, token)})
    return (len(items), 0) in states


def is_within(one: Argv, other: Argv) -> bool:
    """Tell whether `other` stands for every vector that `one` stands for; False when not sure."""
    if len(one.tokens) != len(other.tokens):
        return False
    if one.under != other.under and not _deeper(one.under, other.under):
        return False
    pairs = zip(one.tokens, other.tokens, _kinds(one), _kinds(other), strict=True)
    return all(
        _is_under(mine, other.under) if theirs_may_change else mine == theirs and not mine_may_change
        for mine, theirs, mine_may_change, theirs_may_change in pairs
    )


def _deeper(one: tuple[str, ...] | None, other: tuple[str, ...] | None) -> bool:
    return other is not None and (one is None or is_beneath(one, other))


def _kinds(argv: Argv) -> list[bool]:
    """Tell of each token whether it is a file that may be another."""
    return [_is_under(token, argv.under) for token in argv.tokens]


def _items(argv: Argv) -> list[_Item]:
    items: list[_Item] = []
    options_ended = False
    for token, is_file in zip(argv.tokens, _kinds(argv), strict=True):
        if is_file and items and items[-1].most:
            items[-1] = _Item("", items[-1].most + 1)
        elif is_file:
            items.append(_Item("", 1))
        else:
            items.append(_Item(token, may_miss=not options_ended and token in LEFT_OUT))
        options_ended = options_ended or token == "--"
    return items


def _ahead(items: list[_Item], states: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """Add the states reached without a token. A state is an item and how many tokens it has taken."""
    reached = set(states)
    begun = {index for index, taken in states if taken}
    for index, item in enumerate(items):
        if index in begun or (item.may_miss and (index, 0) in reached):
            reached.add((index + 1, 0))
    return reached


def _step(argv: Argv, items: list[_Item], state: tuple[int, int], token: str) -> set[tuple[int, int]]:
    index, taken = state
    if index == len(items):
        return set()
    item = items[index]
    if not item.most:
        return {(index + 1, 0)} if token == item.text else set()
    return {(index, taken + 1)} if taken < item.most and _is_under(token, argv.under) else set()


def _is_under(token: str, under: tuple[str, ...] | None) -> bool:
    parts = None if under is None else file_parts(token)
    return parts is not None and under is not None and is_beneath(parts, under)
