"""500 idle event streams on one server process: the memory each costs, and the threads that stay.

`ours` is the growth of the server's resident memory per stream in KiB, `reference` what it may be; it
holds only if no thread beside the one watcher stays.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.installation import founded
from benchmarks.measuring import report

STREAMS, EACH = 500, 5
MOST_KIB = 64.0
WATCHERS = 1
"""Threads that streams may add: the one that asks for news was there before those that are measured."""
SETTLING = 3.0
WARM = 50


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    with founded() as ready, ExitStack() as stack:
        stories = _stories(ready.owner_token)
        port = _free_port()
        server = stack.enter_context(_serving(port))
        _open(port, stories[:WARM], stack.enter_context(ExitStack()))
        with ExitStack() as warm:
            _open(port, stories[WARM : 2 * WARM], warm)
        time.sleep(SETTLING)
        before = _status(server.pid)
        _open(port, stories[WARM:], stack)
        time.sleep(SETTLING)
        after = _status(server.pid)
        busy = _busy(server.pid)
    grown = (after["VmRSS"] - before["VmRSS"]) / (STREAMS - WARM)
    threads = after["Threads"] - before["Threads"]
    print(f"{STREAMS} idle streams, {STREAMS - WARM} of them measured")
    print(
        f"  resident memory   {before['VmRSS']:8} KiB -> {after['VmRSS']:8} KiB   {grown:6.1f} KiB a stream"
    )
    print(f"  threads           {before['Threads']:8}     -> {after['Threads']:8}")
    print(f"  of one processor  {busy:8.0%}     while nothing happens")
    report("run_stream", ours=grown, reference=MOST_KIB, target=1.0, also=threads < WATCHERS)


def _stories(owner_token: str) -> list[tuple[str, str]]:
    """Return a token and a run for each stream: five streams for each of a hundred agents."""
    from governance.operations import runs  # noqa: PLC0415  # needs the setup
    from identity.authentication import principal_of  # noqa: PLC0415  # as above
    from kernel.clock import utc_now  # noqa: PLC0415  # as above

    found = []
    for token in _agents(owner_token):
        agent = principal_of(
            authorization=(f"Bearer {token}",), client_ip="127.0.0.1", request_id="r", now=utc_now()
        )
        run = runs.open_run(principal=agent, wishes={}, now=utc_now())
        found += [(token, run.id)] * EACH
    return found


def _agents(owner_token: str) -> Iterator[str]:
    """Register the agents as the owner would after a one-time code, and yield a token of each."""
    from datetime import timedelta  # noqa: PLC0415  # with the rest of the setup

    from django.db import transaction  # noqa: PLC0415  # needs the setup

    from governance.journal.ledger import record  # noqa: PLC0415  # as above
    from identity import agents, minting  # noqa: PLC0415  # as above
    from identity.models import ApiToken  # noqa: PLC0415  # as above
    from identity.selectors import principal_of_user  # noqa: PLC0415  # as above
    from identity.tokens import TokenKind  # noqa: PLC0415  # as above
    from identity.types import AuthStrength  # noqa: PLC0415  # as above
    from kernel.clock import utc_now  # noqa: PLC0415  # as above

    row = ApiToken.objects.select_related("principal_user", "workspace").get(lookup=owner_token.split("_")[2])
    owner, now = row.principal_user, utc_now()
    if owner is None:
        raise SystemExit("the owner's token belongs to nobody")
    minter = principal_of_user(
        user=owner,
        workspace_id=row.workspace_id,
        strength=AuthStrength.FRESH_MFA,
        client_ip="127.0.0.1",
        request_id="r",
        authenticated_at=now,
        now=now,
        session_digest="sha256:" + "0" * 64,
    )
    for number in range(STREAMS // EACH):
        with transaction.atomic():
            agent = agents.register_agent(
                owner=owner,
                workspace=row.workspace,
                name=f"agent-{number}",
                actor=minter.actor(),
                now=now,
                record=record,
            )
            minted = minting.mint_token(
                kind=TokenKind.AGENT,
                label="benchmark",
                scopes=("runs.create", "runs.read"),
                expires_at=now + timedelta(days=1),
                workspace=row.workspace,
                agent=agent,
                minter=minter,
                now=now,
                record=record,
            )
        yield minted.text


@contextmanager
def _serving(port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "uvicorn", "palyra_site.asgi:application", "--port", str(port)]
    command += ["--log-level", "error", "--timeout-graceful-shutdown", "1"]
    with subprocess.Popen(command, cwd=Path(__file__).resolve().parent.parent) as process:
        try:
            _await(f"http://127.0.0.1:{port}/healthz")
            yield process
        finally:
            process.terminate()


def _await(url: str) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(url, timeout=1):  # noqa: S310  # loopback, our own server
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the server did not come up")


def _open(port: int, stories: list[tuple[str, str]], stack: ExitStack) -> None:
    """Open a stream for each story and wait for its first event; all stay open with the stack."""

    def one(story: tuple[str, str]) -> socket.socket:
        token, run = story
        peer = socket.create_connection(("127.0.0.1", port), timeout=60)
        head = f"GET /api/v1/runs/{run}/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        peer.sendall(f"{head}Authorization: Bearer {token}\r\nAccept: text/event-stream\r\n\r\n".encode())
        heard = b""
        while b"event: run_status" not in heard:
            part = peer.recv(65_536)
            if not part:
                raise SystemExit(heard.decode(errors="replace"))
            heard += part
        return peer

    with ThreadPoolExecutor(max_workers=8) as pool:
        for peer in pool.map(one, stories):
            stack.callback(peer.close)


def _status(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    pairs = (line.split(":", 1) for line in lines)
    return {name: int(value.split()[0]) for name, value in pairs if name in ("VmRSS", "Threads")}


def _busy(pid: int) -> float:
    """Return the share of one processor that the server uses over a while."""

    def used() -> int:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    begun = used()
    time.sleep(2 * SETTLING)
    return (used() - begun) / os.sysconf("SC_CLK_TCK") / (2 * SETTLING)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
