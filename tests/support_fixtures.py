"""Fixtures that start real processes beside the tests: Redis, web server, worker, browser."""

from __future__ import annotations

import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from urllib.parse import quote

import pytest
from django.db import connection, connections
from playwright.sync_api import Browser, sync_playwright

from tests.support_servers import free_port, redis_process, running

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
)


@dataclass(frozen=True, slots=True)
class Started:
    """A process of the product: its handle, its log and, for a server, its address."""

    process: Popen[bytes]
    log: Path
    url: str = ""


StartProcess = Callable[..., Started]


@pytest.fixture(scope="session")
def redis_server(worker_id: str) -> Iterator[str]:
    """Yield the URL of a Redis database that no other test process uses."""
    number = worker_id.removeprefix("gw") if worker_id.startswith("gw") else "0"
    given = os.environ.get("PALYRA_TEST_REDIS_URL")
    if given:
        yield f"{given}/{number}"
        return
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    with redis_process() as url:
        yield f"{url}/{number}"


def current_database_url() -> str:
    """Return the URL of the test database in use, so that another process can share it."""
    at = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{at['NAME']}"
    login = f"{quote(str(at['USER']))}:{quote(str(at['PASSWORD']))}"
    return f"postgres://{login}@{at['HOST']}:{at['PORT']}/{quote(str(at['NAME']))}"


def product_environment(**changes: str) -> dict[str, str]:
    """Return the environment of a process that shares this test's home and database."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PALYRA_")}
    shared = {"PALYRA_HOME": os.environ["PALYRA_HOME"], "PALYRA_DATABASE_URL": current_database_url()}
    return kept | shared | {"PYTHONUNBUFFERED": "1"} | changes


@pytest.fixture
def web_process(transactional_db: None, tmp_path: Path) -> Iterator[StartProcess]:
    """Yield `start(**environment)`: runs the main listener on the test database, until the test ends."""
    with ExitStack() as stack:

        def start(**changes: str) -> Started:
            port = free_port()
            log = tmp_path / f"web-{port}.log"
            url = f"http://127.0.0.1:{port}"
            env = product_environment(PALYRA_BIND=f"127.0.0.1:{port}", PALYRA_PUBLIC_URL=url, **changes)
            command = [sys.executable, "-m", "uvicorn", "palyra_site.asgi:application"]
            command += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
            server = running(
                command, log=log, ready=lambda: is_answering(f"{url}/healthz"), env=env, cwd=ROOT
            )
            return Started(stack.enter_context(server), log, url)

        yield start


@pytest.fixture
def celery_worker_process(transactional_db: None, tmp_path: Path) -> Iterator[StartProcess]:
    """Yield `start(**environment)`: runs a Celery worker on the test database, until the test ends.

    With PALYRA_REDIS_URL it listens on Redis, otherwise on the folder queue of this test's home.
    """
    with ExitStack() as stack:

        def start(**changes: str) -> Started:
            log = tmp_path / f"worker-{free_port()}.log"
            command = [sys.executable, "-m", "celery", "-A", "palyra_site.celery", "worker"]
            command += ["--loglevel", "INFO", "--concurrency", "1", "--hostname", f"{log.stem}@localhost"]
            worker = running(
                command,
                log=log,
                ready=lambda: " ready." in log.read_text(errors="replace"),
                env=product_environment(**changes),
                cwd=ROOT,
            )
            return Started(stack.enter_context(worker), log)

        yield start


def is_answering(url: str) -> bool:
    """Tell whether the address answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  # loopback, our own server
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture
def chromium(monkeypatch: pytest.MonkeyPatch) -> Iterator[Browser]:
    """Yield Debian's Chromium under Playwright with a fresh profile.

    Playwright leaves an event loop running in this thread, which Django would take for async code and
    refuse the database; hence the variable, for the length of one test.
    """
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed")
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(CHROMIUM_FLAGS))
        yield browser
        browser.close()
        connections.close_all()  # beside a running loop Django opens connections of their own
