"""Servers of the tests' own: PostgreSQL and Redis on free loopback ports, in fresh directories.

No service of the machine is used or touched. Each server runs in a session of its own, so that Ctrl-C
reaches the tests first, and is stopped by its process id when the context ends.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import redis

START_SECONDS = 60.0


def free_port() -> int:
    """Return a loopback port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(
    ready: Callable[[], bool], *, what: str, seconds: float = START_SECONDS, pause: float = 0.05
) -> None:
    """Return once `ready()` holds; raise TimeoutError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come up within {seconds:.0f} s")
        time.sleep(pause)


@contextmanager
def running(
    command: list[str],
    *,
    log: Path,
    ready: Callable[[], bool],
    user: str | None = None,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    stop: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server from when it is ready to the end of the context; its output goes to `log`."""
    group = pwd.getpwnam(user).pw_gid if user else None
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=cwd or log.parent,
            env=env,
            user=user,
            group=group,
            extra_groups=[] if user else None,
            start_new_session=True,
        )
    try:
        wait_until(lambda: _is_up(process, ready, log), what=Path(command[0]).name)
        yield process
    finally:
        stop_process(process, stop)


def _is_up(process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path) -> bool:
    if process.poll() is not None:
        said = log.read_text(errors="replace")[-4000:]
        raise RuntimeError(f"{process.args!r} ended with code {process.returncode}:\n{said}")
    return ready()


def stop_process(process: subprocess.Popen[bytes], with_signal: signal.Signals = signal.SIGTERM) -> None:
    """End a process politely, after 20 s by SIGKILL, and reap it."""
    if process.poll() is None:
        process.send_signal(with_signal)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


@contextmanager
def _directory(prefix: str, owner: str | None = None) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        if owner:
            shutil.chown(path, owner, owner)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def find_postgres() -> Path | None:
    """Return the directory of the newest PostgreSQL server programs, or None."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda at: float(at.parts[-3]))
    if versions:
        return versions[-1].parent
    found = shutil.which("initdb")
    return Path(found).parent if found else None


@contextmanager
def postgres_cluster() -> Iterator[str]:
    """Make and run a PostgreSQL cluster; yield the URL of its superuser.

    Under root it belongs to the user `postgres`, because initdb refuses root. The password keeps other
    users of the machine out. Nothing is flushed to disk: the data dies with the context.
    """
    programs = find_postgres()
    if programs is None:
        raise RuntimeError("PostgreSQL is not installed")
    user = "postgres" if os.geteuid() == 0 else None
    with _directory("palyra-postgres-", user) as directory:
        password, port = secrets.token_hex(16), free_port()
        _init_cluster(programs, directory, user, password)
        url = f"postgres://palyra:{password}@127.0.0.1:{port}/postgres"
        settings = {
            "port": port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_connections": 200,
        }
        command = [str(programs / "postgres"), "-D", str(directory / "data")]
        command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        log = directory / "server.log"
        with running(command, log=log, ready=lambda: _answers(url), user=user, stop=signal.SIGINT):
            yield url


def _init_cluster(programs: Path, directory: Path, user: str | None, password: str) -> None:
    password_file = directory / "password"
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    if user:
        shutil.chown(password_file, user, user)
    command = [str(programs / "initdb"), "--pgdata", str(directory / "data"), "--username", "palyra"]
    command += ["--auth", "scram-sha-256", "--pwfile", str(password_file), "--no-sync"]
    command += ["--encoding", "UTF8", "--locale", "C.UTF-8"]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=directory,
        user=user,
        group=pwd.getpwnam(user).pw_gid if user else None,
        extra_groups=[] if user else None,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"initdb failed:\n{done.stdout}")


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


@contextmanager
def redis_process() -> Iterator[str]:
    """Run a redis-server that writes nothing to disk; yield its URL without a database number."""
    program = shutil.which("redis-server")
    if program is None:
        raise RuntimeError("redis-server is not installed")
    port = free_port()
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    with (
        _directory("palyra-redis-") as directory,
        redis.Redis(port=port) as client,
        running(command, log=directory / "server.log", ready=lambda: _pings(client)),
    ):
        yield f"redis://127.0.0.1:{port}"


def _pings(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
