"""`make run`: the whole product from one command, and one Ctrl-C to end it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from palyra_site.demonstration import demonstrate

START_PATIENCE = 60.0
STOP_PATIENCE = 15.0


class Command(BaseCommand):
    """Migrate, bootstrap, start web, worker and sweeper, show a first governed run."""

    help = "Start Palyra on this machine. Ctrl-C stops every process."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--no-demo", action="store_true", help="do not drive the demonstration run")

    def handle(self, *args: Any, **options: Any) -> None:
        _refuse_plain_public_bind()
        self._say("migrating the database")
        call_command("migrate", verbosity=0, interactive=False)
        fresh = not (settings.PALYRA_HOME / "bootstrap.json").exists()
        call_command("bootstrap", stdout=self.stdout)
        _make_queue_folders()
        call_command("collectstatic", verbosity=0, interactive=False)
        processes = Processes(self._say)
        processes.stop_on_signal()
        try:
            for name, command in _commands():
                processes.start(name, command)
            self._say(f"waiting for {settings.PALYRA_PUBLIC_URL}")
            _await_ready(processes)
            self._show(_credentials(), fresh=fresh, demo=not options["no_demo"])
            processes.watch()
        finally:
            processes.stop()
            self._say("stopped")

    def _show(self, credentials: dict[str, str] | None, *, fresh: bool, demo: bool) -> None:
        if credentials is None:
            self._say(f"console: {settings.PALYRA_PUBLIC_URL}/admin/")
            return
        if fresh and demo:
            self._say("driving one demonstration run")
            for line in demonstrate(credentials["api_url"], credentials["agent_token"]):
                self._say(f"  {line}")
        self.stdout.write(_welcome(credentials))
        self.stdout.flush()

    def _say(self, line: str) -> None:
        self.stdout.write(f"palyra: {line}")
        self.stdout.flush()


class Processes:
    """The children of this command. The first one to end, or a signal, ends them all."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping = False

    def stop_on_signal(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def start(self, name: str, command: list[str]) -> None:
        # A group of its own keeps the terminal's Ctrl-C from reaching children twice.
        self._running[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)
        self._say(f"{name} started (pid {self._running[name].pid})")

    def ended(self) -> str | None:
        """Return the name of a child that is no longer running, or None."""
        return next((name for name, child in self._running.items() if child.poll() is not None), None)

    def watch(self) -> None:
        """Wait until a signal comes or a child ends; a child that ends by itself is an error."""
        while not self._stopping:
            name = self.ended()
            if name is not None and not self._stopping:
                raise CommandError(f"{name} ended with status {self._running[name].returncode}")
            time.sleep(0.2)

    def stop(self) -> None:
        """End every child: first politely, then for sure."""
        self._stopping = True
        for child in self._running.values():
            if child.poll() is None:
                child.terminate()
        deadline = time.monotonic() + STOP_PATIENCE
        for child in self._running.values():
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _kill_group(child)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stopping:
            return
        self._stopping = True
        raise KeyboardInterrupt


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    child.wait()


def _commands() -> list[tuple[str, list[str]]]:
    host, _, port = settings.PALYRA_BIND.rpartition(":")
    python = sys.executable
    manage = str(Path(settings.BASE_DIR) / "manage.py")
    slots = settings.PALYRA_SANDBOX_SLOTS or 2 * (os.cpu_count() or 1)
    web = ["-m", "uvicorn", "palyra_site.asgi:application", "--host", host.strip("[]"), "--port", port]
    worker = [
        "-m",
        "celery",
        "--quiet",
        "-A",
        "palyra_site.celery",
        "worker",
        "-Q",
        "sandbox",
        "-c",
        str(slots),
    ]
    return [
        ("web", [python, *web, "--log-level", "warning", "--no-server-header", "--no-proxy-headers"]),
        ("worker", [python, *worker, "--loglevel", "WARNING", "--without-gossip", "--without-mingle"]),
        ("sweeper", [python, manage, "sweeper"]),
    ]


def _await_ready(processes: Processes) -> None:
    deadline = time.monotonic() + START_PATIENCE
    with httpx.Client(trust_env=False, timeout=2.0) as client:
        while time.monotonic() < deadline:
            name = processes.ended()
            if name is not None:
                raise CommandError(f"{name} did not start")
            if _is_ready(client):
                return
            time.sleep(0.2)
    raise CommandError(f"not ready after {START_PATIENCE:.0f} s; see {settings.PALYRA_PUBLIC_URL}/readyz")


def _is_ready(client: httpx.Client) -> bool:
    try:
        answer = client.get(f"http://{settings.PALYRA_BIND}/readyz")
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and answer.json()["status"] == "ok"


def _credentials() -> dict[str, str] | None:
    path = settings.PALYRA_HOME / "bootstrap.json"
    if not path.exists():
        return None
    values: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return values


def _refuse_plain_public_bind() -> None:
    """A console in plain HTTP is for loopback only: its cookie could be read on the way."""
    host = settings.PALYRA_BIND.rpartition(":")[0].strip("[]")
    loopback = host == "localhost" or host.startswith("127.") or host == "::1"
    if not loopback and not settings.PALYRA_PUBLIC_URL.startswith("https://"):
        raise CommandError(
            f"{settings.PALYRA_BIND} is not loopback: set PALYRA_PUBLIC_URL to an https:// origin"
        )


def _make_queue_folders() -> None:
    if settings.PALYRA_REDIS_URL:
        return
    for folder in ("messages", "processed", "control"):
        (settings.PALYRA_HOME / "queue" / folder).mkdir(parents=True, exist_ok=True, mode=0o700)


def _welcome(credentials: dict[str, str]) -> str:
    secret = credentials["totp_uri"].partition("secret=")[2].partition("&")[0]
    first_id = "python3 -c 'import json,sys; print(json.load(sys.stdin)[\"id\"])'"
    body = '"{\\"run_id\\": \\"$RUN\\", \\"tool\\": \\"demo.ls\\", \\"input\\": {}}"'
    return f"""
  Palyra is running. Ctrl-C stops everything.

  Console    {credentials["console_url"]}
  User       {credentials["username"]}
  Password   {credentials["password"]}
  One-time   {secret}  (for an authenticator; or: .venv/bin/python manage.py totp)

  The same credentials are in {settings.PALYRA_HOME / "bootstrap.json"}.
  A first governed call: the agent proposes, Palyra decides, runs it in the sandbox and attests it.

  API={credentials["api_url"]} JSON='Content-Type: application/json'
  AUTH='Authorization: Bearer {credentials["agent_token"]}'
  RUN=$(curl -s -H "$AUTH" -H "$JSON" $API/runs -d '{{}}' | {first_id})
  curl -s -H "$AUTH" -H "$JSON" "$API/tool-calls?wait=20" -d {body}

"""
