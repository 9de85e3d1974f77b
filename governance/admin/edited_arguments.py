"""Arguments as fields to edit: what was shown masked and stays untouched keeps its true value. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from governance.safety.visible import visible

LONGEST_FIELD = 65_536
"""A longer value is kept as it is; in characters."""
MOST_FIELDS = 60
PREFIX = "arg."
MARKS = ("[redacted:", "[masked]", "⟦")
"""What stands in a shown value for something that is not shown."""
KEEPS_MARKS = "It still holds a mark in place of a masked value; type the whole value, or leave it as it was."


@dataclass(frozen=True, slots=True)
class EditField:
    """One argument. `is_text` takes what is typed as it stands, else it is JSON; empty leaves it out.

    `fixed` says why it cannot be changed here.
    """

    name: str
    title: str
    text: str
    is_text: bool
    hint: str
    fixed: str
    error: str = ""

    @property
    def key(self) -> str:
        return PREFIX + self.name

    @property
    def rows(self) -> int:
        """How many lines the field shows."""
        return min(12, 2 + self.text.count("\n"))


def fields_of(
    shown: Mapping[str, object], schema: Mapping[str, object], post: Mapping[str, str] | None = None
) -> list[EditField]:
    """Return a field for each argument and each one the schema still allows, in the schema's order.

    `shown` are the arguments with secrets masked; with `post`, what was typed stands in the fields.
    """
    described = schema.get("properties")
    known = described if isinstance(described, Mapping) else {}
    names = [*known, *(name for name in shown if name not in known)][:MOST_FIELDS]
    return [_field(str(name), shown, known.get(name), post) for name in names]


def edited(
    true: Mapping[str, object], shown: Mapping[str, object], fields: list[EditField], post: Mapping[str, str]
) -> tuple[dict[str, object], dict[str, str]]:
    """Return the arguments as edited, and what is wrong by name.

    `true` are the values as they were sent. A field that comes back as it was shown keeps its true value,
    so that nobody needs to read a secret to leave it in place.
    """
    wanted, errors = dict(true), dict[str, str]()
    for field in fields:
        typed, before = _lines(post.get(field.key, "")), _lines(_text(shown, field.name))
        if field.fixed or field.key not in post or typed == before:
            continue
        if any(mark in typed and mark in before for mark in MARKS):
            errors[field.name] = KEEPS_MARKS
            continue
        if not typed and not (field.is_text and field.name in true):
            wanted.pop(field.name, None)
            continue
        try:
            wanted[field.name] = typed if field.is_text else json.loads(typed)
        except (ValueError, RecursionError):
            errors[field.name] = "This is no JSON value."
    return wanted, errors


def _field(
    name: str, shown: Mapping[str, object], described: object, post: Mapping[str, str] | None
) -> EditField:
    about = described if isinstance(described, Mapping) else {}
    text = _text(shown, name)
    is_text = isinstance(shown[name], str) if name in shown else about.get("type") == "string"
    title, hint = about.get("title", name), about.get("description", "")
    fixed = "It is too long to be changed here, and stays as it is." if len(text) > LONGEST_FIELD else ""
    typed = post.get(PREFIX + name, "") if post is not None else text
    return EditField(
        name=name,
        title=visible(str(title)),
        text="" if fixed else typed,
        is_text=is_text,
        hint=visible(str(hint)),
        fixed=fixed,
    )


def _text(shown: Mapping[str, object], name: str) -> str:
    if name not in shown:
        return ""
    value = shown[name]
    return (
        value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    )


def _lines(text: str) -> str:
    """A browser sends line ends as CRLF and drops the first of a field that begins with one."""
    return text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\n")
