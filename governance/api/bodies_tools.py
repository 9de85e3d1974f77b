"""The request bodies about tools, limits and lists. What a definition may say is policy's matter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rest_framework import serializers

from governance.api.bodies import AnyJson
from governance.api.strict import Body, Flag, Text, Whole
from kernel.errors import Detail, InvalidError
from policy.limits import BOUNDS, PRESETS
from policy.types import AllowlistKind, SecretSlot, SensitiveKind, ToolDefinition, UnitRule

MOST_WORDS = 64
MOST_TOOLS = 1_000


def _words(longest: int, most: int = MOST_WORDS) -> serializers.ListField:
    child = Text(max_length=longest, allow_blank=True, trim_whitespace=False)
    return serializers.ListField(child=child, required=False, allow_empty=True, max_length=most)


class ToolVersionBody(Body):
    description = Text(max_length=2000)
    input_schema = AnyJson()
    output_schema = AnyJson(required=False)
    argv_template = serializers.ListField(
        child=Text(max_length=4096, trim_whitespace=False), allow_empty=True, max_length=64
    )
    capabilities = _words(64)
    risk = Text(max_length=16)
    tier = Text(required=False, max_length=8)
    sensitive = Flag(required=False)
    adds_labels = _words(32)
    sinks = _words(64)
    units = serializers.ListField(child=AnyJson(), required=False, allow_empty=True, max_length=64)
    secrets = serializers.ListField(child=AnyJson(), required=False, allow_empty=True, max_length=64)
    egress_hosts = _words(253)
    parallelism = Text(required=False, max_length=32)
    projection = Text(required=False, max_length=64)
    max_input_bytes = Whole(required=False)
    timeout_ms = Whole(required=False)
    resource_template = Text(required=False, max_length=256, allow_blank=True, trim_whitespace=False)


class ToolBody(ToolVersionBody):
    name = Text(max_length=64, trim_whitespace=False)


class ToolChangeBody(Body):
    reason = Text(max_length=500)
    enabled = Flag(required=False)
    description = Text(required=False, max_length=2000)


class ListedBody(Body):
    kind = serializers.ChoiceField(choices=tuple(AllowlistKind))
    value = Text(max_length=128)


class SensitiveBody(Body):
    kind = serializers.ChoiceField(choices=tuple(SensitiveKind))
    value = Text(max_length=128)


class LimitsBody(Body):
    """`preset` first, then single values over it; `allowed_tools` is the workspace's allowlist of tools."""

    reason = Text(max_length=500)
    preset = serializers.ChoiceField(required=False, choices=tuple(PRESETS))
    allowed_tools = serializers.ListField(
        child=Text(max_length=128, allow_blank=True), required=False, allow_empty=True, max_length=MOST_TOOLS
    )
    process_runner_enabled = Flag(required=False)
    process_runner_tier = Text(required=False, max_length=8)
    process_egress_mode = Text(required=False, max_length=16)
    wasm_enabled = Flag(required=False)
    wasm_inline_modules = Flag(required=False)

    def get_fields(self) -> dict[str, Any]:
        """Add the numbers, whose bounds are policy's."""
        numbers = {
            name: Whole(required=False, min_value=low, max_value=high) for name, (low, high) in BOUNDS.items()
        }
        return {**super().get_fields(), **numbers}


def definition_of(body: Mapping[str, Any]) -> ToolDefinition:
    """Return a body as a definition, or raise InvalidError `schema_invalid` for what has no such shape."""
    known = dict(body)
    for name, make in (("argv_template", tuple), ("egress_hosts", tuple)):
        if name in known:
            known[name] = make(known[name])
    for name in ("capabilities", "adds_labels", "sinks"):
        known[name] = frozenset(known.get(name, ()))
    known["units"] = tuple(_units(known.get("units", ())))
    known["secrets"] = tuple(_slots(known.get("secrets", ())))
    return ToolDefinition(**known)


def _units(given: Iterable[object]) -> Iterable[UnitRule]:
    texts = {"unit", "amount", "count", "max"}
    for index, rule in enumerate(given):
        fits = (
            isinstance(rule, dict)
            and set(rule) <= texts | {"scale", "reported"}
            and "unit" in rule
            and all(isinstance(rule[name], str) for name in texts & set(rule))
            and type(rule.get("scale", 0)) is int
            and isinstance(rule.get("reported", False), bool)
        )
        if not fits:
            raise _misshapen(f"/units/{index}", "must hold unit, scale and one of amount, count, reported")
        yield UnitRule(**rule)  # type: ignore[arg-type]  # checked above


def _slots(given: Iterable[object]) -> Iterable[SecretSlot]:
    for index, slot in enumerate(given):
        known = slot if isinstance(slot, dict) and set(slot) == {"slot", "deliveries"} else {}
        name, deliveries = known.get("slot"), known.get("deliveries")
        texts = isinstance(deliveries, list) and all(isinstance(one, str) for one in deliveries)
        if not isinstance(name, str) or not texts:
            raise _misshapen(f"/secrets/{index}", "must hold a slot and a list of deliveries")
        yield SecretSlot(name, tuple(deliveries or ()))


def _misshapen(pointer: str, sentence: str) -> InvalidError:
    detail = Detail(pointer, "shape", sentence)
    return InvalidError("schema_invalid", "The tool's definition is not acceptable.", errors=(detail,))
