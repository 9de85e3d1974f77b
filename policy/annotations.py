"""What the annotations of a rule may say. Unknown ones are a warning, unusable ones an error."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property

from identity.roles import WorkspaceRole
from policy.reading import FileReading, PlacedRule
from policy.source import Token, tokens
from policy.type_errors import did_you_mean
from policy.types import Finding, Risk

OBLIGATIONS = frozenset({"approval", "step_up", "redact_output", "log_input"})
ANNOTATIONS = frozenset(
    {"id", "description", "obligation", "quorum", "approver_role", "risk", "advice", "mode"}
)
ROLES = frozenset(role.value for role in WorkspaceRole)
MAX_ADVICE = 300
_ID = re.compile(r"[a-z][a-z0-9_]{2,63}")
_CONTROL = re.compile(r"[\0-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""What no database column and no line of a log takes; tabs and line ends are text."""
_VALUES = {
    "quorum": (frozenset("12345"), "@quorum must be 1 to 5."),
    "risk": (frozenset(Risk), "@risk must be low, medium, high or critical."),
    "mode": (frozenset({"shadow"}), '@mode must be "shadow".'),
}


def annotation_errors(file: FileReading, placed: PlacedRule) -> Iterator[Finding]:
    """Yield what is unusable in the annotations of one rule, each at its annotation."""
    rule, about = placed.rule, _About(file, placed)
    if not rule.id:
        yield file.finding("missing_id", "A policy has no @id.", placed.statement.start)
    elif not _ID.fullmatch(rule.id):
        yield about.finding("id", "@id must match [a-z][a-z0-9_]{2,63}.")
    for name, value in sorted(rule.annotations.items()):
        if name != "id" and _CONTROL.search(value):
            yield about.finding(name, f"@{name} holds a control character.")
    for name in sorted(rule.obligations - OBLIGATIONS):
        message = f"Unknown obligation {name!r}{did_you_mean(name, OBLIGATIONS) or '.'}"
        yield about.finding("obligation", message)
    for name, (allowed, message) in _VALUES.items():
        if name in rule.annotations and rule.annotations[name] not in allowed:
            yield about.finding(name, message)
    if len(rule.annotations.get("advice", "")) > MAX_ADVICE:
        yield about.finding("advice", f"@advice is longer than {MAX_ADVICE} characters.")
    for name in sorted(rule.approver_roles - ROLES):
        message = f"Unknown role {name!r}{did_you_mean(name, ROLES) or '.'}"
        yield about.finding("approver_role", message, code="unknown_role")


def annotation_warnings(file: FileReading, placed: PlacedRule) -> Iterator[Finding]:
    """Yield which annotations of one rule mean nothing here."""
    about = _About(file, placed)
    for name in sorted(set(placed.rule.annotations) - ANNOTATIONS):
        hint = did_you_mean(name, ANNOTATIONS, shown="@{}") or "."
        yield about.finding(name, f"Unknown annotation @{name}{hint}", severity="warning")


class _About:
    """Findings about the annotations of one rule; its text is read once, and only when there is one."""

    def __init__(self, file: FileReading, placed: PlacedRule) -> None:
        self._file = file
        self._placed = placed

    def finding(
        self, name: str, message: str, *, code: str = "bad_annotation", severity: str = "error"
    ) -> Finding:
        offset = self._places.get(name, self._placed.statement.start)
        return self._file.finding(code, message, offset, policy_id=self._placed.rule.id, severity=severity)

    @cached_property
    def _places(self) -> Mapping[str, int]:
        """The offset of the `@` of each name that stands behind one first."""
        statement, found = self._placed.statement, dict[str, int]()
        before: Token | None = None
        for token in tokens(self._file.file.text, statement.start, statement.end):
            if before is not None and before.text == "@":
                found.setdefault(token.text, before.start)
            before = token
        return found
