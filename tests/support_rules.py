"""Rules about source text: each takes a parsed module, or a template, and yields what is wrong."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from kernel import errors

MAX_FUNCTION_LINES = 60


def calls(tree: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def called_name(call: ast.Call) -> str:
    """Return the last word of what is called: `save` of `row.save()`."""
    target = call.func
    return target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")


def long_functions(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield f"{node.name} has {length} lines"


def unsafe_process_options(tree: ast.Module) -> Iterator[str]:
    for call in calls(tree):
        for word in call.keywords:
            is_shell = word.arg == "shell" and not (
                isinstance(word.value, ast.Constant) and word.value.value is False
            )
            if is_shell or word.arg in ("preexec_fn", "capture_output"):
                yield f"line {call.lineno}: {word.arg}"


def imported_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the line and the dotted name of everything imported, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module or ''}.{alias.name}") for alias in node.names)


def process_imports(tree: ast.Module) -> Iterator[str]:
    for line, name in imported_names(tree):
        if name.split(".")[0] in ("subprocess", "multiprocessing", "pty"):
            yield f"line {line}: imports {name}"


def process_calls(tree: ast.Module) -> Iterator[str]:
    """Other ways to start a program than `subprocess`."""
    starts = re.compile(r"system|popen|fork|forkpty|exec[lv]p?e?|(posix_)?spawn\w*|create_subprocess_\w+")
    for call in calls(tree):
        module = getattr(getattr(call.func, "value", None), "id", "")
        if module in ("os", "asyncio") and starts.fullmatch(called_name(call)):
            yield f"line {call.lineno}: {module}.{called_name(call)}"


def durable_transactions(tree: ast.Module) -> Iterator[str]:
    for call in calls(tree):
        if called_name(call) == "atomic" and any(word.arg == "durable" for word in call.keywords):
            yield f"line {call.lineno}: opens a durable transaction"


def trusted_markup(tree: ast.Module) -> Iterator[str]:
    for line, name in imported_names(tree):
        if name.endswith(".mark_safe"):
            yield f"line {line}: imports {name}"
    for call in calls(tree):
        constant = all(isinstance(argument, ast.Constant) for argument in call.args)
        if called_name(call) == "mark_safe":
            yield f"line {call.lineno}: mark_safe"
        if called_name(call) in ("SafeString", "SafeText") and not constant:
            yield f"line {call.lineno}: {called_name(call)} around something that varies"


def console_writes(tree: ast.Module) -> Iterator[str]:
    """Everything by which an admin class could write past the pipeline."""
    overrides = {"save_model", "save_related", "save_formset", "delete_model", "delete_queryset"}
    writes = re.compile(r"a?(save|update|delete|create|get_or_create|update_or_create|bulk_(create|update))")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name in overrides:
            yield f"line {node.lineno}: overrides {node.name}"
    for call in calls(tree):
        if isinstance(call.func, ast.Attribute) and writes.fullmatch(call.func.attr):
            yield f"line {call.lineno}: calls .{call.func.attr}()"


def error_names() -> set[str]:
    """Return the names of the errors that carry a problem code."""
    classes, names = [errors.PalyraError], set()
    while classes:
        one = classes.pop()
        names.add(one.__name__)
        classes.extend(one.__subclasses__())
    return names


REASON_FAMILIES = frozenset(
    {
        "approval",
        "attestation",
        "egress",
        "identity",
        "policy",
        "posture",
        "run",
        "sandbox",
        "schema",
        "skill",
    }
    | {"vault"}
)
"""Dotted codes are reasons; each family is listed by the part that owns it."""


def is_registered(code: object) -> bool:
    return code in errors.CODES or (isinstance(code, str) and code.partition(".")[0] in REASON_FAMILIES)


def unregistered_codes(tree: ast.Module) -> Iterator[str]:
    known = error_names()
    for call in calls(tree):
        code = call.args[0] if call.args and called_name(call) in known else None
        if isinstance(code, ast.Constant) and isinstance(code.value, str) and not is_registered(code.value):
            yield f"line {call.lineno}: code {code.value!r} is not in kernel.errors.CODES"


TEMPLATE_FAULTS = {
    "turns escaping off": re.compile(r"\|\s*safe(seq)?\b|\{%\s*autoescape\s+off"),
    "inline handler": re.compile(r"<[^>]*\son[a-z]+\s*=", re.IGNORECASE),
    "style attribute": re.compile(r"<[^>]*\sstyle\s*=|<style\b", re.IGNORECASE),
    "inline script": re.compile(r"<script(?![^>]*\bsrc\s*=)[^>]*>|javascript:", re.IGNORECASE),
    "foreign asset": re.compile(
        r"\b(src|srcset|href|action|poster|data)\s*=\s*[\"']?\s*(https?:)?//|url\(\s*[\"']?(https?:)?//|@import",
        re.IGNORECASE,
    ),
}


def template_faults(text: str) -> list[str]:
    return [name for name, fault in TEMPLATE_FAULTS.items() if fault.search(text)]


BANNER = re.compile(r"^\s*#\s*([-=*#~_])\1{2,}", re.MULTILINE)


def banners(text: str) -> list[str]:
    """Name the lines whose comments draw a rule across the page: a file that needs parts is two files."""
    return [f"line {text.count(chr(10), 0, found.end()) + 1}" for found in BANNER.finditer(text)]
