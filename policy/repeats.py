"""Which questions the rules cannot tell apart, so that one answer serves for all of them.

A rule sees the context only through the attributes that its text names. Two questions about the same
world, with the same action, resource and channel, to the same rules, that agree in all of those attributes
and in the shape of the whole context, get the same answer. Whatever this module does not understand in a
rule counts as reading everything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Path = tuple[str, ...]
"""An attribute of the context, or one member of its input; the empty path is the whole context."""

WHOLE: Path = ()
_INPUT = "input"
_ACCESS = frozenset({".", "has"})


def paths_read(bodies: Iterable[Mapping[str, Any]]) -> tuple[Path, ...]:
    """Return what rules in Cedar's JSON form read of the context, sorted and each once."""
    found = {path for body in bodies for part in body.get("conditions", ()) for path in _paths(part)}
    return (WHOLE,) if WHOLE in found else tuple(sorted(found))


def likeness(context: Mapping[str, object], paths: Iterable[Path]) -> str:
    """Return a text that two contexts share when no rule that reads these paths can tell them apart."""
    seen = [_at(context, path) for path in paths]
    return json.dumps([seen, _shape(context)], sort_keys=True)


def _paths(expression: object) -> Iterator[Path]:
    """Yield every path of the context in an expression; the context itself, however used, is the whole."""
    if isinstance(expression, list):
        for item in expression:
            yield from _paths(item)
    elif isinstance(expression, Mapping):
        path = _path_of(expression)
        if path is not None:
            yield path
            return
        for item in expression.values():
            yield from _paths(item)


def _path_of(expression: Mapping[str, Any]) -> Path | None:
    """Return the path of an access that begins at the context; deeper ones are cut, never lengthened."""
    names: list[str] = []
    here: object = expression
    while isinstance(here, Mapping) and len(here) == 1:
        ((kind, inner),) = here.items()
        if kind == "Var":
            return _cut(names) if inner == "context" else None
        if kind not in _ACCESS or not isinstance(inner, Mapping) or not isinstance(inner.get("attr"), str):
            return None
        names.insert(0, inner["attr"])
        here = inner.get("left")
    return None


def _cut(names: list[str]) -> Path:
    return tuple(names[:2]) if names[:1] == [_INPUT] else tuple(names[:1])


def _at(context: Mapping[str, object], path: Path) -> object:
    """Return the value at a path; a list of nothing where there is none, which no value of a context is."""
    here: object = context
    for name in path:
        if not isinstance(here, Mapping) or name not in here:
            return [[]]
        here = here[name]
    return here


def _shape(value: object) -> object:
    """Return names and kinds without contents: Cedar checks them against the schema."""
    if isinstance(value, Mapping):
        return {name: _shape(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return sorted({json.dumps(_shape(item), sort_keys=True) for item in value})
    return type(value).__name__
