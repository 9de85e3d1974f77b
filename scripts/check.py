"""Everything that can be said about the code without running its tests. Runs all steps, then judges."""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
SCHEMA = ROOT / "docs" / "openapi.yaml"
DEPLOYED = {"PALYRA_PUBLIC_URL": "https://palyra.example", "PALYRA_ALLOWED_HOSTS": "palyra.example"}


def main() -> int:
    failed = []
    with tempfile.TemporaryDirectory(prefix="palyra-check-") as home:
        environment = product_environment(home)
        for title, passes in steps(environment).items():
            print(f"== {title}", flush=True)
            if not passes():
                failed.append(title)
    print(f"\nfailed: {', '.join(failed)}" if failed else "\nall checks passed")
    return 1 if failed else 0


def product_environment(home: str) -> dict[str, str]:
    """Return an environment in which settings load from a fresh home and no one's own variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PALYRA_")}
    return kept | {"PALYRA_HOME": home}


def steps(environment: dict[str, str]) -> dict[str, Callable[[], bool]]:
    python = str(BIN / "python")
    manage = [python, "manage.py"]

    def command(*words: str, **more: str) -> Callable[[], bool]:
        return lambda: run([*words], environment | more)

    return {
        "ruff check": command(python, "-m", "ruff", "check", "."),
        "ruff format": command(python, "-m", "ruff", "format", "--check", "."),
        "mypy --strict": command(python, "-m", "mypy", "."),  # strict by pyproject.toml, with one exception
        "import contracts": command(str(BIN / "lint-imports"), "--no-logo"),
        "migrations": command(*manage, "makemigrations", "--check", "--dry-run"),
        "deployment settings": command(*manage, "check", "--deploy", "--fail-level", "ERROR", **DEPLOYED),
        "OpenAPI document": lambda: schema_is_current(manage, environment),
    }


def run(command: list[str], environment: dict[str, str]) -> bool:
    done = subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, check=False)
    return done.returncode == 0


def schema_is_current(manage: list[str], environment: dict[str, str]) -> bool:
    """Compare the committed document with the code's; a missing one is a failure like any other."""
    with tempfile.TemporaryDirectory(prefix="palyra-schema-") as directory:
        fresh = Path(directory) / "openapi.yaml"
        if not run([*manage, "spectacular", "--validate", "--file", str(fresh)], environment):
            return False
        written = fresh.read_text()
    committed = SCHEMA.read_text() if SCHEMA.exists() else ""
    if committed == written:
        return True
    here = SCHEMA.relative_to(ROOT)
    changes = difflib.unified_diff(committed.splitlines(), written.splitlines(), str(here), "the code", n=1)
    print("\n".join([*changes][:60]))
    print(f"{here} is {'out of date' if committed else 'missing'}; write it with:")
    print(f"  .venv/bin/python manage.py spectacular --validate --file {here}")
    return False


if __name__ == "__main__":
    sys.exit(main())
