"""Many client processes, two web processes and one token: exactly its limit gets in."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.e2e.hosts import (
    POSTGRES,
    POSTGRES_REDIS,
    SQLITE_FOLDER,
    Host,
    founded,
    postgres_database,
)
from tests.support_fixtures import ROOT

pytestmark = pytest.mark.e2e
LIMIT = 120
MINUTE = 60.0
KINDS = (SQLITE_FOLDER, POSTGRES, POSTGRES_REDIS)
Answers = list[tuple[int, int, float, float]]


@pytest.fixture(scope="module", params=KINDS)
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """Yield an installation, not yet started, whose agent's token is good for 120 a minute."""
    with ExitStack() as stack:
        redis_url = request.getfixturevalue("redis_server") if "redis" in request.param else ""
        database_url = stack.enter_context(postgres_database()) if "postgres" in request.param else ""
        made = stack.enter_context(founded(redis_url=redis_url, database_url=database_url))
        made.set_agent_rate(LIMIT)
        yield made


def run_together(host: Host, processes: int, *commands: list[str]) -> list[str]:
    """Run so many client processes at once, taking turns in the commands; return what they wrote."""

    def run(number: int) -> str:
        return subprocess.run(
            [sys.executable, "-m", *commands[number % len(commands)]],
            input=host.installation.credentials["agent_token"],
            stdout=subprocess.PIPE,
            env=host.installation.environment,
            cwd=ROOT,
            text=True,
            timeout=120,
            check=True,
        ).stdout

    with ThreadPoolExecutor(processes) as pool:
        return list(pool.map(run, range(processes)))


def test_four_processes_of_four_hundred_calls_share_a_limit_exactly(host: Host) -> None:
    written = run_together(host, 4, ["tests.e2e.counting", "token:tok_shared", str(LIMIT), "400"])
    assert sum(int(text) for text in written) == LIMIT


def test_over_two_web_processes_exactly_the_limit_is_admitted(host: Host) -> None:
    """On PostgreSQL each request opens a connection, so fewer of them fit into the minute."""
    here, other = host.installation, host.installation.beside()
    calls = "30" if host.database_url else "134"
    commands = [["tests.e2e.asking", at.bind, calls] for at in (here, other)]
    with here.web(), other.web():
        told: list[Answers] = [json.loads(text) for text in run_together(host, 12, *commands)]
    first = min(begun for answers in told for _, _, begun, _ in answers)
    in_time = [[one for one in answers if one[3] < first + MINUTE] for answers in told]
    admitted = [left for answers in in_time for status, left, _, _ in answers if status == 200]
    assert sorted(admitted) == list(range(LIMIT)), "each place is given once, and all of them are"
    # A busy machine may keep somebody waiting for the limiter too long: not admitted, and no number told.
    assert {status for answers in in_time for status, *_ in answers} <= {200, 429, 503}
    assert all((left == -1) == (status == 503) for answers in in_time for status, left, *_ in answers)
    for answers in in_time:
        lefts = [left for status, left, _, _ in answers if status != 503]
        assert lefts == sorted(lefts, reverse=True)
