"""Arguments of a call as a person reads them: one row each, by the titles of the JSON Schema. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

from governance.admin.argument_shapes import MOST_WORDS, PLAIN, Shape, Word, shape_of, words_of
from governance.safety.visible import FOLD_AT, visible

LONG_LINES = 12


@dataclass(frozen=True, slots=True)
class Argument:
    """One parameter. `text` holds no hidden character; `is_long` asks for a scroll box.

    `shape` and `words` are other ways to read the same text, where it has one. `bytes` is the size of a
    value that was cut when it was stored, else 0.
    """

    name: str
    title: str
    text: str
    note: str
    is_long: bool
    shape: Shape = PLAIN
    words: tuple[Word, ...] = ()
    bytes: int = 0


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
    words = words_of(value) if _is_command(value) else ()
    text, note, size = _text(value)
    title = about.get("title") if isinstance(about.get("title"), str) else name
    hint = about.get("description") if isinstance(about.get("description"), str) else ""
    return Argument(
        name=visible(name),
        title=visible(str(title)),
        text=visible(text),
        note=note or visible(str(hint)),
        is_long=len(text) > FOLD_AT or text.count("\n") > LONG_LINES,
        shape=shape_of(name, value) if isinstance(value, str) else PLAIN,
        words=words,
        bytes=size,
    )


def _is_command(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and 0 < len(value) <= MOST_WORDS and all(isinstance(w, str) for w in value)


def _text(value: object) -> tuple[str, str, int]:
    """Return the text, what to say about it, and how large the whole is when it was cut."""
    if isinstance(value, str):
        return value, "", 0
    if isinstance(value, Mapping) and "_truncated" in value:
        size = value.get("bytes")
        head = str(value.get("_head", "")) or "(not shown)"
        return head, f"Cut; the whole has {size} bytes.", size if isinstance(size, int) else 0
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        return "\n".join(word.text for word in words_of(value)), "One word per line.", 0
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True), "", 0
