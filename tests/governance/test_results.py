"""What a caller gets of a finished run."""

from __future__ import annotations

from datetime import UTC, datetime

from governance.models import ToolCall
from governance.results import error_of, input_digest, must_redact, output_digest, result_of
from sandbox.types import ErrorKind, Executor, Outcome, Status

NOW = datetime(2026, 1, 5, tzinfo=UTC)
SECRET = "plr_agt_0123456789ab_" + "x" * 49


def outcome(**changes: object) -> Outcome:
    values: dict[str, object] = {
        "status": Status.SUCCEEDED,
        "executor": Executor.BUILTIN,
        "started_at": NOW,
        "finished_at": NOW,
        "output": {"stdout": f"before {SECRET} after", "list": [{"deep": SECRET}], "exit_code": 0},
    }
    return Outcome(**{**values, **changes})  # type: ignore[arg-type]  # a builder


def test_an_output_is_kept_as_it_is_without_the_obligation() -> None:
    result = result_of(outcome(), redact=False)
    assert result is not None
    assert SECRET in str(result["output"])
    assert result["redactions"] == 0


def test_the_obligation_redact_output_removes_secrets_at_any_depth_and_counts_them() -> None:
    result = result_of(outcome(), redact=True)
    assert result is not None
    assert SECRET not in str(result)
    assert result["redactions"] == 2
    assert result["output"]["exit_code"] == 0  # type: ignore[index]  # plain JSON


def test_only_the_obligation_of_that_kind_redacts() -> None:
    assert must_redact(ToolCall(obligations=[{"kind": "redact_output"}]))
    assert not must_redact(ToolCall(obligations=[{"kind": "approval"}, {"kind": "log_input"}]))


def test_a_run_without_output_has_no_result() -> None:
    assert result_of(outcome(output=None), redact=True) is None


def test_an_error_names_kind_and_code_and_a_success_has_none() -> None:
    failed = outcome(
        status=Status.TIMED_OUT, error_kind=ErrorKind.TIMED_OUT, error_code="sandbox.timeout", message="late"
    )
    assert error_of(failed) == {"kind": "TimedOut", "message": "late", "detail": {"code": "sandbox.timeout"}}
    assert error_of(outcome()) is None


def test_digests_depend_on_the_salt_so_that_a_short_answer_cannot_be_guessed() -> None:
    one = ToolCall(salt=b"a" * 32, input={"x": 1}, result={"output": "yes"})
    other = ToolCall(salt=b"b" * 32, input={"x": 1}, result={"output": "yes"})
    assert input_digest(one) != input_digest(other)
    assert output_digest(one) != output_digest(other)
    assert output_digest(one) != output_digest(ToolCall(salt=b"a" * 32, result=None))
