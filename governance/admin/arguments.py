"""Arguments of a call as a person reads them: one row each, by the titles of the JSON Schema. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from governance.safety.visible import FOLD_AT, visible

LONG_LINES = 12


@dataclass(frozen=True, slots=True)
class Argument:
    """One parameter. `text` holds no hidden character; `is_long` asks for a scroll box."""

    name: str
    title: str
    text: str
    note: str
    is_long: bool


def arguments(values: object, schema: Mapping[str, object] | None = None) -> tuple[Argument, ...]:
    """Return the top-level parameters in the order of the schema, then by name.

    A list of strings is shown as a command line is: one word per line, quoted as a shell would need.
    A value that was cut when it was stored says how large the whole is.
    """
    if not isinstance(values, Mapping) or "_truncated" in values:
        return (_argument("", values, {}),)
    described = (schema or {}).get("properties")
    known = described if isinstance(described, Mapping) else {}
    order = {name: index for index, name in enumerate(known)}
    names = sorted(values, key=lambda name: (order.get(name, len(order)), str(name)))
    return tuple(_argument(str(name), values[name], known.get(name)) for name in names)


def _argument(name: str, value: object, described: object) -> Argument:
    about = described if isinstance(described, Mapping) else {}
    text, note = _text(value)
    title = about.get("title") if isinstance(about.get("title"), str) else name
    hint = about.get("description") if isinstance(about.get("description"), str) else ""
    is_long = len(text) > FOLD_AT or text.count("\n") > LONG_LINES
    return Argument(visible(name), visible(str(title)), visible(text), note or visible(str(hint)), is_long)


def _text(value: object) -> tuple[str, str]:
    if isinstance(value, str):
        return value, ""
    if isinstance(value, Mapping) and "_truncated" in value:
        return str(value.get("_head", "")) or "(not shown)", f"Cut; the whole has {value.get('bytes')} bytes."
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        return "\n".join(shlex.quote(word) for word in value), "One word per line."
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True), ""
