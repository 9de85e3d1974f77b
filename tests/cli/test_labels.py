"""Session labels and runs in sessions, from the shell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.shell import RUN, Shell, answer, problem

SESSION = "ses_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
CALL = "call_01JD2Q8ZV0C3M4N5P6R7S8T9VW"
WHY = "I read all of it myself"


def label(**changes: Any) -> dict[str, Any]:
    body = {
        "id": "untrusted_content",
        "object": "session_label",
        "session_id": SESSION,
        "label": "untrusted_content",
        "state": "active",
        "calls": [CALL],
        "added_at": "2026-03-02T09:30:00Z",
        "expires_at": None,
        "declassified_by": None,
    }
    return body | changes


def labels() -> httpx.Response:
    return answer({"object": "list", "data": [label()], "has_more": False, "next_cursor": None})


def test_labels_are_listed_with_the_calls_that_added_them(shell: Shell) -> None:
    shell.replies = [labels()]
    result = shell("labels", "show", SESSION)
    assert (result.code, result.sent) == (0, [f"GET /api/v1/sessions/{SESSION}/labels"])
    line = result.out.splitlines()[1].split("\t")
    assert line[:3] == ["untrusted_content", "active", f'["{CALL}"]']


def test_a_label_is_taken_away_after_consent(shell: Shell) -> None:
    shell.replies = [answer(label(state="declassified"))]
    result = shell("labels", "declassify", SESSION, "untrusted_content", "--reason", WHY, "--yes")
    path = f"POST /api/v1/sessions/{SESSION}/labels/untrusted_content/declassify"
    assert (result.code, result.sent, result.body()) == (0, [path], {"reason": WHY})
    assert result.requests[0].headers["Idempotency-Key"]


def test_nothing_is_sent_without_consent_or_a_reason(shell: Shell) -> None:
    assert shell("labels", "declassify", SESSION, "untrusted_content", "--reason", WHY).sent == []
    refused = shell("labels", "declassify", SESSION, "untrusted_content", "--yes")
    assert (refused.code, refused.sent) == (2, [])


@pytest.mark.parametrize(("status", "code", "exit_code"), [(404, "not_found", 8), (409, "state_changed", 7)])
def test_a_refusal_has_its_exit_code(shell: Shell, status: int, code: str, exit_code: int) -> None:
    shell.replies = [problem(status, code)]
    result = shell("labels", "declassify", SESSION, "untrusted_content", "--reason", WHY, "--yes")
    assert result.code == exit_code
    assert code in result.err


def test_a_run_is_opened_in_a_session_with_its_task(shell: Shell, tmp_path: Path) -> None:
    task = tmp_path / "task.txt"
    task.write_text("Answer bob@corp.example", encoding="utf-8")
    shell.replies = [answer({"id": RUN, "object": "run", "session_id": SESSION}, 201)]
    result = shell("runs", "open", "--session-key", "chat 7", "--task-text", f"@{task}")
    assert result.code == 0
    assert result.body() == {"session_key": "chat 7", "task_text": "Answer bob@corp.example"}


def test_a_task_is_read_from_standard_input_too(shell: Shell) -> None:
    shell.typed = "Answer bob@corp.example"
    shell.replies = [answer({"id": RUN, "object": "run", "session_id": None}, 201)]
    assert shell("runs", "open", "--task-text", "-").body() == {"task_text": "Answer bob@corp.example"}


def test_a_task_on_the_command_line_is_refused(shell: Shell) -> None:
    result = shell("runs", "open", "--task-text", "Answer bob@corp.example")
    assert (result.code, result.sent) == (2, [])
    assert "@file" in result.err
