"""`make run`: the whole product from one command, and one Ctrl-C to end it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from governance import presence
from kernel.clock import utc_now
from palyra_site import broker
from palyra_site.demonstration import demonstrate
from palyra_site.exposure import plain_faults
from palyra_site.tables import broken_promises
from palyra_site.welcome import read_credentials, welcome

START_PATIENCE = 60.0
# Longer than a worker's drain, so that a running tool is given its half minute and then a known end.
STOP_PATIENCE = 45.0
POLL_SECONDS = 0.1


class StoppedError(BaseException):
    """Somebody asked the command to stop. Not an Exception, so that nothing on the way takes it for one."""


class Command(BaseCommand):
    """Migrate, bootstrap, start web, worker and sweeper, show a first governed run.

    Ends with 0 when it was told to stop (Ctrl-C, SIGTERM, SIGHUP): that is how it is meant to end. It
    ends with 1 and a sentence when something could not start or a process ended by itself.
    """

    help = "Start Palyra on this machine. Ctrl-C stops every process; a second one does not wait."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--no-demo", action="store_true", help="do not drive the demonstration run")

    def handle(self, *args: Any, **options: Any) -> None:
        children = Children(self._say)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: children.interrupt())
        try:
            self._run(children, demo=not options["no_demo"])
        except StoppedError:
            pass
        finally:
            children.stop()

    def _run(self, children: Children, *, demo: bool) -> None:
        _refuse_plain_public_bind()
        _require_free_port()
        fresh = self._prepare()
        started = utc_now()
        for name, command in commands():
            children.start(name, command)
        self._say(f"waiting for {settings.PALYRA_PUBLIC_URL}")
        with httpx.Client(trust_env=False, timeout=2.0) as client:
            children.await_ready(lambda: _is_ready(client, started), seconds=START_PATIENCE)
        for line in presence.lacking(started):
            self._say(line)
        self._show(fresh=fresh and demo)
        children.watch()

    def _prepare(self) -> bool:
        """Make the database, the founding and the files; return whether this is the first start."""
        _refuse_older_database()
        self._say("migrating the database")
        call_command("migrate", verbosity=0, interactive=False)
        fresh = not (settings.PALYRA_HOME / "bootstrap.json").exists()
        call_command("bootstrap", stdout=self.stdout)
        _declare_queue()
        call_command("collectstatic", verbosity=0, interactive=False)
        return fresh

    def _show(self, *, fresh: bool) -> None:
        credentials = read_credentials()
        if credentials is None:
            self._say(f"console: {settings.PALYRA_PUBLIC_URL}/admin/")
            return
        if fresh:
            self._demonstrate(credentials)
        self.stdout.write(welcome(credentials))
        self.stdout.flush()

    def _demonstrate(self, credentials: dict[str, str]) -> None:
        self._say("driving one demonstration run")
        try:
            for line in demonstrate(credentials["api_url"], credentials["agent_token"]):
                self._say(f"  {line}")
        except httpx.HTTPError as error:
            self._say(f"  it did not end: {error}")

    def _say(self, line: str) -> None:
        self.stdout.write(f"palyra: {line}")
        self.stdout.flush()


class Children:
    """The processes of the product. The first one to end, or a signal, ends them all."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._interruptible = True
        self._interrupts = 0

    def interrupt(self) -> None:
        """Answer a signal: the first one unwinds the command, a later one ends the waiting for tools."""
        self._interrupts += 1
        if self._interruptible:
            self._interruptible = False
            raise StoppedError

    def start(self, name: str, command: list[str]) -> None:
        self._interruptible = False  # between fork and entry into the table nobody would stop it
        # A group of its own keeps the terminal's Ctrl-C from reaching children twice.
        self._running[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)
        self._interruptible = True
        if self._interrupts:
            self._interruptible = False
            raise StoppedError
        self._say(f"{name} started (pid {self._running[name].pid})")

    def await_ready(self, ready: Callable[[], bool], *, seconds: float) -> None:
        """Return once `ready()` holds; CommandError when a child ends before or time runs out."""
        deadline = time.monotonic() + seconds
        while not ready():
            self._refuse_ended()
            if time.monotonic() > deadline:
                raise CommandError(
                    f"not ready after {seconds:.0f} s; see {settings.PALYRA_PUBLIC_URL}/readyz"
                )
            time.sleep(POLL_SECONDS)

    def watch(self) -> None:
        """Wait until a signal comes or a child ends; a child that ends by itself is an error."""
        while True:
            self._refuse_ended()
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """End every child: politely, then for sure. A worker may finish what runs meanwhile."""
        self._interruptible = False
        asked, patience = self._interrupts, time.monotonic() + STOP_PATIENCE
        for child in self._running.values():
            if child.poll() is None:
                child.terminate()
        notice = time.monotonic() + 2
        while self._alive() and self._interrupts == asked and time.monotonic() < patience:
            if notice and time.monotonic() > notice:
                notice = 0.0
                self._say("waiting for the worker to finish what runs; Ctrl-C again ends it at once")
            time.sleep(POLL_SECONDS)
        for child in self._running.values():
            _kill_group(child)
        if self._running:
            self._say("stopped")

    def _alive(self) -> bool:
        return any(child.poll() is None for child in self._running.values())

    def _refuse_ended(self) -> None:
        for name, child in self._running.items():
            if child.poll() is not None:
                raise CommandError(f"{name} ended by itself ({_how(child.returncode)}); stopping everything")


def _how(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a child's group: the child itself, or pool processes that it left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def commands() -> list[tuple[str, list[str]]]:
    """Return name and command line of each process of the product."""
    host, _, port = settings.PALYRA_BIND.rpartition(":")
    python = sys.executable
    web = [python, "-m", "uvicorn", "palyra_site.asgi:application", "--host", host.strip("[]")]
    web += ["--port", port, "--log-level", "warning", "--no-server-header", "--no-proxy-headers"]
    web += ["--timeout-graceful-shutdown", "5"]
    slots = settings.PALYRA_SANDBOX_SLOTS or 2 * (os.cpu_count() or 1)
    worker = [python, "-m", "celery", "--quiet", "-A", "palyra_site.celery", "worker", "-Q", "sandbox"]
    worker += ["-c", str(slots), "--loglevel", "WARNING", "--without-gossip", "--without-mingle"]
    sweeper = [python, str(Path(settings.BASE_DIR) / "manage.py"), "sweeper"]
    beside = [(name, _one_at_a_time(name)) for name in (broker.JOBS_QUEUE, broker.NOTIFICATIONS_QUEUE)]
    return [("web", web), ("worker", worker), *beside, ("sweeper", sweeper)]


def _one_at_a_time(queue: str) -> list[str]:
    """Return the command line of a worker that serves one queue in its own process."""
    command = [sys.executable, "-m", "celery", "--quiet", "-A", "palyra_site.celery", "worker", "-Q", queue]
    command += ["--pool", "solo", "--loglevel", "WARNING", "--without-gossip", "--without-mingle"]
    return [*command, "--hostname", f"{queue}@%h"]


def _is_ready(client: httpx.Client, started: datetime) -> bool:
    try:
        answer = client.get(f"http://{settings.PALYRA_BIND}/readyz")
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and presence.announced_since(started)


def _declare_queue() -> None:
    try:
        broker.declare()
    except broker.BrokerDownError as error:
        raise CommandError(f"the broker does not answer: {error}") from error


def _refuse_older_database() -> None:
    missing = broken_promises()
    if missing:
        raise CommandError(
            "this database was made by an earlier version of Palyra and cannot be upgraded before 1.0 "
            f"(it lacks {missing[0]}, in all {len(missing)} tables or columns). Export what you need with "
            "that version, then start this one with another PALYRA_HOME or an empty database."
        )


def _refuse_plain_public_bind() -> None:
    """A console in plain HTTP is for loopback only: its cookie could be read on the way."""
    for finding in plain_faults(settings.PALYRA_BIND, settings.PALYRA_PUBLIC_URL):
        raise CommandError(f"{finding.sentence}. {finding.hint}")


def _require_free_port() -> None:
    """Ask before anything is touched, because it may be this installation that runs already."""
    host, _, port = settings.PALYRA_BIND.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host.strip("[]"), int(port)))
    except (OSError, ValueError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        text = f"cannot listen on {settings.PALYRA_BIND}: {reason}. Is Palyra running already? "
        raise CommandError(text + "Stop it, or choose another address with PALYRA_BIND.") from error
