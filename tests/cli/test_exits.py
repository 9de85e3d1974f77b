"""Exit codes come from status and code alone."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from kernel.errors import CODES
from palyra_site.cli.exits import Exit, exit_for, exit_for_call
from tests.cli.shell import Shell, problem


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (200, None, 0),
        (204, None, 0),
        (400, "malformed_json", 2),
        (401, "unauthenticated", 3),
        (401, "step_up_required", 3),
        (403, "role_required", 6),
        (403, "self_review", 6),
        (403, "feature_disabled", 5),
        (403, "frozen", 7),
        (404, "not_found", 8),
        (404, None, 5),
        (405, "method_not_allowed", 5),
        (409, "already_decided", 7),
        (410, "gone", 7),
        (412, "precondition_failed", 7),
        (413, "body_too_large", 2),
        (422, "invalid", 2),
        (428, "precondition_required", 7),
        (429, "rate_limited", 4),
        (500, "internal", 1),
        (501, None, 5),
        (502, None, 1),
        (503, "database_unavailable", 4),
        (302, None, 1),
    ],
)
def test_the_table_of_statuses(status: int, code: str | None, expected: int) -> None:
    assert exit_for(status, code) == expected


@pytest.mark.parametrize(
    ("state", "waited", "expected"),
    [
        ("succeeded", True, 0),
        ("denied", False, 6),
        ("refused", True, 6),
        ("expired", True, 6),
        ("cancelled", True, 6),
        ("failed", True, 11),
        ("timed_out", True, 11),
        ("ambiguous", True, 11),
        ("awaiting_approval", True, 10),
        ("awaiting_approval", False, 0),
        ("queued", False, 0),
        ("running", True, 10),
        ("a state of a newer server", True, 1),
    ],
)
def test_the_table_of_call_states(state: str, waited: bool, expected: int) -> None:
    assert exit_for_call(state, waited=waited) == expected


@given(status=st.integers(-1, 1000), code=st.one_of(st.none(), st.sampled_from(sorted(CODES)), st.text()))
def test_every_answer_has_an_exit_code_and_only_success_is_zero(status: int, code: str | None) -> None:
    result = exit_for(status, code)
    assert result in set(Exit)
    assert (result is Exit.DONE) == (200 <= status < 300)


_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    status=st.sampled_from([400, 401, 403, 404, 409, 412, 413, 422, 428, 500, 501]),
    code=st.sampled_from(sorted(CODES)),
    detail=_TEXT,
    title=_TEXT,
)
def test_texts_of_a_problem_never_change_the_exit_code(
    shell: Shell, status: int, code: str, detail: str, title: str
) -> None:
    shell.replies = [problem(status, code, detail=detail, title=title)]
    result = shell("whoami")
    assert result.code == exit_for(status, code)
    assert result.out == ""
    assert "\x1b" not in result.err
