"""What the sandbox of a Tier A child is made of: its files, and the arguments of bubblewrap. Plans only."""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

INSIDE = "/palyra"
STAGE_POINTS = ("/mnt", "/media", "/srv", "/run")


@dataclass(frozen=True, slots=True)
class Source:
    """A file or directory that the child sees read-only at `inside`."""

    host: str
    inside: str


@dataclass(frozen=True, slots=True)
class ChildFiles:
    """The interpreter (`python` is its path, inside and outside) and everything it loads."""

    python: str
    sources: tuple[Source, ...]
    links: tuple[tuple[str, str], ...]


def child_files() -> ChildFiles | None:
    """Return the least that python and wasmtime need on this host, or None when wasmtime is missing."""
    package = importlib.util.find_spec("wasmtime")
    if package is None or not package.submodule_search_locations:
        return None
    python = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    own = [python, *_library_files()]
    system = [name for name in ("/usr/lib", "/usr/lib64", "/etc/ld.so.cache") if os.path.lexists(name)]
    real = [name for name in ("/lib", "/lib64") if os.path.isdir(name) and not os.path.islink(name)]
    links = tuple((name, os.readlink(name)) for name in ("/lib", "/lib64") if os.path.islink(name))
    sources = [
        *(Source(path, path) for path in (*system, *real)),
        *(Source(path, path) for path in own if not path.startswith(("/usr/lib/", "/usr/lib64/"))),
        Source(os.path.realpath(package.submodule_search_locations[0]), f"{INSIDE}/wasmtime"),
        Source(str(Path(__file__).with_name("wasm_host.py").resolve()), f"{INSIDE}/wasm_host.py"),
    ]
    return ChildFiles(python, tuple(sources), links)


def _library_files() -> list[str]:
    paths = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib", vars=_base())}
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        library = Path(sysconfig.get_config_var("LIBDIR")) / sysconfig.get_config_var("INSTSONAME")
        paths.add(str(library))
    return sorted({os.path.realpath(path) for path in paths if os.path.exists(path)})


def _base() -> dict[str, str]:
    """Names for sysconfig, which would otherwise answer with the virtual environment's paths."""
    return {"platbase": sys.base_exec_prefix, "base": sys.base_prefix}


def host_command(files: ChildFiles) -> list[str]:
    """Return what bubblewrap executes."""
    return [files.python, "-I", "-S", "-B", f"{INSIDE}/wasm_host.py"]


def bubblewrap_arguments(
    files: ChildFiles, hosts: Sequence[str], filter_fds: Sequence[int], status_fd: int
) -> list[str]:
    """Return the options. `hosts[i]` is where the i-th source can be reached by bubblewrap's own uid.

    Every namespace is asked for by name, because bubblewrap leaves out the user namespace for uid 0; the
    root turns read-only last; nothing of the host but the sources exists inside.
    """
    arguments = ["--unshare-all", "--unshare-user", "--disable-userns", "--uid", "1000", "--gid", "1000"]
    arguments += ["--hostname", "palyra", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    arguments += ["--clearenv", "--setenv", "LANG", "C.UTF-8"]
    for source, host in zip(files.sources, hosts, strict=True):
        arguments += ["--ro-bind", host, source.inside]
    for name, target in files.links:
        arguments += ["--symlink", target, name]
    arguments += ["--proc", "/proc", "--size", "65536", "--tmpfs", "/tmp", "--chdir", "/"]  # noqa: S108  # inside
    arguments += ["--remount-ro", "/tmp", "--remount-ro", "/"]  # noqa: S108  # inside the sandbox
    arguments += ["--json-status-fd", str(status_fd)]
    for descriptor in filter_fds:
        arguments += ["--add-seccomp-fd", str(descriptor)]
    return arguments
