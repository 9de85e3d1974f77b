"""`palyra policy simulate|simulations|flips|shadow` and `palyra jobs`: what is sent, shown and returned."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from palyra_site.cli.exits import exit_for_job
from tests.cli.shell import Shell, answer, problem

ULID = "01JD2Q8ZV0C3M4N5P6R7S8T9VW"
POL, JOB, AGT = (f"{prefix}_{ULID}" for prefix in ("pol", "job", "agt"))
RUN = {"id": f"{POL}/2", "object": "policy_simulation", "number": 2, "state": "succeeded", "loosened": 0}
EMPTY: dict[str, Any] = {"object": "list", "data": [], "has_more": False, "next_cursor": None}
RUNS = {**EMPTY, "data": [RUN]}
SURE = ("--yes",)


def job(state: str = "queued", done: int = 0, **more: Any) -> dict[str, Any]:
    return {"id": JOB, "object": "job", "state": state, "done": done, "total": 9, "result": None, **more}


def test_simulate_sends_what_was_asked_and_prints_the_simulation(shell: Shell) -> None:
    shell.replies = [answer(RUN)]
    result = shell(
        "policy",
        "simulate",
        POL,
        "--last",
        "500",
        "--since",
        "7d",
        "--agent",
        AGT,
        "--tool",
        "echo",
        "--json",
    )
    assert (result.code, json.loads(result.out)) == (0, RUN)
    assert result.sent == [f"POST /api/v1/policy-sets/{POL}/simulate"]
    assert result.body() == {"n": 500, "since": "2025-12-29T10:00:00.000Z", "agent": AGT, "tool": "echo"}
    assert result.requests[0].headers["Idempotency-Key"]


def test_simulate_without_options_leaves_the_choice_to_the_server(shell: Shell) -> None:
    shell.replies = [answer(RUN)]
    assert shell("policy", "simulate", POL).body() == {}


@pytest.mark.parametrize(
    "arguments",
    [
        ("pol_1",),
        (AGT,),
        (POL, "--last", "0"),
        (POL, "--last", "50001"),
        (POL, "--since", "soon"),
        (POL, "--agent", POL),
    ],
)
def test_what_cannot_be_meant_is_not_sent(shell: Shell, arguments: tuple[str, ...]) -> None:
    result = shell("policy", "simulate", *arguments)
    assert (result.code, result.requests) == (2, [])


def test_a_large_simulation_prints_its_job_and_does_not_wait_unasked(shell: Shell) -> None:
    shell.replies = [answer(job(), 202)]
    result = shell("policy", "simulate", POL, "--last", "5000", "--json")
    assert (result.code, json.loads(result.out)["id"], len(result.sent)) == (0, JOB, 1)
    assert JOB in result.err


def test_wait_follows_the_job_on_standard_error_and_prints_the_simulation(shell: Shell) -> None:
    ended = job("succeeded", 9, result={"policy_set": POL, "number": 2})
    shell.replies = [
        answer(job(), 202),
        answer(job("running", 3)),
        answer(job("running", 3)),
        answer(job("running", 6)),
        answer(ended),
        answer(RUN),
    ]
    result = shell("policy", "simulate", POL, "--last", "5000", "--wait", "--json")
    assert (result.code, json.loads(result.out)) == (0, RUN)
    assert result.err.splitlines()[1:] == [
        "queued: 0 of 9",
        "running: 3 of 9",
        "running: 6 of 9",
        "succeeded: 9 of 9",
    ]
    assert result.sent[-1] == f"GET /api/v1/policy-sets/{POL}/simulations/2"
    assert "\r" not in result.err


@pytest.mark.parametrize(("state", "code"), [("failed", 1), ("cancelled", 6)])
def test_wait_ends_as_the_job_did(shell: Shell, state: str, code: int) -> None:
    shell.replies = [answer(job(), 202), answer(job(state, error_code="job.worker_lost"))]
    result = shell("policy", "simulate", POL, "--last", "5000", "--wait", "--json")
    assert (result.code, json.loads(result.out)["state"]) == (code, state)


def test_flips_are_those_of_the_newest_simulation_or_of_the_one_named(shell: Shell) -> None:
    shell.replies = [answer(RUNS), answer(EMPTY)]
    assert shell("policy", "flips", POL, "--direction", "loosened", "--direction", "tightened").sent == [
        f"GET /api/v1/policy-sets/{POL}/simulations?limit=1",
        f"GET /api/v1/policy-sets/{POL}/simulations/2/flips?direction=loosened&direction=tightened",
    ]
    shell.replies = [answer(EMPTY)]
    assert shell("policy", "flips", POL, "--number", "7").sent == [
        f"GET /api/v1/policy-sets/{POL}/simulations/7/flips"
    ]


def test_without_a_simulation_there_are_no_flips(shell: Shell) -> None:
    shell.replies = [answer(EMPTY)]
    result = shell("policy", "flips", POL)
    assert (result.code, "was not simulated" in result.err) == (8, True)


def test_a_name_chosen_by_an_agent_reaches_the_terminal_harmless(shell: Shell) -> None:
    hostile = "\x1b]52;c;QUFB\x07\u202e"
    row = {
        "direction": "loosened",
        "resource_id": hostile,
        "principal_id": hostile,
        "new_policies": [hostile],
    }
    shell.terminal = True
    shell.environ["NO_COLOR"] = "1"
    shell.replies = [answer({**EMPTY, "data": [row]})]
    result = shell("policy", "flips", POL, "--number", "1")
    assert "\x1b" not in result.out
    assert "\u202e" not in result.out


def test_simulations_are_listed_and_shown(shell: Shell) -> None:
    shell.replies = [answer(RUNS)]
    listed = shell("policy", "simulations", "list", POL, "--json")
    assert json.loads(listed.out) == RUNS
    shell.replies = [answer(RUNS), answer(RUN)]
    shown = shell("policy", "simulations", "show", POL, "--json")
    assert json.loads(shown.out) == RUN
    assert shown.sent[-1].endswith("/simulations/2")


@pytest.mark.parametrize(("word", "enabled"), [("on", True), ("off", False)])
def test_shadow_asks_before_it_changes(shell: Shell, word: str, enabled: bool) -> None:
    assert shell("policy", "shadow", word, POL).requests == []
    assert shell("policy", "shadow", word, POL, "--no-input").code == 2
    shell.replies = [answer({"id": POL, "object": "policy_shadow", "enabled": enabled, "since": None})]
    result = shell("policy", "shadow", word, POL, *SURE)
    assert (result.code, result.sent, result.body()) == (
        0,
        [f"POST /api/v1/policy-sets/{POL}/shadow"],
        {"enabled": enabled},
    )


def test_results_of_a_shadow_are_listed(shell: Shell) -> None:
    row = {
        "hour": "2026-01-05T10:00:00.000Z",
        "old_effect": "allow",
        "new_effect": "deny",
        "count": 4,
        "errors": 0,
    }
    shell.replies = [answer({**EMPTY, "data": [row]})]
    result = shell("policy", "shadow", "results", POL)
    assert "deny\t4\t0" in result.out
    in_force = shell("policy", "shadow", "results", "active")
    assert in_force.sent == ["GET /api/v1/policy-sets/active/shadow-results"]


def test_jobs_are_listed_shown_and_cancelled(shell: Shell) -> None:
    shell.replies = [answer({**EMPTY, "data": [job()]})]
    listed = shell("jobs", "list", "--state", "queued", "--json")
    assert listed.sent == ["GET /api/v1/jobs?state=queued"]
    shell.replies = [answer(job())]
    assert json.loads(shell("jobs", "show", JOB, "--json").out) == job()
    assert shell("jobs", "cancel", JOB).requests == []
    cancelled = shell("jobs", "cancel", JOB, *SURE)
    assert (cancelled.code, cancelled.sent) == (0, [f"POST /api/v1/jobs/{JOB}/cancel"])


def test_jobs_wait_ends_with_the_job_or_with_the_time(shell: Shell) -> None:
    shell.replies = [answer(job("running", 1)), answer(job("succeeded", 9))]
    assert shell("jobs", "wait", JOB).code == 0
    shell.replies = [answer(job("running", 1))]
    assert shell("jobs", "wait", JOB, "--for", "20").code == 10


@pytest.mark.parametrize(
    ("state", "code"),
    [("queued", 10), ("running", 10), ("succeeded", 0), ("cancelled", 6), ("failed", 1), ("unheard-of", 1)],
)
def test_each_end_has_its_exit_code(state: str, code: int) -> None:
    assert exit_for_job(state) == code


COMMANDS = [
    ("policy", "simulate", POL),
    ("policy", "flips", POL, "--number", "1"),
    ("policy", "simulations", "list", POL),
    ("policy", "simulations", "show", POL, "--number", "1"),
    ("policy", "shadow", "on", POL, *SURE),
    ("policy", "shadow", "off", POL, *SURE),
    ("policy", "shadow", "results", POL),
    ("jobs", "list"),
    ("jobs", "show", JOB),
    ("jobs", "wait", JOB),
    ("jobs", "cancel", JOB, *SURE),
]
PROBLEMS = [
    (401, "unauthenticated", 3),
    (403, "role_required", 6),
    (404, "not_found", 8),
    (409, "state_changed", 7),
    (422, "policy_invalid", 2),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:3]))
def test_a_problem_decides_the_exit_code_and_prints_nothing(shell: Shell, command: tuple[str, ...]) -> None:
    for status, code, exits in PROBLEMS:
        shell.replies = [problem(status, code)]
        result = shell(*command, "--json")
        assert (result.code, result.out) == (exits, "")
    shell.replies = [httpx.ConnectError("refused")]
    assert shell(*command).code == 4
