"""What governance keeps of a policy decision: the record it can be replayed from, and its faults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import partial

from governance.journal.redact import clean_text, is_secret_name
from governance.parameter_views import inner, is_secret_schema, items
from governance.safety.secrets import scan
from kernel.record import Actor, Record
from policy.decision_records import Redacted, store_decision
from policy.types import Code, PolicyDecision

FAULTS = frozenset({Code.EVALUATION_FAILED, Code.NO_ACTIVE_SET})
"""Reasons of a denial that say something about the rules and not about the call."""

MAX_ERRORS = 20
_CUT = "[redacted:key]"
_PASSWORD = "[redacted:url_password]"  # the mark that stands for one
_FAILED_POLICY = re.compile(r"while evaluating policy `([^`]{1,128})`: ?(.*)", re.DOTALL)
_KINDS = (
    ("record does not have the attribute", "An attribute is missing that the rule reads without asking."),
    ("does not have the attribute", "An attribute is missing that the rule reads without asking."),
    ("integer overflow", "A calculation leaves the range of 64-bit integers."),
    ("type error", "A value has another type than the rule expects."),
    (
        "extension function",
        "A text is not the address, time or decimal that the rule makes of it.",
    ),
    ("does not exist", "The rule reads an entity that does not exist."),
    ("recursion limit", "The rule is nested too deeply."),
)
_OTHER = "The rule failed."


def keep_decision(
    *,
    event_id: str,
    call_id: str,
    workspace_id: str,
    decision: PolicyDecision | None,
    now: datetime,
    schema: Mapping[str, object],
) -> None:
    """Keep gate 7's decision, with redacted arguments, under the id of the event that tells of it.

    `schema` is the one that the arguments passed: it says which of them are secrets whatever their names.
    """
    if decision is not None:
        store_decision(
            record_id=event_id,
            call_id=call_id,
            workspace_id=workspace_id,
            decision=decision,
            now=now,
            redact=partial(redacted_input, schema=schema),
        )


def record_fault(
    *,
    code: str,
    decision: PolicyDecision | None,
    subject: str,
    run: str | None,
    actor: Actor,
    now: datetime,
    record: Record,
) -> None:
    """Record `policy.engine_error` when gate 7 denied because the rules could not be asked or failed.

    The engine's own words may repeat an argument, so they become sentences of ours.
    """
    if code not in FAULTS:
        return
    explanation = decision.explanation if decision else None
    errors = explanation.diagnostics_errors[:MAX_ERRORS] if explanation else ()
    record(
        event="policy.engine_error",
        actor=actor,
        subject=subject,
        now=now,
        data={
            "reason_code": str(code),
            "policy_set": (explanation.policy_set.hash or None) if explanation else None,
            "policy_ids": sorted({name for name, _ in map(fault_of, errors) if name}),
            "errors": sorted({sentence for _, sentence in map(fault_of, errors)}),
        },
        run=run,
        call=subject,
    )


def redacted_input(value: Mapping[str, object], *, schema: Mapping[str, object] | None = None) -> Redacted:
    """Return a tool's input without secrets, every value of the type it had, so that rules still read it."""
    sweep = _Sweep()
    typed = schema or {}
    cleaned = {
        str(name): sweep.member(str(name), item, inner(typed, str(name))) for name, item in value.items()
    }
    return Redacted(cleaned, exact=sweep.exact)


class _Sweep:
    """Replaces what the journal would redact, by a value of the same type."""

    def __init__(self) -> None:
        self.exact = True

    def member(self, name: str, value: object, schema: Mapping[str, object]) -> object:
        return self.blank(value) if is_secret_name(name) else self.value(value, schema)

    def value(self, value: object, schema: Mapping[str, object]) -> object:
        if is_secret_schema(schema):
            return self.blank(value)
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {
                self.text(str(name)): self.member(str(name), item, inner(schema, str(name)))
                for name, item in value.items()
            }
        if not isinstance(value, (list, tuple)):
            return value
        return [self.value(item, items(schema)) for item in value]

    def text(self, text: str) -> str:
        """A password in a URL leaves a plain word, so that the URL still has its host."""
        cleaned = clean_text(text, scan=scan)
        self.exact = self.exact and cleaned.count == 0
        return cleaned.text.replace(_PASSWORD, "redacted") if cleaned.count else text

    def blank(self, value: object) -> object:
        if isinstance(value, Mapping):
            return {self.text(str(name)): self.blank(item) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.blank(item) for item in value]
        if value is None or isinstance(value, bool):
            return value
        self.exact = False
        return _CUT if isinstance(value, str) else 0


def fault_of(text: str) -> tuple[str, str]:
    """Return the id of the rule that failed, empty when none is named, and our sentence about it."""
    match = _FAILED_POLICY.search(text)
    name, rest = (match[1], match[2]) if match else ("", "")
    return name, next((sentence for mark, sentence in _KINDS if mark in rest), _OTHER)
