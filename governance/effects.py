"""What a call would do to the world, as far as its definition and parameters say. A forecast, no promise."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from governance.parameter_views import small_view
from governance.placement import argv_of
from governance.proposals import Placement, Target
from kernel.uris import UriError, parse_uri

MAX_EFFECT = 4_096
_PATCHED = re.compile(r"^(?:\+\+\+ |\*\*\* (?:Add|Update|Delete) File: )(?:b/)?([^\t\r\n]+)", re.MULTILINE)
_PATH_WORDS = frozenset({"path", "paths", "file", "files", "dir", "directory", "dest", "destination", "cwd"})
_NOWHERE = "/dev/null"


def effects_of(target: Target, placement: Placement) -> dict[str, object]:
    """Return the files it writes, the hosts it contacts and the command line it starts, masked and cut.

    `paths_written` is null when a program decides that itself; then `may_write` says where it can at all:
    nothing, a scratch directory, or the whole workspace. `argv` is null where no program is started.
    """
    argv = command_line(target)
    paths = None if argv is not None else list(_paths_written(target))
    return {
        "paths_written": None if paths is None else small_view(paths, MAX_EFFECT),
        "may_write": _may_write(target, placement),
        "hosts": small_view(list(_hosts(target, placement)), MAX_EFFECT, is_host=True),
        "argv": None if argv is None else small_view(list(argv), MAX_EFFECT),
    }


def command_line(target: Target) -> tuple[str, ...] | None:
    """Return what would be executed, one element of argv each; None for what starts no program."""
    if target.name == "process.run":
        given = target.input if isinstance(target.input, Mapping) else {}
        words = given.get("args", ())
        return (str(given.get("command", "")), *(str(word) for word in words))
    return argv_of(target)


def _paths_written(target: Target) -> Iterator[str]:
    given = target.input if isinstance(target.input, Mapping) else {}
    if "filesystem_write" not in target.capabilities or given.get("dry_run") is True:
        return
    if isinstance(given.get("patch"), str):
        yield from sorted({path for path in _PATCHED.findall(given["patch"]) if path != _NOWHERE})
    for name, value in given.items():
        if _PATH_WORDS.isdisjoint(re.findall(r"[a-z]+", str(name).lower())):
            continue
        yield from (item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str))


def _may_write(target: Target, placement: Placement) -> str:
    if command_line(target) is None and "filesystem_write" not in target.capabilities:
        return "nothing"
    return {"scratch": "scratch", "bind_ro": "nothing"}.get(placement.spec.workspace_mode, "workspace")


def _hosts(target: Target, placement: Placement) -> Iterator[str]:
    seen = dict.fromkeys(placement.spec.egress_hosts)
    given = target.input if isinstance(target.input, Mapping) else {}
    if "network" in target.capabilities:
        seen |= dict.fromkeys(found for value in given.values() if (found := _host_of(value)))
    yield from seen


def _host_of(value: object) -> str:
    """The host of a URL; one on which readers could differ is shown as what it is."""
    if not isinstance(value, str) or "://" not in value:
        return ""
    try:
        return parse_uri(value).host
    except UriError:
        return "(not a plain address)"
