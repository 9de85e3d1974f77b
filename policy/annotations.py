"""What the annotations of a rule may say. Unknown ones are a warning, unusable ones an error."""

from __future__ import annotations

import re
from collections.abc import Iterator

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
_VALUES = {
    "quorum": (frozenset("12345"), "@quorum must be 1 to 5."),
    "risk": (frozenset(Risk), "@risk must be low, medium, high or critical."),
    "mode": (frozenset({"shadow"}), '@mode must be "shadow".'),
}


def annotation_findings(file: FileReading, placed: PlacedRule) -> Iterator[Finding]:
    """Yield what is wrong with the annotations of one rule, each at its annotation."""
    rule = placed.rule

    def bad(name: str, message: str, *, code: str = "bad_annotation", severity: str = "error") -> Finding:
        offset = _offset(file, placed, name)
        return file.finding(code, message, offset, policy_id=rule.id, severity=severity)

    if not rule.id:
        start = placed.statement.start
        yield file.finding("missing_id", "A policy has no @id.", start)
    elif not _ID.fullmatch(rule.id):
        yield bad("id", "@id must match [a-z][a-z0-9_]{2,63}.")
    for name in sorted(set(rule.annotations) - ANNOTATIONS):
        hint = did_you_mean(name, ANNOTATIONS, shown="@{}") or "."
        yield bad(name, f"Unknown annotation @{name}{hint}", severity="warning")
    for name in sorted(rule.obligations - OBLIGATIONS):
        yield bad("obligation", f"Unknown obligation {name!r}{did_you_mean(name, OBLIGATIONS) or '.'}")
    for name, (allowed, message) in _VALUES.items():
        if name in rule.annotations and rule.annotations[name] not in allowed:
            yield bad(name, message)
    if len(rule.annotations.get("advice", "")) > MAX_ADVICE:
        yield bad("advice", f"@advice is longer than {MAX_ADVICE} characters.")
    for name in sorted(rule.approver_roles - ROLES):
        hint = did_you_mean(name, ROLES) or "."
        yield bad("approver_role", f"Unknown role {name!r}{hint}", code="unknown_role")


def _offset(file: FileReading, placed: PlacedRule, name: str) -> int:
    """Return where `@name` stands in the statement of a rule."""
    before: Token | None = None
    for token in tokens(file.file.text, placed.statement.start, placed.statement.end):
        if before is not None and before.text == "@" and token.text == name:
            return before.start
        before = token
    return placed.statement.start
