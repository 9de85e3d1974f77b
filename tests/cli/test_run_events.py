"""`palyra runs events`: what happened, and what happens, across whatever happens to the connection."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.cli.shell import RUN, Shell, answer, problem

EVENTS = ("runs", "events", RUN)


def event(number: int, kind: str = "tool_call.decided", **data: object) -> dict[str, object]:
    return {
        "object": "event",
        "id": f"evt_{number}",
        "event_seq": number,
        "type": kind,
        "time": "2026-01-05T10:00:00.000Z",
        "run_id": RUN,
        "call_id": "call_1",
        "subject": "call_1",
        "data": data,
    }


def lines(*numbers: int) -> httpx.Response:
    return httpx.Response(200, content="".join(json.dumps(event(number)) + "\n" for number in numbers))


def stream(*numbers: int, broken: bool = False) -> httpx.Response:
    """An event stream with these events; a broken one ends in the middle of a frame."""

    class Content(httpx.SyncByteStream):
        def __iter__(self):  # type: ignore[no-untyped-def]  # httpx's own signature
            yield b"retry: 2000\n\n: keep-alive\n\n"
            for number in numbers:
                yield f"id: {number}\nevent: tool_decision\ndata: {json.dumps(event(number))}\n\n".encode()
            if broken:
                yield b"id: 99\nevent: run_status\ndata: {"
                raise httpx.RemoteProtocolError("cut")

    return httpx.Response(200, stream=Content())


def run(state: str, **calls: int) -> httpx.Response:
    return answer({"id": RUN, "state": state, "calls": calls})


def script(shell: Shell, *replies: httpx.Response | BaseException) -> None:
    """Have the server give these answers, as streams where they are."""
    remaining = list(replies)

    def serve(_: httpx.Request) -> httpx.Response:
        reply = remaining.pop(0)
        if isinstance(reply, BaseException):
            raise reply
        return reply

    shell.on_request = serve


def numbers_in(out: str) -> list[int]:
    return [json.loads(line)["event_seq"] for line in out.splitlines()]


def test_the_past_comes_as_lines_of_json_or_of_text(shell: Shell) -> None:
    shell.replies = [lines(1, 2)]
    result = shell(*EVENTS, "--json")
    assert (result.code, numbers_in(result.out)) == (0, [1, 2])
    assert result.requests[0].headers["Accept"] == "application/x-ndjson"
    shell.replies = [httpx.Response(200, content=json.dumps(event(3, effect="deny", note="x")) + "\n")]
    plain = shell(*EVENTS, "--after", "2", "--events", "tool_decision")
    assert plain.out == "3\t2026-01-05T10:00:00.000Z\ttool_call.decided\tcall_1\tdeny\n"
    assert plain.sent == [f"GET /api/v1/runs/{RUN}/events?events=tool_decision"]
    assert plain.requests[0].headers["Last-Event-ID"] == "2"


def test_a_broken_stream_goes_on_behind_the_last_whole_event(shell: Shell) -> None:
    down = httpx.ConnectError("down")
    script(shell, stream(1, 2, broken=True), down, stream(3), run("completed", succeeded=1), lines())
    result = shell(*EVENTS, "--follow", "--json")
    assert (result.code, numbers_in(result.out)) == (0, [1, 2, 3])
    asked = [request.headers.get("Last-Event-ID") for request in result.requests]
    assert asked == [None, "2", "2", None, "3"]
    assert "-- reconnected --" in result.err
    assert len(result.pauses) == 2
    assert result.pauses[0] < result.pauses[1]


def test_a_stream_that_ends_before_its_run_is_opened_again(shell: Shell) -> None:
    cut = (stream(1), run("open", running=1), stream(2), run("cancelled", running=1))
    script(shell, *cut, stream(3), run("cancelled", cancelled=1), lines(4))
    result = shell(*EVENTS, "--follow", "--json")
    assert (result.code, numbers_in(result.out)) == (0, [1, 2, 3, 4])


@pytest.mark.parametrize(
    ("status", "code", "exit_code"), [(410, "event_gone", 7), (401, "unauthenticated", 3)]
)
def test_what_the_server_refuses_ends_it(shell: Shell, status: int, code: str, exit_code: int) -> None:
    script(shell, stream(1), run("open"), problem(status, code))
    result = shell(*EVENTS, "--follow", "--json")
    assert (result.code, numbers_in(result.out)) == (exit_code, [1])


def test_a_server_that_never_answered_is_no_break(shell: Shell) -> None:
    shell.replies = [httpx.ConnectError("down")]
    result = shell(*EVENTS, "--follow")
    assert (result.code, result.pauses) == (4, [])


def test_ctrl_c_is_quiet(shell: Shell) -> None:
    script(shell, KeyboardInterrupt())
    result = shell(*EVENTS, "--follow")
    assert (result.code, result.err, result.out) == (130, "", "")


def test_what_an_event_says_cannot_write_to_the_terminal(shell: Shell) -> None:
    shell.terminal = True
    shell.replies = [httpx.Response(200, content=json.dumps(event(1, state="\x1b]52;c;x\x07")) + "\n")]
    result = shell(*EVENTS)
    assert "\x1b" not in result.out
    assert "\\x1b" in result.out


def test_a_finding_is_sent_with_its_note_and_a_fresh_code(shell: Shell) -> None:
    call = "call_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
    shell.replies = [answer({}), answer({"id": call, "state": "ambiguous"})]
    words = ("--outcome", "failed", "--note", "nothing arrived there")
    result = shell("calls", "resolve", call, *words, "--yes", "--otp", "123456")
    assert (result.code, result.sent) == (
        0,
        ["POST /api/v1/auth/step-up", f"POST /api/v1/tool-calls/{call}/resolve"],
    )
    assert result.body() == {"outcome": "failed", "note": "nothing arrived there"}
    assert shell("calls", "resolve", call, *words).code == 2


def test_a_run_is_completed(shell: Shell) -> None:
    shell.replies = [run("completed")]
    result = shell("runs", "complete", RUN, "--yes")
    assert (result.code, result.sent) == (0, [f"POST /api/v1/runs/{RUN}/complete"])
