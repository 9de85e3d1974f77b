"""What a definition says of side effects and secrets: unit rules and secret slots."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kernel.errors import Detail
from policy.types import Delivery, SecretSlot, UnitRule

MAX_UNITS = 16
MAX_SLOTS = 8
_UNIT = re.compile(r"[a-z][a-z0-9_]{0,31}")
_SLOT = re.compile(r"[a-z][a-z0-9_]{0,31}")
_AMOUNT = re.compile(r"(?:0|[1-9][0-9]{0,9})(?:\.[0-9]{1,9})?")
_POINTER = re.compile(r"/input((?:/[A-Za-z_][A-Za-z0-9_]{0,63})+)")

Schema = Mapping[str, Any]


def check_units(units: Sequence[UnitRule], schema: Schema) -> Iterator[Detail]:
    """Yield what is wrong with unit rules for inputs of this schema."""
    if len(units) > MAX_UNITS:
        yield Detail("/units", "maxItems", f"must hold at most {MAX_UNITS} rules")
        return
    if len({rule.unit for rule in units}) != len(units):
        yield Detail("/units", "unique", "names a unit twice")
    for index, rule in enumerate(units):
        message = _unit_problem(rule, schema)
        if message:
            yield Detail(f"/units/{index}", "unit", message)


def check_secrets(slots: Sequence[SecretSlot]) -> Iterator[Detail]:
    """Yield what is wrong with secret slots."""
    if len(slots) > MAX_SLOTS:
        yield Detail("/secrets", "maxItems", f"must hold at most {MAX_SLOTS} slots")
        return
    if len({slot.slot for slot in slots}) != len(slots):
        yield Detail("/secrets", "unique", "names a slot twice")
    for index, slot in enumerate(slots):
        if not _SLOT.fullmatch(slot.slot):
            yield Detail(f"/secrets/{index}/slot", "pattern", "must be a lower-case word")
        wanted = set(slot.deliveries)
        if not wanted or wanted - set(Delivery) or len(wanted) != len(slot.deliveries):
            sentence = f"must list each at most once of {', '.join(Delivery)}"
            yield Detail(f"/secrets/{index}/deliveries", "enum", sentence)


def _unit_problem(rule: UnitRule, schema: Schema) -> str:
    if not _UNIT.fullmatch(rule.unit):
        return "must be named by a lower-case word"
    if not 0 <= rule.scale <= 9:
        return "must have a scale of 0 to 9"
    if (rule.amount is not None) + (rule.count is not None) + rule.reported != 1:
        return "needs exactly one of amount, count and reported"
    if rule.max is not None and not _AMOUNT.fullmatch(rule.max):
        return "must have a max in decimal text, with at most 9 fraction digits"
    if rule.reported:
        return "" if rule.max is not None else "needs a max, which is what is reserved"
    if rule.count is not None:
        return "" if _type_at(rule.count, schema) == "array" else "must count a required array"
    amount = rule.amount or ""
    if _AMOUNT.fullmatch(amount) or _type_at(amount, schema) in {"integer", "number"}:
        return ""
    return "must be a decimal text or point at a required number such as /input/amount"


def _type_at(pointer: str, schema: Schema) -> str:
    """Return the type that a pointer leads to through required properties, or an empty text."""
    match = _POINTER.fullmatch(pointer)
    if match is None:
        return ""
    found = schema
    for name in match[1].strip("/").split("/"):
        if name not in (found.get("required") or ()):
            return ""
        found = (found.get("properties") or {}).get(name) or {}
    return str(found.get("type", ""))
