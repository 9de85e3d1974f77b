"""What changed between two policy sets: by @id, and as text."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cedarpy

from policy.reading import PlacedRule, SourceFile, read_set
from policy.set_files import policy_files

MAX_COMPARED_LINES = 4_000
"""Beyond so many lines between the first and the last difference, a text is shown as replaced."""

_SCOPE = ("principal", "action", "resource")


@dataclass(frozen=True, slots=True)
class PolicyText:
    """One policy of one set, formatted."""

    id: str
    file: str
    text: str


@dataclass(frozen=True, slots=True)
class ChangedPolicy:
    """A policy that both sets have. `parts` are those that differ: effect, scope, condition, annotations."""

    id: str
    file: str
    parts: tuple[str, ...]
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class FileDiff:
    """A file whose text differs, as a unified diff with three lines of context."""

    name: str
    unified: str


@dataclass(frozen=True, slots=True)
class SetDiff:
    """The differences, each list by id or name. `unread` are files with statements that do not parse.

    Those statements are in the text diff only. A policy without @id is known by its file and number.
    """

    added: tuple[PolicyText, ...]
    removed: tuple[PolicyText, ...]
    changed: tuple[ChangedPolicy, ...]
    files: tuple[FileDiff, ...]
    unread: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return not self.files


@dataclass(frozen=True, slots=True)
class _Side:
    """One set: its policies by id with their text, and the files that could not be read whole."""

    policies: Mapping[str, tuple[PlacedRule, str]]
    unread: frozenset[str]


def diff_sets(old: Sequence[SourceFile], new: Sequence[SourceFile]) -> SetDiff:
    """Return what `new` adds to, takes from and changes in `old`. Texts need not be valid."""
    before, after = _side(old), _side(new)
    gone = sorted(before.policies.keys() - after.policies.keys())
    fresh = sorted(after.policies.keys() - before.policies.keys())
    both = sorted(before.policies.keys() & after.policies.keys())
    return SetDiff(
        added=tuple(_text(name, *after.policies[name]) for name in fresh),
        removed=tuple(_text(name, *before.policies[name]) for name in gone),
        changed=tuple(_changes(before, after, both)),
        files=tuple(_file_diffs(old, new)),
        unread=tuple(sorted(before.unread | after.unread)),
    )


def unified(before: str, after: str, name: str, *, most: int = MAX_COMPARED_LINES) -> str:
    """Return a unified diff of two texts; a file that is not there is the empty text."""
    old, new = _lines(before), _lines(after)
    head, tail = _common(old, new)
    inner = max(len(old), len(new)) - head - tail
    if inner > most:
        lines: Iterator[str] = _replaced(old, new, head, tail, name)
    else:
        lines = difflib.unified_diff(old, new, f"a/{name}", f"b/{name}")
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _lines(text: str) -> list[str]:
    """Return the lines with their line feeds, the only character that ends one here."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _ended(line: str) -> str:
    return line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _side(files: Sequence[SourceFile]) -> _Side:
    reading = read_set(policy_files(files))
    if not reading.files:
        return _Side({}, frozenset(file.name for file in files) if reading.findings else frozenset())
    found: dict[str, tuple[PlacedRule, str]] = {}
    for file in reading.files:
        for number, placed in enumerate(file.placed):
            name = placed.rule.id
            key = name if name and name not in found else f"{name}({file.file.name} #{number + 1})"
            span = placed.statement
            found[key] = (placed, file.file.text[span.start : span.end])
    return _Side(found, frozenset(file.file.name for file in reading.files if file.findings))


def _changes(before: _Side, after: _Side, names: Sequence[str]) -> Iterator[ChangedPolicy]:
    for name in names:
        (old, old_text), (new, new_text) = before.policies[name], after.policies[name]
        parts = _parts(old.rule.body, new.rule.body)
        if parts:
            yield ChangedPolicy(name, new.rule.file, parts, formatted(old_text), formatted(new_text))


def _parts(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    differs = {
        "effect": old["effect"] != new["effect"],
        "scope": any(_plain(old[part]) != _plain(new[part]) for part in _SCOPE),
        "condition": _plain(old["conditions"]) != _plain(new["conditions"]),
        "annotations": (old.get("annotations") or {}) != (new.get("annotations") or {}),
    }
    return tuple(part for part, changed in differs.items() if changed)


def _plain(value: object) -> str:
    """Return a part in one spelling, so that `1` and `true`, which Python calls equal, differ."""
    return json.dumps(value, sort_keys=True)


def _text(name: str, placed: PlacedRule, text: str) -> PolicyText:
    return PolicyText(name, placed.rule.file, formatted(text))


def formatted(text: str) -> str:
    """Return a policy as Cedar's formatter lays it out, or as it is when the formatter refuses it."""
    try:
        return str(cedarpy.format_policies(text)).strip("\n")
    except ValueError:
        return text


def _file_diffs(old: Sequence[SourceFile], new: Sequence[SourceFile]) -> Iterator[FileDiff]:
    before, after = ({file.name: file.text for file in files} for files in (old, new))
    for name in sorted(before.keys() | after.keys()):
        one, other = before.get(name, ""), after.get(name, "")
        if one != other or (name in before) != (name in after):
            yield FileDiff(name, unified(one, other, name))


def _common(old: Sequence[str], new: Sequence[str]) -> tuple[int, int]:
    """Return how many lines two texts share at their start, and at their end after that."""
    shortest = min(len(old), len(new))
    head = next((at for at in range(shortest) if old[at] != new[at]), shortest)
    rest = range(1, shortest - head + 1)
    tail = next((at - 1 for at in rest if old[-at] != new[-at]), shortest - head)
    return head, tail


def _replaced(old: Sequence[str], new: Sequence[str], head: int, tail: int, name: str) -> Iterator[str]:
    """Yield one hunk that takes the old lines out and puts the new ones in."""
    gone, fresh = old[head : len(old) - tail], new[head : len(new) - tail]
    yield f"--- a/{name}\n"
    yield f"+++ b/{name}\n"
    yield f"@@ -{_span(head, gone)} +{_span(head, fresh)} @@\n"
    yield from (f"-{line}" for line in gone)
    yield from (f"+{line}" for line in fresh)


def _span(head: int, lines: Sequence[str]) -> str:
    return f"{head + 1 if lines else head},{len(lines)}"
