"""`palyra approvals watch`: each new request once, whatever happens to the connection; Ctrl-C is quiet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.cli.shell import APPROVAL, Result, Shell, problem

WATCH = ("approvals", "watch")


def asked(number: int, kind: str = "approval.requested", **data: object) -> dict[str, Any]:
    return {
        "object": "event",
        "id": f"evt_{number}",
        "type": kind,
        "time": "2026-01-05T10:00:00.000Z",
        "subject": APPROVAL,
        "data": {"risk": "high", "subject_label": "tool:fs.write", "by": "agt_1", **data},
    }


def stream(*events: dict[str, Any], ends: BaseException | None = None) -> httpx.Response:
    class Content(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b"retry: 2000\n\n: keep-alive\n\n"
            for event in events:
                text = json.dumps(event)
                yield f"id: {event['id']}\nevent: approval_request\ndata: {text}\n\n".encode()
            if ends is not None:
                raise ends

    return httpx.Response(200, stream=Content())


def watch(shell: Shell, *replies: httpx.Response | BaseException, argv: tuple[str, ...] = ()) -> Result:
    """Watch until the replies are used up and the person presses Ctrl-C."""
    remaining = [*replies, KeyboardInterrupt()]

    def serve(_: httpx.Request) -> httpx.Response:
        reply = remaining.pop(0)
        if isinstance(reply, BaseException):
            raise reply
        return reply

    shell.on_request = serve
    return shell(*WATCH, *argv)


def test_each_request_is_a_line_and_ctrl_c_is_quiet(shell: Shell) -> None:
    hostile = asked(2, subject_label="tool:\x1b[2J\u202e")
    result = watch(shell, stream(asked(1), hostile))
    assert result.code == 130
    first, second = result.out.splitlines()
    assert first.split("\t")[1:5] == ["high", APPROVAL, "tool:fs.write", "agt_1"]
    assert second.split("\t")[3] == "tool:\\x1b[2J⟦U+202E⟧"
    assert result.err == ""
    assert result.sent[0] == "GET /api/v1/approvals/events?events=approval_request"


def test_watching_looks_at_no_request(shell: Shell) -> None:
    result = watch(shell, stream(asked(1)))
    assert all("/approvals/events" in line for line in result.sent)


def test_it_goes_on_after_a_break_and_tells_nothing_twice(shell: Shell) -> None:
    cut = httpx.RemoteProtocolError("cut")
    result = watch(
        shell,
        stream(asked(1), asked(2), ends=cut),
        httpx.ConnectError("refused"),
        stream(asked(2), asked(3)),
        argv=("--json",),
    )
    assert [json.loads(line)["id"] for line in result.out.splitlines()] == ["evt_1", "evt_2", "evt_3"]
    assert [request.headers.get("Last-Event-ID") for request in result.requests] == [
        None,
        "evt_2",
        "evt_2",
        "evt_3",
    ]
    assert result.err == "-- reconnected --\n"
    assert len(result.pauses) == 3
    assert result.pauses[1] > result.pauses[0]


def test_an_event_that_is_gone_begins_again_without_repeating(shell: Shell) -> None:
    result = watch(shell, stream(asked(1)), problem(410, "event_gone"), stream(asked(1), asked(2)))
    assert len(result.out.splitlines()) == 2
    assert "Last-Event-ID" not in result.requests[2].headers


@pytest.mark.parametrize(
    ("reply", "exits"),
    [
        (problem(401, "unauthenticated"), 3),
        (problem(403, "reviewer_is_agent"), 6),
        (problem(410, "event_gone"), 7),
        (httpx.ConnectError("refused"), 4),
        (httpx.Response(404, text="Not Found"), 5),
    ],
)
def test_what_refuses_the_first_connection_ends_it(
    shell: Shell, reply: httpx.Response | BaseException, exits: int
) -> None:
    result = watch(shell, reply)
    assert (result.code, result.out) == (exits, "")


def test_a_revoked_token_ends_it_later_too(shell: Shell) -> None:
    assert watch(shell, stream(asked(1)), problem(401, "unauthenticated")).code == 3


def test_only_the_wanted_risks_and_only_new_requests_are_shown(shell: Shell) -> None:
    events = (asked(1), asked(2, risk="critical"), asked(3, "approval.attached", risk="critical"))
    result = watch(shell, stream(*events), argv=("--risk", "critical", "--json"))
    assert [json.loads(line)["id"] for line in result.out.splitlines()] == ["evt_2"]
    assert watch(shell, stream(asked(1)), argv=("-q",)).out == f"{APPROVAL}\n"


def test_the_bell_rings_on_a_terminal_and_nowhere_else(shell: Shell) -> None:
    assert "\a" not in watch(shell, stream(asked(1)), argv=("--bell",)).err
    shell.terminal = True
    assert watch(shell, stream(asked(1), asked(2)), argv=("--bell",)).err.count("\a") == 2
