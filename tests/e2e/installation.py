"""One installation of the product in a fresh home, its processes, and a client of its API."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from tests.support_fixtures import ROOT, is_answering
from tests.support_servers import free_port, running, wait_until

RUN_ENDS = {"succeeded", "failed", "timed_out", "ambiguous", "cancelled"}
ENDED = frozenset(RUN_ENDS | {"denied", "refused", "expired", "superseded"})
Values = dict[str, Any]
PATIENCE = 90.0


FIRST_UID, UIDS = 62_000, 3_000
"""Limits of processes count for each user: two installations of one host have a sandbox user each."""


@dataclass(frozen=True, slots=True)
class Installation:
    """A home and what its processes are told. `prefix` runs them as somebody else or somewhere else."""

    base: Path
    bind: str
    settings: dict[str, str] = field(default_factory=dict)
    python: str = sys.executable
    prefix: tuple[str, ...] = ()

    @property
    def home(self) -> Path:
        return self.base / "home"

    @property
    def url(self) -> str:
        return f"http://{self.bind}"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PALYRA_")}
        places = {"PALYRA_HOME": str(self.home), "PALYRA_BIND": self.bind}
        if os.geteuid() == 0:
            places["PALYRA_SANDBOX_UID"] = str(FIRST_UID + int(self.bind.rpartition(":")[2]) % UIDS)
            places["PALYRA_WORKSPACES_DIR"] = str(self.base / "workspaces")
            places["PALYRA_SANDBOX_DIR"] = str(self.base / "sandbox")
        return kept | places | self.settings | {"PYTHONUNBUFFERED": "1"}

    def command(self, *arguments: str) -> list[str]:
        return [*self.prefix, self.python, *arguments]

    def manage(self, *arguments: str) -> str:
        """Run one command of manage.py to its end and return what it wrote."""
        done = subprocess.run(
            self.command(str(ROOT / "manage.py"), *arguments),
            env=self.environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def found(self) -> None:
        """Make the database and the owner, as a deployment does before it starts its services."""
        if self.prefix or "PALYRA_DATABASE_URL" in self.settings:
            self.manage("migrate", "--verbosity", "0")
        else:
            self.home.mkdir(mode=0o700, exist_ok=True)
            shutil.copyfile(_migrated(), self.home / "palyra.sqlite3")
        self.manage("bootstrap")

    @property
    def credentials(self) -> dict[str, str]:
        values: dict[str, str] = json.loads((self.home / "bootstrap.json").read_text())
        return values

    @contextmanager
    def web(self) -> Iterator[subprocess.Popen[bytes]]:
        host, _, port = self.bind.partition(":")
        command = self.command("-m", "uvicorn", "palyra_site.asgi:application", "--log-level", "warning")
        with running(
            [*command, "--host", host, "--port", port],
            log=self.base / "web.log",
            ready=lambda: is_answering(f"{self.url}/healthz"),
            env=self.environment,
            cwd=ROOT,
        ) as process:
            yield process

    @contextmanager
    def worker(self, name: str = "worker", slots: int = 1) -> Iterator[subprocess.Popen[bytes]]:
        log = self.base / f"{name}.log"
        begin = log.stat().st_size if log.exists() else 0
        command = self.command("-m", "celery", "-A", "palyra_site.celery", "worker", "-c", str(slots))
        with running(
            [*command, "--loglevel", "INFO", "--hostname", f"{name}@localhost"],
            log=log,
            ready=lambda: b" ready." in log.read_bytes()[begin:],
            env=self.environment,
            cwd=ROOT,
        ) as process:
            yield process

    @contextmanager
    def sweeper(self) -> Iterator[subprocess.Popen[bytes]]:
        with running(
            self.command(str(ROOT / "manage.py"), "sweeper"),
            log=self.base / "sweeper.log",
            ready=lambda: True,
            env=self.environment,
            cwd=ROOT,
        ) as process:
            yield process

    def beside(self) -> Installation:
        """Return the same installation on another address, for a web server that is the test's to kill."""
        return replace(self, bind=free_bind())

    def as_agent(self) -> Caller:
        return Caller(self.url, self.credentials["agent_token"])

    def as_owner(self) -> Caller:
        return Caller(self.url, self.credentials["owner_token"])


@cache
def _migrated() -> Path:
    """Migrate an empty database once for all installations of this process, and return its file."""
    place = Path(tempfile.mkdtemp(prefix="palyra-e2e-empty-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    empty = Installation(place, free_bind())
    empty.manage("migrate", "--verbosity", "0")
    file = empty.home / "palyra.sqlite3"
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return file


class Caller:
    """Somebody with a token, over HTTP."""

    def __init__(self, url: str, token: str) -> None:
        self._client = httpx.Client(
            base_url=f"{url}/api/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=PATIENCE,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def _asked(self, method: str, path: str) -> httpx.Response:
        """Ask again, as clients should, while a busy machine keeps the limiter from answering in time."""
        for _ in range(5):
            answer = self._client.request(method, path)
            if answer.status_code != 503:
                break
            time.sleep(0.5)
        return answer

    def get(self, path: str) -> Values:
        answer = self._asked("GET", path)
        assert answer.status_code == 200, answer.text
        value: Values = answer.json()
        return value

    def post(self, path: str, body: Values, *, status: Sequence[int] = (200, 201, 202)) -> Values:
        answer = self._client.post(path, json=body)
        assert answer.status_code in status, answer.text
        value: Values = answer.json()
        return value

    def open_run(self) -> str:
        return str(self.post("/runs", {})["id"])

    def propose(self, tool: str, values: Values, *, run: str | None = None, wait: int = 0) -> Values:
        body = {"run_id": run or self.open_run(), "tool": tool, "input": values}
        return self.post(f"/tool-calls?wait={wait}", body)

    def call(self, call_id: str) -> Values:
        return self.get(f"/tool-calls/{call_id}")

    def await_state(self, call_id: str, *states: str, seconds: float = PATIENCE) -> Values:
        """Return the call once it is in one of `states`, or has ended if none is named."""
        wanted = frozenset(states) or ENDED
        # Slowly enough for the rate of the bootstrap tokens, whatever else a test asks beside.
        wait_until(
            lambda: self.call(call_id)["state"] in wanted,
            what=f"{call_id} {states}",
            seconds=seconds,
            pause=0.25,
        )
        return self.call(call_id)

    def allow(self, call: Values) -> Values:
        """Answer the request that a call waits on."""
        decision = {"decision": "allow", "scope": "once"}
        return self.post(f"/approvals/{call['approval']['id']}/decision", decision)


@dataclass(slots=True)
class Session:
    """`manage.py up` as a terminal runs it: a process group of its own, and all it wrote."""

    process: subprocess.Popen[bytes]
    log: Path
    begin: int

    @property
    def output(self) -> str:
        return self.log.read_bytes()[self.begin :].decode(errors="replace")

    def await_text(self, text: str) -> None:
        def said() -> bool:
            if text not in self.output and self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode}:\n{self.output}")
            return text in self.output

        wait_until(said, what=text, seconds=PATIENCE)

    def ctrl_c(self) -> int:
        """Do what a terminal does, and return the exit status."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(timeout=PATIENCE)

    def terminate(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=PATIENCE)


@contextmanager
def starting(installation: Installation, *arguments: str, command: Sequence[str] = ()) -> Iterator[Session]:
    """Run `manage.py up`, or another command, in a session of its own; end it in any case."""
    log = installation.base / "up.log"
    begin = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(command) or installation.command(str(ROOT / "manage.py"), "up", *arguments),
            env=installation.environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield Session(process, log, begin)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=PATIENCE)


def free_bind() -> str:
    return f"127.0.0.1:{free_port()}"
