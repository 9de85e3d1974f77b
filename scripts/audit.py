"""Looks the pinned packages up in the vulnerability database, and tells "none known" from "not looked".

Exits 1 on a known vulnerability and 3 when a package could not be looked up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = ("requirements.txt", "requirements-dev.txt")


@dataclass(slots=True)
class Findings:
    """What is known about the packages of all files, by `name version`."""

    clean: set[str] = field(default_factory=set)
    vulnerable: dict[str, list[str]] = field(default_factory=dict)
    not_looked_up: dict[str, str] = field(default_factory=dict)


def main() -> int:
    findings = Findings()
    for name in FILES:
        audit(name, findings)
    return report(findings)


def audit(name: str, findings: Findings) -> None:
    """Add what pip-audit says about one file.

    Its exit code is no guide: it ends with 0 when it skipped every package, and with 1 for a finding
    and for a network error alike.
    """
    print(f"audit: looking up {name}", flush=True)
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--format", "json"]
    process = subprocess.Popen(
        [*command, "--progress-spinner", "off", "--requirement", name],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said, complained = process.communicate()
    try:
        packages = json.loads(said)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last_words = complained.strip().splitlines() or [f"pip-audit ended with code {process.returncode}"]
        findings.not_looked_up[name] = last_words[-1]
        return
    for package in packages:
        sort_in(package, findings)


def sort_in(package: dict[str, object], findings: Findings) -> None:
    """File one entry of pip-audit's report; whatever is not a plain "no findings" is not clean."""
    name = f"{package.get('name')} {package.get('version', '')}".strip()
    known = package.get("vulns")
    if "skip_reason" in package or not isinstance(known, list):
        findings.not_looked_up[name] = str(package.get("skip_reason", "the answer has no findings in it"))
    elif known:
        findings.vulnerable[name] = [str(entry["id"]) for entry in known]
    else:
        findings.clean.add(name)


def report(findings: Findings) -> int:
    for name, identifiers in sorted(findings.vulnerable.items()):
        print(f"audit: {name} has known vulnerabilities: {', '.join(identifiers)}")
    missed = findings.not_looked_up
    if missed:
        print(f"audit: {len(missed)} NOT looked up, nothing is known about them: {', '.join(missed)}")
        print(f"audit: the reason given: {next(iter(missed.values()))}")
    print(f"audit: {len(findings.clean)} looked up without a finding, {len(findings.vulnerable)} with one")
    if findings.vulnerable:
        return 1
    return 3 if missed or not findings.clean else 0


if __name__ == "__main__":
    sys.exit(main())
