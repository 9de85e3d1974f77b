"""What only a real server shows: bodies as they arrive, repeated headers, and waiting."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from governance.models import Run
from tests.governance.api.world import World
from tests.support_fixtures import StartProcess

LIMIT = 1_048_576


@pytest.fixture
def server(committed_world: World, web_process: StartProcess) -> Iterator[tuple[World, httpx.Client]]:
    """The installation behind uvicorn; at the end nothing of a token may be in the server's log."""
    started = web_process()
    with httpx.Client(base_url=started.url, timeout=60) as client:
        yield committed_world, client
    log = started.log.read_text(errors="replace")
    assert "Traceback" not in log
    assert "plr_" not in log


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}


def chunks(*parts: bytes) -> Iterator[bytes]:
    yield from parts


def test_bodies_are_measured_while_they_arrive(server: tuple[World, httpx.Client]) -> None:
    world, client = server
    head = bearer(world.agent.token) | {"X-Request-Id": "too-large"}
    for content in (b" " * (LIMIT + 1), chunks(b" " * LIMIT, b" ")):
        refused = client.post("/api/v1/runs", content=content, headers=head)
        assert (refused.status_code, refused.json()["code"]) == (413, "body_too_large")
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert refused.headers["X-Request-Id"] == refused.json()["request_id"] == "too-large"
        assert refused.headers["Cache-Control"] == "no-store"
    padded = b'{"purpose":"exactly"}'.ljust(LIMIT)
    assert client.post("/api/v1/runs", content=padded, headers=head).status_code == 201
    chunked = client.post("/api/v1/runs", content=chunks(b'{"purpose":', b'"in parts"}'), headers=head)
    assert (chunked.status_code, chunked.json()["purpose"]) == (201, "in parts")
    assert client.post("/api/v1/runs", content=chunks(b'{"x":', b"1}"), headers=head).status_code == 400
    assert Run.objects.count() == 2


def test_a_body_that_never_ends_holds_nothing_up(server: tuple[World, httpx.Client]) -> None:
    world, client = server
    at = urlsplit(str(client.base_url))
    with socket.create_connection((at.hostname, at.port), timeout=30) as peer:
        head = f"POST /api/v1/runs HTTP/1.1\r\nHost: {at.netloc}\r\nContent-Type: application/json\r\n"
        head += f"Authorization: Bearer {world.agent.token}\r\nContent-Length: 1000\r\n\r\n{{"
        peer.sendall(head.encode())
        assert client.get("/healthz").status_code == 200
    assert client.get("/api/v1/whoami", headers=bearer(world.agent.token)).status_code == 200
    assert not Run.objects.exists()


def test_two_authorization_headers_are_refused(server: tuple[World, httpx.Client]) -> None:
    world, client = server
    value = f"Bearer {world.agent.token}"
    twice = client.get("/api/v1/whoami", headers=[("Authorization", value), ("Authorization", value)])
    none = client.get("/api/v1/whoami")
    assert twice.status_code == none.status_code == 401
    assert twice.json() | {"request_id": ""} == none.json() | {"request_id": ""}
    in_query = client.get("/api/v1/whoami", params={"token": world.agent.token})
    assert in_query.json() | {"request_id": ""} == none.json() | {"request_id": ""}


def test_a_wait_ends_when_a_person_has_answered(server: tuple[World, httpx.Client]) -> None:
    world, client = server
    body = {"run_id": world.agent.open_run(), "tool": "demo.wc", "input": {"path": "README.txt"}}
    answers: list[httpx.Response] = []

    def propose() -> None:
        answers.append(
            client.post("/api/v1/tool-calls?wait=60", json=body, headers=bearer(world.agent.token))
        )

    waiting = threading.Thread(target=propose)
    began = time.monotonic()
    waiting.start()
    request = ""
    while not request:
        pending = client.get("/api/v1/approvals?mine=eligible", headers=bearer(world.approver.token)).json()
        request = pending["data"][0]["id"] if pending["data"] else ""
    denied = client.post(
        f"/api/v1/approvals/{request}/decision",
        json={"decision": "deny", "comment": "not now"},
        headers=bearer(world.approver.token),
    )
    assert denied.status_code == 200
    waiting.join(timeout=90)
    assert time.monotonic() - began < 60
    assert (answers[0].status_code, answers[0].json()["state"]) == (201, "denied")
