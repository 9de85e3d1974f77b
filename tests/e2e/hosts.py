"""Installations on each broker and database, for tests that start and kill the services themselves."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import redis
from django.conf import settings
from psycopg import sql

from tests.e2e.installation import Installation, free_bind

STARTS = "SELECT count(*) FROM governance_journalevent WHERE type = 'execution.started' AND call_id = "
RATE = "UPDATE identity_apitoken SET rate_per_minute = "
CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"

SQLITE_FOLDER = pytest.param("sqlite, folder", id="sqlite-folder")
SQLITE_REDIS = pytest.param("sqlite, redis", id="sqlite-redis", marks=pytest.mark.redis)
POSTGRES_REDIS = pytest.param(
    "postgres, redis", id="postgres-redis", marks=[pytest.mark.postgres, pytest.mark.redis]
)
POSTGRES = pytest.param("postgres, folder", id="postgres-folder", marks=pytest.mark.postgres)
ALL_KINDS = (SQLITE_FOLDER, SQLITE_REDIS, POSTGRES_REDIS)
KINDS = (SQLITE_FOLDER, POSTGRES_REDIS)


@dataclass(frozen=True, slots=True)
class Host:
    """A founded installation, and what a test may do to its queue and ask of its database."""

    installation: Installation
    redis_url: str = ""
    database_url: str = ""

    def make_pipe(self) -> str:
        """Make a pipe in the agent's workspace and return its path there: reading it never ends."""
        name = f"notes/{secrets.token_hex(4)}"
        os.mkfifo(self.installation.base / "workspaces" / "demo" / name, 0o666)
        return name

    def forget_wake_ups(self) -> None:
        """Take every message out of the queue; the rows stay."""
        if self.redis_url:
            with redis.Redis.from_url(self.redis_url) as client:
                client.delete("sandbox")
            return
        for message in (self.installation.home / "queue" / "messages").glob("*.msg"):
            message.unlink(missing_ok=True)

    def starts(self, call_id: str) -> int:
        """Return how often the journal saw this call begin to run."""
        if self.database_url:
            with psycopg.connect(self.database_url) as postgres:
                row = postgres.execute(f"{STARTS}%s".encode(), (call_id,)).fetchone()
        else:
            with closing(sqlite3.connect(self.installation.home / "palyra.sqlite3")) as sqlite:
                row = sqlite.execute(f"{STARTS}?", (call_id,)).fetchone()
        assert row is not None
        return int(row[0])

    def set_agent_rate(self, rate: int) -> None:
        """Give the agent's token another limit; minting one takes a person with a one-time code."""
        if self.database_url:
            with psycopg.connect(self.database_url) as postgres:
                postgres.execute(f"{RATE}%s".encode(), (rate,))
        else:
            with closing(sqlite3.connect(self.installation.home / "palyra.sqlite3")) as sqlite, sqlite:
                sqlite.execute(f"{RATE}?", (rate,))

    def cut_database_connections(self) -> None:
        """End every connection to the database as a restart of the server would."""
        with psycopg.connect(self.database_url, autocommit=True) as postgres:
            postgres.execute(CUT, (postgres.info.dbname,))


@contextmanager
def founded(*, redis_url: str = "", database_url: str = "") -> Iterator[Host]:
    """Yield a founded installation in a directory that a sandbox's user may search."""
    base = Path(tempfile.mkdtemp(prefix="palyra-e2e-"))
    base.chmod(0o711)
    given = {"PALYRA_REDIS_URL": redis_url, "PALYRA_DATABASE_URL": database_url}
    installation = Installation(base, free_bind(), {name: value for name, value in given.items() if value})
    try:
        installation.found()
        yield Host(installation, redis_url, database_url)
    finally:
        shutil.rmtree(base, ignore_errors=True)


@contextmanager
def postgres_database() -> Iterator[str]:
    """Make a database of its own in the cluster of the tests; yield its URL."""
    at = settings.DATABASES["default"]
    login = f"{quote(str(at['USER']))}:{quote(str(at['PASSWORD']))}@{at['HOST']}:{at['PORT']}"
    name = f"palyra_e2e_{secrets.token_hex(6)}"
    with psycopg.connect(f"postgresql://{login}/postgres", autocommit=True) as postgres:
        postgres.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield f"postgres://{login}/{name}"
        postgres.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
