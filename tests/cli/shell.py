"""A shell for tests: runs the command in a world of its own against a server made of functions."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from palyra_site.cli.credentials import Keyring
from palyra_site.cli.main import run
from palyra_site.cli.world import World

APPROVAL = "apr_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
CALL = "call_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
RUN = "run_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
TOKEN = "plr_usr_" + "a" * 12 + "_" + "b" * 49

Reply = httpx.Response | Exception


def answer(body: object, status: int = 200, **headers: str) -> httpx.Response:
    """Return a JSON answer; underscores in header names stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=body, headers=named)


def problem(
    status: int, code: str, *, headers: Mapping[str, str] | None = None, **more: Any
) -> httpx.Response:
    """Return a problem document as the API writes it."""
    body = {"status": status, "code": code, "detail": f"About {code}.", "request_id": "req_1", **more}
    return httpx.Response(
        status, json=body, headers={"Content-Type": "application/problem+json", **(headers or {})}
    )


class Stream(io.StringIO):
    """A text stream that is or is not a terminal."""

    encoding = "utf-8"

    def __init__(self, text: str = "", *, terminal: bool = False, closed_pipe: bool = False) -> None:
        super().__init__(text)
        self._terminal = terminal
        self._closed_pipe = closed_pipe

    def write(self, text: str) -> int:
        if self._closed_pipe:
            raise BrokenPipeError
        return super().write(text)

    def isatty(self) -> bool:
        return self._terminal


@dataclass
class Result:
    """What one command line did."""

    code: int
    out: str
    err: str
    requests: list[httpx.Request]
    pauses: list[float]

    @property
    def sent(self) -> list[str]:
        return [f"{request.method} {request.url.raw_path.decode()}" for request in self.requests]

    def body(self, position: int = -1) -> Any:
        return json.loads(self.requests[position].content)


@dataclass
class Shell:
    """A home without files and a script of replies; the last reply repeats."""

    home: Path
    replies: list[Reply] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=lambda: {"PALYRA_TOKEN": TOKEN})
    terminal: bool = False
    typed: str = ""
    secrets: list[str] = field(default_factory=list)
    real_network: bool = False
    pipe_closed: bool = False
    ignore_wait: bool = False
    keyring: Keyring | None = None
    on_request: Callable[[httpx.Request], httpx.Response] | None = None

    def __call__(self, *argv: str) -> Result:
        seen: list[httpx.Request] = []
        pauses: list[float] = []
        clock = [0.0]

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            clock[0] += seconds

        world = World(
            environ=self.environ,
            stdin=Stream(self.typed, terminal=self.terminal),
            stdout=Stream(terminal=self.terminal, closed_pipe=self.pipe_closed),
            stderr=Stream(terminal=self.terminal),
            user_home=self.home,
            server_home=self.home / ".palyra",
            transport=None if self.real_network else httpx.MockTransport(self._server(seen, clock)),
            sleep=pause,
            monotonic=lambda: clock[0],
            clock=lambda: 1_767_607_200.0,
            ask_secret=self._ask,
            keyring=lambda: self.keyring,
        )
        code = run(argv, world)
        return Result(code, world.stdout.getvalue(), world.stderr.getvalue(), seen, pauses)  # type: ignore[attr-defined]  # both are StringIO here

    def _server(
        self, seen: list[httpx.Request], clock: list[float]
    ) -> Callable[[httpx.Request], httpx.Response]:
        remaining = list(self.replies)

        def serve(request: httpx.Request) -> httpx.Response:
            seen.append(request)
            clock[0] += 0.0 if self.ignore_wait else float(request.url.params.get("wait", 0))
            if self.on_request:
                return self.on_request(request)
            assert remaining, f"nothing expected, but {request.method} {request.url} was sent"
            reply = remaining.pop(0) if len(remaining) > 1 else remaining[0]
            if isinstance(reply, Exception):
                raise reply
            return _copy(reply)

        return serve

    def _ask(self, prompt: str) -> str:
        return self.secrets.pop(0)


def _copy(reply: httpx.Response) -> httpx.Response:
    return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)
