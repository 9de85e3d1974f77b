"""The whole suite, as `make test` runs it: once on SQLite, once on PostgreSQL, then one account.

Arguments go to pytest in both passes; a `-m` of the caller narrows the pass's own. Ends non-zero when a
test failed, when nothing ran, or when on Debian, where everything needed can be installed, a test that
needs the sandbox, a browser, PostgreSQL or Redis was skipped.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.support_servers import find_postgres, postgres_cluster, redis_process

ROOT = Path(__file__).resolve().parent.parent
WORKERS = "3"
MUST_RUN = frozenset({"sandbox", "browser", "postgres", "redis"})
NOTHING_COLLECTED = 5


@dataclass(frozen=True, slots=True)
class Pass:
    """One run of pytest: where its data lies and which tests belong to it."""

    title: str
    marks: str
    environment: dict[str, str]


@dataclass(slots=True)
class Account:
    """What happened over all passes; `broken` holds what is wrong beyond single tests."""

    passed: int = 0
    failed: int = 0
    skipped: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return self.passed > 0 and not self.failed and not self.broken


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    marks, rest = split_marks(arguments)
    account = Account()
    with ExitStack() as stack:
        reports = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="palyra-reports-")))
        for run in start_services(stack, account):
            print(f"\n== {run.title} ==", flush=True)
            report = reports / f"{run.title}.xml"
            with tempfile.TemporaryDirectory(prefix="palyra-test-", ignore_cleanup_errors=True) as home:
                run.environment["PALYRA_TEST_HOME"] = home
                code = run_pytest(run, marks, rest, report)
            settle(account, run.title, code, report)
    print_account(account)
    return 0 if account.is_good else 1


def split_marks(arguments: list[str]) -> tuple[str, list[str]]:
    """Return the caller's mark expression and the other arguments; pytest would keep only one `-m`."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-m", dest="marks", default="")
    known, rest = parser.parse_known_args(arguments)
    return known.marks, rest


def start_services(stack: ExitStack, account: Account) -> list[Pass]:
    """Start what is installed and return the passes it allows."""
    common = {}
    if shutil.which("redis-server"):
        common["PALYRA_TEST_REDIS_URL"] = stack.enter_context(redis_process())
    passes = [Pass("SQLite", "not postgres", {**common})]
    if find_postgres():
        url = stack.enter_context(postgres_cluster())
        # What touches no database ran in the first pass.
        marks = "postgres or not (browser or e2e or sandbox)"
        stored = {"PALYRA_DATABASE_URL": url, "PALYRA_TEST_STORED": "1"}
        passes.append(Pass("PostgreSQL", marks, common | stored))
    else:
        account.skipped.append("the whole PostgreSQL pass: PostgreSQL is not installed")
        if is_debian():
            account.broken.append("PostgreSQL is not installed")
    return passes


def run_pytest(run: Pass, marks: str, arguments: list[str], report: Path) -> int:
    """Run pytest to its end and return its exit code; on Ctrl-C it gets the time to clean up."""
    chosen = f"({run.marks}) and ({marks})" if marks else run.marks
    command = [sys.executable, "-m", "pytest", "-n", WORKERS, "-q", f"--junit-xml={report}"]
    process = subprocess.Popen(
        [*command, *arguments, "-m", chosen], cwd=ROOT, env=clean_environment() | run.environment
    )
    try:
        return process.wait()
    except KeyboardInterrupt:  # the terminal told pytest as well
        let_finish(process)
        raise
    except SystemExit:
        process.send_signal(signal.SIGINT)
        let_finish(process)
        raise


def let_finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for pytest's own cleaning up; end it when that takes longer than 30 s."""
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def clean_environment() -> dict[str, str]:
    """Return the environment without a developer's own Palyra settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PALYRA_")}


def settle(account: Account, title: str, code: int, report: Path) -> None:
    """Add one pass's report to the account."""
    failed_before = account.failed
    if not report.exists():
        account.broken.append(f"{title}: pytest ended with code {code} and left no report")
        return
    for case in ET.parse(report).iter("testcase"):  # noqa: S314  # written by our own pytest
        count_case(account, title, case)
    if code not in (0, 1, NOTHING_COLLECTED):
        account.broken.append(f"{title}: pytest ended with code {code}")
    elif code == 1 and account.failed == failed_before:
        account.broken.append(f"{title}: pytest reported a failure outside of tests")


def count_case(account: Account, title: str, case: ET.Element) -> None:
    name = f"{case.get('classname', '')}.{case.get('name', '')}".lstrip(".")
    skip = case.find("skipped")
    if case.find("failure") is not None or case.find("error") is not None:
        account.failed += 1
    elif skip is None:
        account.passed += 1
    else:
        account.skipped.append(f"{title}: {name}: {skip.get('message', 'no reason given')}")
        needs = {entry.get("value", "") for entry in case.iter("property") if entry.get("name") == "needs"}
        if is_debian() and needs & MUST_RUN:
            account.broken.append(f"{title}: {name} must not be skipped here")


def is_debian() -> bool:
    """Tell whether every program the tests need comes from this system's packages."""
    return Path("/etc/debian_version").exists()


def print_account(account: Account) -> None:
    print("\n== Account ==")
    for line in account.skipped:
        print(f"skipped  {line}")
    for line in account.broken:
        print(f"wrong    {line}")
    if not account.passed and not account.failed:
        print("wrong    no test ran")
    failed = account.failed + len(account.broken)
    print(f"{account.passed} passed, {failed} failed, {len(account.skipped)} skipped", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
