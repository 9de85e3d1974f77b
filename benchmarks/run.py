"""Runs the benchmarks one after another: `python -m benchmarks.run [NAME]`.

A benchmark is a module beside this one with a `main()` that prints its table and, as its last line, one
JSON object `{"benchmark", "ours", "reference", "ratio", "target", "holds"}`. Each runs in a process of
its own, so that none warms another's caches. A target that does not hold is reported and does not fail;
a benchmark that crashes or does not report does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
FIELDS = {"benchmark", "ours", "reference", "ratio", "target", "holds"}


@dataclass(frozen=True, slots=True)
class Result:
    name: str
    ratio: str
    target: str
    verdict: str


def main(arguments: list[str]) -> int:
    known = names()
    chosen = arguments or known
    unknown = sorted(set(chosen) - set(known))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    results = [measure(name) for name in chosen]
    print("\n== Summary")
    for result in results:
        print(f"{result.name:24} ratio {result.ratio:>8}  target {result.target:>8}  {result.verdict}")
    return 1 if any(result.verdict == "crashed" for result in results) else 0


def names() -> list[str]:
    """Return the benchmarks there are: the modules here that define `main`, this one aside."""
    modules = (path for path in sorted(HERE.glob("*.py")) if path.name not in ("__init__.py", "run.py"))
    return [path.stem for path in modules if "\ndef main(" in path.read_text()]


def measure(name: str) -> Result:
    """Run one benchmark, show what it prints as it comes, and read its last line."""
    print(f"\n== {name}", flush=True)
    last = ""
    with subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{name}"], cwd=HERE.parent, stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            last = line.strip() or last
    if process.returncode:
        return Result(name, "-", "-", "crashed")
    return read_result(name, last)


def read_result(name: str, line: str) -> Result:
    """Return what the closing line of a benchmark says; a line of another shape counts as a crash."""
    try:
        report = json.loads(line)
    except ValueError:
        return Result(name, "-", "-", "crashed")
    if not isinstance(report, dict) or set(report) != FIELDS or report["benchmark"] != name:
        return Result(name, "-", "-", "crashed")
    verdict = "holds" if report["holds"] is True else "does not hold"
    return Result(name, str(report["ratio"]), str(report["target"]), verdict)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
