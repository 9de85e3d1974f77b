"""`palyra journal erase|hold|archive|restore|rotate-key|revoke-key|keys|cosign`, as the server hears them."""

from __future__ import annotations

import pytest

from tests.cli.shell import RUN, Shell, answer, problem

HOLD = "hld_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
JOB = "job_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
APPROVAL = "apr_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
KEY = "sha256:" + "ab" * 32
FOR_GOOD = ("--yes", "--expect-profile", "none")
SENT = {
    ("hold", "set", "--subject", RUN, "--reason", "case 12"): (
        "holds", {"subject": RUN, "reason": "case 12"},
    ),
    ("hold", "set", "--since", "2026-01-01T00:00:00Z", "--reason", "audit"): (
        "holds", {"since": "2026-01-01T00:00:00.000Z", "reason": "audit"},
    ),
    ("hold", "lift", HOLD): (f"holds/{HOLD}/lift", {}),
    ("archive",): ("archive", {}),
    ("archive", "--before", "2d", "--restored"): (
        "archive", {"before": "2026-01-03T10:00:00.000Z", "restored": True},
    ),
    ("restore", "65536"): ("archives/65536/restore", {}),
    ("rotate-key",): ("rotate-key", {"purpose": "checkpoint"}),
    ("rotate-key", "--purpose", "attestation"): ("rotate-key", {"purpose": "attestation"}),
}  # fmt: skip
LASTING = {
    ("erase", "--subject", RUN, "--reason", "request 4711"): (
        "erase", {"subject": RUN, "reason": "request 4711"},
    ),
    ("revoke-key", KEY, "--since", "1h"): (
        "keys/sha256%3A" + "ab" * 32 + "/revoke", {"since": "2026-01-05T09:00:00.000Z"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("argv", SENT)
def test_a_verb_asks_and_sends_what_was_said(shell: Shell, argv: tuple[str, ...]) -> None:
    path, body = SENT[argv]
    shell.replies = [answer({"id": "x"})]
    assert (shell("journal", *argv).code, shell("journal", *argv).requests) == (2, [])
    result = shell("journal", *argv, "--yes")
    assert (result.code, result.sent) == (0, [f"POST /api/v1/journal/{path}"])
    assert result.body() == body


@pytest.mark.parametrize("argv", LASTING)
def test_what_is_for_good_is_typed_in_full(shell: Shell, argv: tuple[str, ...]) -> None:
    path, body = LASTING[argv]
    named = next(one for one in argv if one in (RUN, KEY))
    shell.replies = [answer({"approval": APPROVAL})]
    assert (shell("journal", *argv, "--yes").code, shell("journal", *argv, "--yes").requests) == (2, [])
    shell.terminal = True
    for typed, code in ((f"{named}\n", 0), ("y\n", 7), ("", 7)):
        shell.typed = typed
        result = shell("journal", *argv)
        assert (result.code == 0) is (code == 0), typed
    shell.terminal, shell.typed = False, ""
    result = shell("journal", *argv, *FOR_GOOD)
    assert (result.code, result.sent, result.body()) == (0, [f"POST /api/v1/journal/{path}"], body)


def test_an_erasure_tells_the_request_that_a_second_person_answers(shell: Shell) -> None:
    shell.replies = [answer({"approval": APPROVAL}, status=202)]
    result = shell("journal", "erase", "--subject", RUN, "--reason", "request 4711", *FOR_GOOD, "-q")
    assert result.out == f"{APPROVAL}\n"
    shell.replies = [problem(409, "legal_hold")]
    result = shell("journal", "erase", "--subject", RUN, "--reason", "request 4711", *FOR_GOOD)
    assert (result.code, "error[legal_hold]" in result.err) == (7, True)


def test_a_code_is_given_once_and_the_verb_repeated_under_its_key(shell: Shell) -> None:
    shell.replies = [problem(401, "step_up_required"), answer({}), answer({"id": KEY})]
    (shell.home / "otp").write_text("123456\n")
    result = shell("journal", "rotate-key", "--yes", "--otp-file", str(shell.home / "otp"))
    assert result.code == 0
    assert [request.url.path.rsplit("/", 1)[1] for request in result.requests] == [
        "rotate-key", "step-up", "rotate-key",
    ]  # fmt: skip
    first, _, again = (request.headers["Idempotency-Key"] for request in result.requests)
    assert first == again


def test_a_job_is_followed_to_its_end(shell: Shell) -> None:
    job = {"id": JOB, "total": 1, "done": 0}
    for state, code in (("succeeded", 0), ("failed", 1)):
        shell.replies = [answer({**job, "state": "running"}, status=202), answer({**job, "state": state})]
        result = shell("journal", "archive", "--wait", "--yes")
        assert (result.code, f"state\t{state}" in result.out) == (code, True)


@pytest.mark.parametrize(
    ("argv", "path"),
    [
        (("hold", "list"), "holds"),
        (("archives",), "archives"),
        (("keys",), "keys"),
        (("checkpoints",), "checkpoints"),
    ],
)
def test_what_is_kept_is_listed(shell: Shell, argv: tuple[str, ...], path: str) -> None:
    shell.replies = [answer({"object": "list", "data": [{"id": "a\x1b"}], "has_more": False})]
    result = shell("journal", *argv)
    assert (result.code, result.sent) == (0, [f"GET /api/v1/journal/{path}"])
    assert "\x1b" not in result.out


def test_a_cosignature_comes_from_a_file(shell: Shell) -> None:
    (shell.home / "line").write_text("— witness AAAA\n")
    shell.replies = [answer({"witness": "witness"})]
    result = shell("journal", "cosign", "12", str(shell.home / "line"), "--yes")
    assert (result.sent, result.body()) == (
        ["POST /api/v1/journal/checkpoints/12/cosignatures"], {"line": "— witness AAAA"},
    )  # fmt: skip
    assert shell("journal", "cosign", "12", str(shell.home / "no"), "--yes").requests == []


@pytest.mark.parametrize(
    "argv",
    [
        ("erase", "--subject", "call_01JD2Q8ZV0C3M4N5P6R7S8T9VW", "--reason", "because"),
        ("erase", "--subject", "system", "--reason", "because"),
        ("erase", "--subject", RUN),
        ("hold", "set", "--reason", "because"),
        ("hold", "set", "--subject", "run_1", "--reason", "because"),
        ("hold", "lift", RUN),
        ("restore", "-1"),
        ("rotate-key", "--purpose", "other"),
        ("archive", "--before", "yesterday"),
    ],
)
def test_nothing_is_sent_for_what_cannot_be_meant(shell: Shell, argv: tuple[str, ...]) -> None:
    result = shell("journal", *argv, *FOR_GOOD)
    assert (result.code, result.requests) == (2, [])
