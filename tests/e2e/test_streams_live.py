"""Streams as a client meets them: over a socket, from a server that does other things meanwhile."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from django.db import transaction

from governance.journal.ledger import record
from governance.operations import runs
from identity.revocation import revoke_token
from kernel.clock import utc_now
from tests.governance.pipeline.conftest import committed_world as committed_world
from tests.governance.pipeline.world import World, owner_actor
from tests.support_fixtures import StartProcess
from tests.support_servers import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]
STREAM = "text/event-stream"


class Listening:
    """An open stream; what has arrived of it is read frame by frame."""

    def __init__(self, client: httpx.Client, path: str, token: str, stack: ExitStack, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        head = {"Authorization": f"Bearer {token}", "Accept": STREAM, **named}
        self.answer = stack.enter_context(client.stream("GET", f"/api/v1/{path}", headers=head))
        self._lines = self.answer.iter_lines()

    def frame(self) -> dict[str, str]:
        """Return the fields of the next frame, its data parsed beside them; empty at the end."""
        found: dict[str, str] = {}
        for line in self._lines:
            if not line and found:
                return found
            name, _, value = line.partition(": ")
            if line:
                found[name] = value
        return found

    def event(self) -> Any:
        while (frame := self.frame()) and "data" not in frame:
            pass
        return json.loads(frame["data"]) if frame else None

    def rest(self) -> list[Any]:
        return [*iter(self.event, None)]


@pytest.fixture
def client(committed_world: World, web_process: StartProcess) -> Iterator[httpx.Client]:
    started = web_process()
    with httpx.Client(base_url=started.url, timeout=30) as client:
        yield client
    log = started.log.read_text(errors="replace")
    assert "Traceback" not in log
    assert "plr_" not in log


def test_a_run_is_told_while_it_happens_to_those_who_may_hear_it(
    committed_world: World, client: httpx.Client
) -> None:
    world = committed_world
    run = world.open_run()
    path = f"runs/{run.id}/events"
    with ExitStack() as stack:
        first = Listening(client, path, world.agent_token, stack)
        assert first.answer.status_code == 200
        assert first.answer.headers["Content-Type"] == f"{STREAM}; charset=utf-8"
        assert first.answer.headers["X-Accel-Buffering"] == "no"
        assert first.answer.headers["Cache-Control"] == "no-store"
        assert first.frame() == {"retry": "2000"}
        opened = first.frame()
        assert (opened["id"], opened["event"]) == ("1", "run_status")
        view = world.ask(run=run)
        assert [first.event()["type"] for _ in range(4)][-1] == "tool_call.decided"
        with client.stream("GET", f"/api/v1/{path}", headers={"Accept": STREAM}) as nobody:
            assert nobody.status_code == 401
        with ExitStack() as others:
            for _ in range(4):
                Listening(client, path, world.agent_token, others)
            sixth = Listening(client, path, world.agent_token, others).answer
            assert (sixth.status_code, sixth.headers["Retry-After"]) == (503, "5")
            assert json.loads(sixth.read())["code"] == "too_many_streams"
        world.answer(view, "deny")
        late = Listening(client, path, world.agent_token, stack, Last_Event_ID="5")
        runs.complete_run(run_id=run.id, principal=world.agent, now=utc_now())
        heard = first.rest()
        assert late.rest() == heard
        assert [event["event_seq"] for event in heard] == list(range(6, heard[-1]["event_seq"] + 1))
        assert heard[-1]["type"] == "run.closed"


def test_a_revoked_token_hears_nothing_more(committed_world: World, client: httpx.Client) -> None:
    world = committed_world
    run = world.open_run(world.other_agent)
    with ExitStack() as stack:
        listening = Listening(client, f"runs/{run.id}/events", world.other_agent_token, stack)
        assert listening.event()["type"] == "run.opened"
        ended = threading.Event()

        def listen() -> None:
            assert listening.rest() == []
            ended.set()

        waiting = threading.Thread(target=listen)
        waiting.start()
        now = utc_now()
        with transaction.atomic():
            revoke_token(
                token_id=world.other_agent.token_id or "",
                reason="a test",
                actor=owner_actor(world),
                now=now,
                record=record,
            )
        waiting.join(timeout=20)
        assert ended.is_set()


def test_whoever_leaves_without_a_word_gives_the_place_back(
    committed_world: World, client: httpx.Client
) -> None:
    world = committed_world
    path = f"runs/{world.open_run().id}/events"
    request = f"GET /api/v1/{path} HTTP/1.1\r\nHost: {client.base_url.netloc.decode()}\r\n"
    request += f"Authorization: Bearer {world.agent_token}\r\nAccept: {STREAM}\r\n\r\n"
    for _ in range(15):
        with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.sendall(request.encode())

    def five_are_free() -> bool:
        with ExitStack() as stack:
            opened = [Listening(client, path, world.agent_token, stack) for _ in range(5)]
            return {one.answer.status_code for one in opened} == {200}

    wait_until(five_are_free, what="five places", seconds=20, pause=0.5)
