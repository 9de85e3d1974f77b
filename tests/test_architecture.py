"""What no type and no single test can hold: rules of `support_rules`, asked about the whole tree.

Each rule is first shown to find what it looks for.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

from tests.support_rules import (
    banners,
    console_writes,
    durable_transactions,
    long_functions,
    process_calls,
    process_imports,
    template_faults,
    trusted_markup,
    unregistered_codes,
    unsafe_process_options,
)

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("kernel", "identity", "policy", "approvals", "sandbox", "vault", "governance", "palyra_site")
BESIDE = ("tests", "benchmarks", "scripts")
MAX_FILE_LINES = 500
UP_COMMAND = "palyra_site/management/commands/up.py"
PIPELINES = ("governance/pipeline.py", "governance/operations/")
MARKUP = {".html", ".txt", ".css", ".svg"}
DECISION_MODULES = {
    "kernel": "errors canonical ids",
    "identity": "types keys roles access",
    "policy": "types engine schema slicing catalog posture",
    "approvals": "lifecycle eligibility scopes",
    "sandbox": "spec lifecycle argv selection attestation",
    "sandbox.egress": "rules addresses hosts",
    "sandbox.skills": "manifest artifact wasmfile audit trust registry lifecycle",
    "vault": "reference envelope redaction",
    "governance.journal": "events redact chain merkle note",
}

Rule = Callable[[ast.Module], Iterable[str]]


def source_files(*folders: str) -> list[Path]:
    found = (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    return [path for path in found if "migrations" not in path.parts]


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def findings(rule: Rule, files: Iterable[Path]) -> list[str]:
    return [f"{place(path)}: {finding}" for path in files for finding in rule(tree_of(path))]


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (long_functions, "def f():\n" + "    pass\n" * 60),
        (unsafe_process_options, "run(x, shell=True)"),
        (unsafe_process_options, "run(x, shell=flag)"),
        (unsafe_process_options, "run(x, preexec_fn=f)"),
        (unsafe_process_options, "run(x, capture_output=False)"),
        (process_imports, "def f():\n    import subprocess"),
        (process_imports, "from subprocess import Popen"),
        (process_calls, "os.execve(a, b, c)"),
        (process_calls, "os.fork()"),
        (process_calls, "asyncio.create_subprocess_exec(a)"),
        (durable_transactions, "with transaction.atomic(durable=True): pass"),
        (trusted_markup, "from django.utils.safestring import mark_safe"),
        (trusted_markup, "x = safestring.mark_safe(y)"),
        (trusted_markup, "x = SafeString(y)"),
        (console_writes, "class A:\n    def save_model(self): pass"),
        (console_writes, "rows.update(state=1)"),
        (console_writes, "rows.filter(a=1).delete()"),
        (unregistered_codes, "raise ConflictError('no_such_code', 'x')"),
    ],
)
def test_each_rule_finds_its_fault(rule: Rule, code: str) -> None:
    assert list(rule(ast.parse(code)))


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("turns escaping off", "{{ name|safe }}"),
        ("turns escaping off", "{% autoescape off %}"),
        ("inline handler", '<a class="b" onclick="x()">'),
        ("style attribute", '<p style="color:red">'),
        ("inline script", "<script>alert(1)</script>"),
        ("inline script", '<a href="javascript:x()">'),
        ("foreign asset", '<img src="https://example.org/a.png">'),
        ("foreign asset", '<link href="//example.org/a.css">'),
        ("foreign asset", "body { background: url(http://example.org/a.png) }"),
    ],
)
def test_each_template_fault_is_found(fault: str, text: str) -> None:
    assert fault in template_faults(text)


def test_harmless_markup_is_not_a_fault() -> None:
    text = '<a href="/admin/" class="on"><script src="{% static "console.js" %}" defer></script>{{ unsafe }}'
    assert template_faults(text) == []


@pytest.mark.parametrize("line", ["# --- reads ---", "    # ----------", "#=====", "# ###"])
def test_a_banner_is_found_and_an_ordinary_comment_is_none(line: str) -> None:
    assert banners(f"x = 1\n\n{line}\ny = 2\n") == ["line 3"]
    assert banners("# Why - and not how -- it is so.\nx = '# ---'\n") == []


def test_import_contracts_hold(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    code = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True)
    assert code == 0, capsys.readouterr().out


def test_every_decision_module_is_under_the_contract() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    contract = next(one for one in settings["contracts"] if one["name"].startswith("decision modules"))
    named = {f"{package}.{name}" for package, names in DECISION_MODULES.items() for name in names.split()}
    present = {name for name in named if (ROOT / name.replace(".", "/")).with_suffix(".py").exists()}
    assert present - set(contract["source_modules"]) == set()
    assert {"django", "rest_framework", "celery"} <= set(contract["forbidden_modules"])


def test_files_stay_short() -> None:
    lengths = {place(path): len(path.read_text().splitlines()) for path in source_files(*PRODUCT, *BESIDE)}
    assert {name: length for name, length in lengths.items() if length > MAX_FILE_LINES} == {}


def test_functions_stay_short() -> None:
    assert findings(long_functions, source_files(*PRODUCT, *BESIDE)) == []


def test_comments_draw_no_banners() -> None:
    files = source_files(*PRODUCT, *BESIDE)
    assert [f"{place(path)}: {found}" for path in files for found in banners(path.read_text())] == []


def test_package_files_are_empty() -> None:
    inits = [path for path in source_files(*PRODUCT, *BESIDE) if path.name == "__init__.py"]
    assert len(inits) >= len(PRODUCT)
    assert [place(path) for path in inits if path.read_text().strip()] == []


def test_no_process_is_started_through_a_shell_or_a_fork_hook() -> None:
    assert findings(unsafe_process_options, source_files(*PRODUCT, *BESIDE)) == []


def test_processes_are_started_in_two_places_only() -> None:
    elsewhere = [
        path
        for path in source_files(*PRODUCT)
        if not place(path).startswith("sandbox/runners/") and place(path) != UP_COMMAND
    ]
    assert findings(process_imports, elsewhere) + findings(process_calls, elsewhere) == []


def test_only_the_pipeline_and_operations_open_durable_transactions() -> None:
    others = [path for path in source_files(*PRODUCT) if not place(path).startswith(PIPELINES)]
    assert findings(durable_transactions, others) == []


def test_nothing_is_marked_as_safe_markup() -> None:
    assert findings(trusted_markup, source_files(*PRODUCT)) == []


def test_the_console_never_writes_by_itself() -> None:
    assert findings(console_writes, source_files("governance/admin")) == []


def test_every_problem_code_is_registered() -> None:
    assert findings(unregistered_codes, source_files(*PRODUCT)) == []


def test_templates_and_assets_stay_within_the_content_policy() -> None:
    folders = [ROOT / "templates", ROOT / "static", *(ROOT / app / "templates" for app in PRODUCT)]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in MARKUP]
    assert files
    faults = {place(path): template_faults(path.read_text()) for path in files}
    assert {name: found for name, found in faults.items() if found} == {}
