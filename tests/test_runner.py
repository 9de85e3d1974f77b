"""The account of `make test`: nothing that went wrong, and nothing that was left out, looks like success."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import run
from tests.run import Account, print_account, settle, split_marks

PASSED = '<testcase classname="tests.a" name="ok"/>'
FAILED = '<testcase classname="tests.a" name="bad"><failure message="no"/></testcase>'
ERROR = '<testcase classname="tests.a" name="broken"><error message="no"/></testcase>'
SKIPPED = '<testcase classname="tests.a" name="left"><skipped message="no such program"/></testcase>'
SKIPPED_SANDBOX = (
    '<testcase classname="tests.a" name="left"><properties><property name="needs" value="sandbox"/>'
    '</properties><skipped message="no bubblewrap"/></testcase>'
)


def account_of(tmp_path: Path, *cases: str, code: int = 0) -> Account:
    report = tmp_path / "report.xml"
    report.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    account = Account()
    settle(account, "SQLite", code, report)
    return account


@pytest.fixture(params=[True, False], ids=["debian", "elsewhere"])
def on_debian(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(run, "is_debian", lambda: request.param)
    return bool(request.param)


def test_passed_tests_are_a_success(tmp_path: Path) -> None:
    account = account_of(tmp_path, PASSED, PASSED)
    assert account.is_good
    assert account.passed == 2


@pytest.mark.parametrize("case", [FAILED, ERROR])
def test_a_failure_or_an_error_is_no_success(tmp_path: Path, case: str) -> None:
    account = account_of(tmp_path, PASSED, case, code=1)
    assert not account.is_good
    assert (account.passed, account.failed, account.broken) == (1, 1, [])


def test_nothing_run_is_no_success(tmp_path: Path) -> None:
    assert not account_of(tmp_path, code=5).is_good


@pytest.mark.parametrize("code", [1, 2, 3, 4, -9])
def test_a_pytest_that_ended_badly_is_no_success(tmp_path: Path, code: int) -> None:
    account = account_of(tmp_path, PASSED, code=code)
    assert not account.is_good
    assert len(account.broken) == 1


def test_a_missing_report_is_no_success(tmp_path: Path) -> None:
    account = Account(passed=1)
    settle(account, "SQLite", 0, tmp_path / "none.xml")
    assert not account.is_good


def test_a_skip_is_told_with_its_reason(tmp_path: Path, on_debian: bool) -> None:
    account = account_of(tmp_path, PASSED, SKIPPED)
    assert account.is_good
    assert account.skipped == ["SQLite: tests.a.left: no such program"]


def test_on_debian_a_skipped_sandbox_test_is_no_success(tmp_path: Path, on_debian: bool) -> None:
    account = account_of(tmp_path, PASSED, SKIPPED_SANDBOX)
    assert account.is_good is not on_debian
    assert len(account.skipped) == 1


def test_the_last_line_counts_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_account(account_of(tmp_path, PASSED, PASSED, FAILED, SKIPPED, code=1))
    lines = capsys.readouterr().out.splitlines()
    assert "skipped  SQLite: tests.a.left: no such program" in lines
    assert lines[-1] == "2 passed, 1 failed, 1 skipped"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ("", [])),
        (["tests/policy", "-k", "x"], ("", ["tests/policy", "-k", "x"])),
        (["-m", "sandbox", "-x"], ("sandbox", ["-x"])),
        (["-k", "a and b", "--maxfail=2"], ("", ["-k", "a and b", "--maxfail=2"])),
    ],
)
def test_the_callers_marks_are_taken_apart(arguments: list[str], expected: tuple[str, list[str]]) -> None:
    assert split_marks(arguments) == expected
