"""From files to rules: every policy of a set in Cedar's JSON form with its place, and what is wrong with it.

Sizes and nesting are checked before Cedar sees a text. A statement that does not parse costs only
itself: the others are read all the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import cedarpy

from policy.nesting import Measure, is_plain, is_shallow, measure
from policy.positions import syntax_offset
from policy.source import (
    MAX_STATEMENT_BYTES,
    Kind,
    Lines,
    Statement,
    Token,
    next_statement,
    runaway,
    statements,
    tokens,
)
from policy.types import Finding

MAX_POLICIES = 20_000
MAX_TEXT_BYTES = 8 * 1024 * 1024
MAX_FINDINGS = 200
MAX_JSON_DEPTH = 124
"""Levels of one policy in JSON that Cedar reads back; an operator, a set or a record takes two."""

MAX_SET_COPIES = 200_000
"""Tokens that all `has` and `is … in` of a set write again."""

_ASKED_CHARACTERS = 4 * 1024 * 1024
_HEAD_TOKENS = 200
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a policy set."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One static policy: its id, what its annotations ask for, and its Cedar JSON form."""

    id: str
    file: str
    effect: str
    annotations: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def obligations(self) -> frozenset[str]:
        return frozenset(comma_list(self.annotations.get("obligation", "")))

    @property
    def needs_approval(self) -> bool:
        return bool(self.obligations & {"approval", "step_up"})

    @property
    def approver_roles(self) -> frozenset[str]:
        return frozenset(comma_list(self.annotations.get("approver_role", "")))

    @property
    def in_force(self) -> bool:
        return self.annotations.get("mode") != "shadow"


@dataclass(frozen=True, slots=True)
class PlacedRule:
    """A rule and the statement of its file that it was read from."""

    rule: Rule
    statement: Statement


class TemplateError(Exception):
    """The text holds a template or a link of one, which nothing here evaluates."""


class FileReading:
    """One file as read: its rules in order, the errors of its text, the ids of what could not be read."""

    def __init__(self, file: SourceFile) -> None:
        self.file = file
        self.placed: list[PlacedRule] = []
        self.findings: list[Finding] = []
        self.broken: list[str] = []

    @cached_property
    def _lines(self) -> Lines:
        return Lines(self.file.text)

    @property
    def checkable(self) -> str:
        """Return the text of the rules that were read, in their order; Cedar numbers them so."""
        if not self.findings:
            return self.file.text
        text = self.file.text
        return "\n".join(text[one.statement.start : one.statement.end] for one in self.placed)

    def finding(
        self, code: str, message: str, offset: int, *, policy_id: str = "", severity: str = "error"
    ) -> Finding:
        """Return a finding at an offset of this file."""
        line, column = self._lines.place(offset)
        return Finding(severity, code, self.file.name, policy_id, message, line, column)

    def accept(self, statement: Statement, body: Mapping[str, Any]) -> None:
        """Take a policy that Cedar has parsed, unless its JSON form is too deep to be read back."""
        part = self.file.text[statement.start : statement.end]
        if not is_shallow(part) and json_depth(body) > MAX_JSON_DEPTH:
            self.refuse("too_large", _TOO_DEEP, statement, statement.start)
        else:
            self.placed.append(PlacedRule(rule_of(self.file.name, body), statement))

    def refuse(self, code: str, message: str, statement: Statement, offset: int) -> None:
        """Record why a statement cannot be read."""
        identifier = id_in(self.file.text, statement)
        self.broken.append(identifier)
        self.findings.append(self.finding(code, message, offset, policy_id=identifier))


@dataclass(slots=True)
class Reading:
    """A set as read. `findings` are about the set as a whole; a set that is too large has no files."""

    files: list[FileReading] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(placed.rule for file in self.files for placed in file.placed)

    @property
    def errors(self) -> list[Finding]:
        return [*self.findings, *(finding for file in self.files for finding in file.findings)]


_TOO_DEEP = (
    "The expression is nested too deep; write a long chain of alternatives as `[…].contains(…)`, or as"
    " several policies."
)


def read_set(files: Sequence[SourceFile], *, positional: bool = False) -> Reading:
    """Read a set. With `positional`, a policy without @id is called `policy<n>`, counted over the set.

    Of a text with more than 200 errors only the first ones are reported.
    """
    reading = Reading()
    oversized = _oversized(files)
    if oversized is not None:
        reading.findings.append(oversized)
        return reading
    asking = _Asking()
    found = [_some_statements(file) for file in files]
    if sum(map(len, found)) > MAX_POLICIES:
        text = f"The set has more than {MAX_POLICIES} policies."
        reading.findings.append(Finding("error", "too_large", "", "", text))
        return reading
    copies = 0
    for file, parts in zip(files, found, strict=True):
        measures = [_measure(file.text, statement) for statement in parts]
        copies += sum(one.copies for one in measures)
        if copies > MAX_SET_COPIES:
            text = "The `has` and `is … in` of the set unfold too far; write shorter paths."
            return Reading(findings=[Finding("error", "too_large", file.name, "", text)])
        reading.files.append(_read_file(file, parts, asking))
    if positional:
        _number(reading)
    return reading


def static_bodies(text: str) -> dict[str, dict[str, Any]]:
    """Return the policies of a text in Cedar's JSON form, in its order, by Cedar's own positional id.

    Raises ValueError for text that does not parse or goes too deep, TemplateError for templates.
    """
    copies = 0
    for statement in statements(text):
        found = _measure(text, statement)
        copies += found.copies
        if found.excess is not None or copies > MAX_SET_COPIES:
            raise ValueError(_TOO_DEEP)
    return _bodies(text)


def rule_of(file: str, body: Mapping[str, Any]) -> Rule:
    """Return a policy in Cedar's JSON form as a rule; without @id its id is empty."""
    annotations = {name: value or "" for name, value in (body.get("annotations") or {}).items()}
    return Rule(annotations.get("id", ""), file, str(body["effect"]), annotations, body)


def comma_list(text: str) -> list[str]:
    """Return the parts of a comma list without blanks."""
    return [part.strip() for part in text.split(",") if part.strip()]


def id_in(text: str, statement: Statement) -> str:
    """Return the @id of a statement as written, even if the statement does not parse; empty without one."""
    head = [token for token, _ in zip(_tokens(text, statement), range(_HEAD_TOKENS), strict=False)]
    for at, sign, bracket, value in zip(head, head[1:], head[2:], head[3:], strict=False):
        if (at.text, sign.text, bracket.text) == ("@", "id", "(") and value.kind is Kind.STRING:
            return value.text[1:-1][:64]
    return ""


def json_depth(value: object) -> int:
    """Return how many objects and arrays lie within each other."""
    depth, level = 0, [value]
    while level:
        inner: list[object] = []
        for one in level:
            if isinstance(one, Mapping):
                inner.extend(one.values())
            elif isinstance(one, list):
                inner.extend(one)
        level = inner
        depth += 1
    return depth - 1


def entities_in(value: object, *, suffix: str = "") -> set[tuple[str, str]]:
    """Return type and id of every entity that a policy in JSON form names, of types ending in `suffix`."""
    found: set[tuple[str, str]] = set()
    waiting: list[object] = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting.extend(one)
        elif isinstance(one, Mapping):
            waiting.extend(one.values())
            match one:
                case {"type": str(kind), "id": str(identifier)} if kind.endswith(suffix):
                    found.add((kind, identifier))
    return found


class _Asking:
    """Cedar's message about a text, until so much was asked that positions are no longer worth it."""

    def __init__(self) -> None:
        self._left = _ASKED_CHARACTERS

    def __call__(self, text: str) -> str:
        self._left -= len(text)
        return message_of(text) if self._left >= 0 else ""


def message_of(text: str) -> str:
    """Return Cedar's message about a text that does not parse, or the empty text."""
    try:
        cedarpy.policies_to_json_str(text)
    except ValueError as error:
        return str(error) or "The text does not parse."
    return ""


def _oversized(files: Sequence[SourceFile]) -> Finding | None:
    """Return what is wrong with the texts as such, before anything looks into them."""
    too_large = Finding("error", "too_large", "", "", "The set is larger than 8 MiB.")
    if sum(len(file.text) for file in files) > MAX_TEXT_BYTES:
        return too_large
    for file in files:
        broken = _SURROGATE.search(file.text)
        if broken is not None:
            text = "The text is not valid Unicode."
            return FileReading(file).finding("not_utf8", text, broken.start())
    return too_large if sum(len(file.text.encode()) for file in files) > MAX_TEXT_BYTES else None


def _some_statements(file: SourceFile) -> list[Statement]:
    """Return the statements of a file, at most one more than a set may have."""
    return [one for one, _ in zip(statements(file.text), range(MAX_POLICIES + 1), strict=False)]


def _read_file(file: SourceFile, found: Sequence[Statement], asking: _Asking) -> FileReading:
    """Read one file at once if it is in order, else statement by statement, which tells good from bad."""
    reading = FileReading(file)
    bodies: Sequence[Mapping[str, Any]] = ()
    if not any(_limit(file.text, statement) for statement in found):
        try:
            bodies = list(_bodies(file.text).values())
        except (ValueError, RecursionError, TemplateError):
            bodies = ()
    if len(bodies) == len(found):
        for statement, body in zip(found, bodies, strict=True):
            reading.accept(statement, body)
        return reading
    following = next_statement(file.text, 0)
    while following is not None and len(reading.findings) < MAX_FINDINGS:
        following = next_statement(file.text, _read_statement(reading, following, asking))
    return reading


def _read_statement(reading: FileReading, statement: Statement, asking: _Asking) -> int:
    """Read one statement and return where the next may begin.

    Where a string that was not closed has swallowed the next statement, this one ends before it.
    """
    text = reading.file.text
    body = _body(text, statement)
    if body is not None:
        reading.accept(statement, body)
        return statement.end
    cut = runaway(text, statement)
    failed = statement if cut is None else Statement(statement.start, cut)
    limit = _limit(text, failed)
    if limit is not None:
        reading.refuse("too_large", limit[0], failed, limit[1])
        return failed.end
    slot = next((token for token in _tokens(text, failed) if token.kind is Kind.SLOT), None)
    if slot is not None:
        reading.refuse("template_unsupported", "Templates are not supported.", failed, slot.start)
        return failed.end
    message = asking(text[failed.start : failed.end]) or "The statement does not parse."
    reading.refuse("syntax_error", message, failed, syntax_offset(text, failed, message, asking))
    return failed.end


def _body(text: str, statement: Statement) -> Mapping[str, Any] | None:
    if _limit(text, statement) is not None:
        return None
    try:
        bodies = _bodies(text[statement.start : statement.end])
    except (ValueError, RecursionError, TemplateError):
        return None
    return next(iter(bodies.values())) if len(bodies) == 1 else None


def _bodies(text: str) -> dict[str, dict[str, Any]]:
    document = json.loads(cedarpy.policies_to_json_str(text))
    if document.get("templates") or document.get("templateLinks"):
        raise TemplateError
    found: dict[str, dict[str, Any]] = document.get("staticPolicies", {})
    return {name: found[name] for name in sorted(found, key=lambda name: int(name.removeprefix("policy")))}


def _limit(text: str, statement: Statement) -> tuple[str, int] | None:
    """Return which limit a statement exceeds and where, before Cedar sees it."""
    size = statement.end - statement.start
    if size > MAX_STATEMENT_BYTES // 4:
        size = len(text[statement.start : statement.end].encode())
    if size > MAX_STATEMENT_BYTES:
        return "The policy is larger than 64 KiB.", statement.start
    excess = _measure(text, statement).excess
    return None if excess is None else (_TOO_DEEP, excess.start)


def _measure(text: str, statement: Statement) -> Measure:
    part = text[statement.start : statement.end]
    return Measure() if is_plain(part) else measure(_tokens(text, statement))


def _tokens(text: str, statement: Statement) -> Iterator[Token]:
    return tokens(text, statement.start, statement.end)


def _number(reading: Reading) -> None:
    number = 0
    for file in reading.files:
        for index, placed in enumerate(file.placed):
            if not placed.rule.id:
                rule = replace(placed.rule, id=f"policy{number}")
                file.placed[index] = replace(placed, rule=rule)
            number += 1
