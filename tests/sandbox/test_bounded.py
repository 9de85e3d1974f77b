"""A child that answers in time, or is killed; the caller never waits longer than it said."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox.runners import bounded
from sandbox.runners.bounded import Bench, ChildDiedError, NotStartedError, NoTurnError, TookTooLongError

PROGRAM = """
import json, os, socket, struct, sys, time
connection = socket.socket(fileno=int(sys.argv[1]))
connection.sendall(b".")
def read(size):
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            sys.exit()
        data += part
    return data
while True:
    question = read(struct.unpack("!I", read(4))[0])
    if question == b"sleep":
        time.sleep(60)
    if question == b"die":
        os.abort()
    if question == b"half":
        connection.sendall(struct.pack("!I", 100) + b"only this")
        sys.exit()
    if question == b"long":
        connection.sendall(struct.pack("!I", 2**32 - 1))
    known = {b"pid": str(os.getpid()), b"env": json.dumps(sorted(os.environ))}
    answer = known[question].encode() if question in known else question
    connection.sendall(struct.pack("!I", len(answer)) + answer)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "child.py"
    path.write_text(PROGRAM)
    return path


@pytest.fixture
def bench(program: Path) -> Iterator[Bench]:
    made = Bench(program, 1)
    yield made
    made.close()


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_one_child_answers_one_question_after_the_other(bench: Bench) -> None:
    pids = {bench.ask(b"pid", seconds=10) for _ in range(3)}
    assert len(pids) == 1
    large = b"x" * 3_000_000
    assert bench.ask(large, seconds=10) == large


def test_the_child_is_given_nothing_of_the_servers_surroundings(bench: Bench) -> None:
    names = json.loads(bench.ask(b"env", seconds=10))
    assert not [name for name in names if name.startswith(("PALYRA", "DJANGO"))]


def test_a_child_that_takes_too_long_is_killed_and_another_answers(bench: Bench) -> None:
    first = int(bench.ask(b"pid", seconds=10))
    with pytest.raises(TookTooLongError):
        bench.ask(b"sleep", seconds=0.3)
    assert gone(first)
    assert int(bench.ask(b"pid", seconds=10)) != first


@pytest.mark.parametrize("question", [b"die", b"half", b"long"])
def test_a_child_that_dies_or_lies_is_an_error_and_another_answers(bench: Bench, question: bytes) -> None:
    with pytest.raises(ChildDiedError):
        bench.ask(question, seconds=10)
    assert bench.ask(b"back", seconds=10) == b"back"


def test_a_child_that_ended_while_it_waited_is_replaced(bench: Bench) -> None:
    first = int(bench.ask(b"pid", seconds=10))
    os.kill(first, 9)
    while bench._idle[0].is_ours():
        time.sleep(0.01)
    assert bench.ask(b"back", seconds=10) == b"back"


@pytest.mark.parametrize("text", ["", "import sys; sys.exit(1)", "import socket, sys, time; time.sleep(60)"])
def test_a_program_that_is_never_ready_is_no_child(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "START_SECONDS", 0.5)
    path = tmp_path / "other.py"
    path.write_text(text)
    with pytest.raises(NotStartedError):
        Bench(path, 1).ask(b"x", seconds=5)


def test_who_waits_for_a_turn_waits_no_longer_than_he_said(bench: Bench) -> None:
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(bench.ask, b"sleep", seconds=2.0)
        while bench._turns._value:
            time.sleep(0.01)
        with pytest.raises(NoTurnError):
            bench.ask(b"pid", seconds=0.2)
        with pytest.raises(TookTooLongError):
            slow.result()


def test_several_children_answer_at_the_same_time(program: Path) -> None:
    bench = Bench(program, 4)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: bench.ask(str(number).encode(), seconds=20), range(40)))
    assert found == [str(number).encode() for number in range(40)]
    pids = [child._process.pid for child in bench._idle]
    assert 1 <= len(pids) <= 4
    bench.close()
    assert all(gone(pid) for pid in pids)


def test_children_of_another_process_are_not_used(bench: Bench) -> None:
    """A web server forks after loading the application; both sides would read the same answers."""
    first = bench.ask(b"pid", seconds=10)
    bench._idle[0]._owner = 1
    inherited = bench._idle[0]
    assert bench.ask(b"pid", seconds=10) != first
    inherited._owner = os.getpid()
    inherited.end()
