"""A founded installation in a directory of its own, for benchmarks that ask a database."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import django

MEMORY = "/dev/shm"  # noqa: S108  # a file system in memory, not a place for secrets


@dataclass(frozen=True, slots=True)
class Ready:
    """What a benchmark needs of it: two tokens, and the name of the database it lies in."""

    owner_token: str = field(repr=False)
    agent_token: str = field(repr=False)
    vendor: str


@contextmanager
def founded(
    *, database_url: str = "", redis_url: str = "", apps: tuple[str, ...] = (), in_memory: bool = False
) -> Iterator[Ready]:
    """Set Django up in this process, once, with `apps` beside its own; yield a founded installation.

    `in_memory` keeps its files off the disk, whose waits would hide how long the work itself takes.
    """
    with ExitStack() as stack:
        place = MEMORY if in_memory and Path(MEMORY).is_dir() else None
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="palyra-bench-", dir=place)))
        _environment(home, database_url, redis_url)
        from django.conf import settings  # noqa: PLC0415  # reads the environment

        settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, *apps]
        settings.LOGGING_CONFIG = None
        django.setup()
        from django.core.management import call_command  # noqa: PLC0415  # needs the setup
        from django.db import connection  # noqa: PLC0415  # as above

        from governance.operations import installation  # noqa: PLC0415  # as above
        from kernel.clock import utc_now  # noqa: PLC0415  # as above

        call_command("migrate", verbosity=0, interactive=False)
        made = installation.bootstrap(now=utc_now())
        if made is None:
            raise SystemExit("the installation is not fresh")
        stack.callback(connection.close)
        yield Ready(made.owner_token, made.agent_token, connection.vendor)


def _environment(home: Path, database_url: str, redis_url: str) -> None:
    for name in [name for name in os.environ if name.startswith("PALYRA_")]:
        del os.environ[name]
    given = {"PALYRA_DATABASE_URL": database_url, "PALYRA_REDIS_URL": redis_url}
    os.environ |= {name: value for name, value in given.items() if value}
    os.environ |= {
        "PALYRA_HOME": str(home / "home"),
        "PALYRA_WORKSPACES_DIR": str(home / "workspaces"),
        "PALYRA_SANDBOX_DIR": str(home / "sandbox"),
        "DJANGO_SETTINGS_MODULE": "palyra_site.settings",
    }
