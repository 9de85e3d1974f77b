"""What a Cedar schema of any origin declares: attributes of entities, and where actions apply.

The text read here is Cedar's own rendering of a schema it has accepted, so the reader takes the
grammar of that rendering and refuses everything else with ValueError.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import cedarpy

from policy.slicing import Uid

_TOKEN = re.compile(
    r'\s+|//[^\n]*|(?P<token>"(?:[^"\\]|\\.)*"|[A-Za-z_]\w*(?:::[A-Za-z_]\w*)*(?:::(?="))?|[{}\[\]()<>=,;:?@])',
    re.DOTALL,
)
MAX_NESTING = 64
"""Brackets within each other; Cedar itself recurses and would end the process on far deeper ones."""
_ESCAPE = re.compile(r"\\(?:u\{([0-9A-Fa-f]{1,6})\}|x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_SINGLE = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}


@dataclass(frozen=True, slots=True)
class Shape:
    """A type as far as it decides which members a value may have.

    `members` is None for everything but a record; `element` is set for a set.
    """

    members: Mapping[str, Shape] | None = None
    element: Shape | None = None


OPAQUE = Shape()
EMPTY = Shape(members={})


@dataclass(frozen=True, slots=True)
class ActionShape:
    """One action: to which types it applies, and the record of its context."""

    principals: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    context: Shape = EMPTY


@dataclass(frozen=True, slots=True)
class SchemaShape:
    """Every entity type by its full name with its attributes, and every action by its uid."""

    entities: Mapping[str, Shape]
    actions: Mapping[Uid, ActionShape]

    def action_named(self, name: str) -> Uid | None:
        """Return the one action of this name, in whatever namespace; None for none or several."""
        found = [uid for uid in self.actions if uid[1] == name]
        return found[0] if len(found) == 1 else None


def read_schema(handle: cedarpy.Schema) -> SchemaShape:
    """Return what a parsed schema declares; raises ValueError for a rendering that is not understood."""
    return Reader(str(handle)).shape()


def prune(value: object, shape: Shape) -> object:
    """Return a JSON value without the members that the schema does not declare, and without nulls.

    No rule that type-checks can read what is left out. Values keep their types: one that does not fit
    is refused by Cedar later.
    """
    if isinstance(value, dict) and shape.members is not None:
        declared = shape.members
        return {
            name: prune(item, declared[name])
            for name, item in value.items()
            if name in declared and item is not None
        }
    if isinstance(value, list) and shape.element is not None:
        return [prune(item, shape.element) for item in value]
    return value


@dataclass(frozen=True, slots=True)
class Named:
    """A type by name, to be looked up when all declarations are known."""

    path: str
    namespace: str


Written: TypeAlias = "Named | dict[str, Written] | list[Written]"
"""A type as written: a name, the members of a record, or the one element of a set."""


@dataclass(slots=True)
class WrittenAction:
    namespace: str
    principals: list[str] = field(default_factory=list)
    resources: list[str] = field(default_factory=list)
    context: Written = field(default_factory=dict)


class Reader:
    """Recursive descent over a schema text; raises ValueError for what it does not understand.

    `commons`, `entities` and `actions` hold the declarations as written, by full name.
    """

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        if _deepest(self._tokens) > MAX_NESTING:
            raise ValueError(f"the schema nests deeper than {MAX_NESTING}")
        self._place = 0
        self._resolved: dict[str, Shape] = {}
        self.commons: dict[str, Written] = {}
        self.entities: dict[str, Written] = {}
        self.actions: dict[Uid, WrittenAction] = {}
        self._declarations("")
        if self._place != len(self._tokens):
            raise ValueError("the schema has text after its last declaration")

    def shape(self) -> SchemaShape:
        """Return the declarations with every name looked up."""
        return SchemaShape(
            entities={name: self._resolve(shape) for name, shape in self.entities.items()},
            actions={uid: self._action_shape(action) for uid, action in self.actions.items()},
        )

    def common_named(self, name: Named) -> str | None:
        """Return the full name of the common type that a name stands for, or None for any other type."""
        for full in (_full(name.namespace, name.path), name.path):
            if full in self.commons:
                return full
            if full in self.entities:
                return None
        return None

    def _declarations(self, namespace: str) -> None:
        while self._peek() not in ("", "}"):
            self._skip_annotations()
            keyword = self._next()
            if keyword == "namespace":
                inner = self._next()
                self._expect("{")
                self._declarations(inner)
                self._expect("}")
            elif keyword == "entity":
                self._entity(namespace)
            elif keyword == "type":
                name = _full(namespace, self._next())
                self._expect("=")
                self.commons[name] = self._type(namespace)
                self._expect(";")
            elif keyword == "action":
                self._action(namespace)
            else:
                raise ValueError(f"unknown declaration {keyword!r}")

    def _entity(self, namespace: str) -> None:
        names = self._listed()
        shape: Written = {}
        if self._take("enum"):
            self._bracketed()
        if self._take("in"):
            self._references()
        if self._take("=") or self._peek() == "{":
            shape = self._type(namespace)
        if self._take("tags"):
            self._type(namespace)
        self._expect(";")
        for name in names:
            self.entities[_full(namespace, name)] = shape

    def _action(self, namespace: str) -> None:
        names = [_plain(name) for name in self._listed()]
        action = WrittenAction(namespace)
        if self._take("in"):
            self._references()
        if self._take("appliesTo"):
            self._expect("{")
            while not self._take("}"):
                self._applies_to(action)
        self._expect(";")
        kind = _full(namespace, "Action")
        self.actions.update({(kind, name): action for name in names})

    def _applies_to(self, action: WrittenAction) -> None:
        part = self._next()
        self._expect(":")
        if part == "context":
            action.context = self._type(action.namespace)
        elif part in ("principal", "resource"):
            types = self._references()
            (action.principals if part == "principal" else action.resources).extend(types)
        else:
            raise ValueError(f"unknown part {part!r} of appliesTo")
        self._take(",")

    def _type(self, namespace: str) -> Written:
        if self._peek() == "{":
            return self._record(namespace)
        path = self._next()
        if path in ("Set", "__cedar::Set") and self._take("<"):
            element = self._type(namespace)
            self._expect(">")
            return [element]
        return Named(path, namespace)

    def _record(self, namespace: str) -> Written:
        members: dict[str, Written] = {}
        self._expect("{")
        while not self._take("}"):
            self._skip_annotations()
            name = _plain(self._next())
            self._take("?")
            self._expect(":")
            members[name] = self._type(namespace)
            self._take(",")
        return members

    def _listed(self) -> list[str]:
        names = [self._next()]
        while self._take(","):
            names.append(self._next())
        return names

    def _references(self) -> list[str]:
        """Read one reference or a bracketed list; an entity literal `T::"id"` counts as its type."""
        return self._bracketed() if self._peek() == "[" else [self._reference()]

    def _bracketed(self) -> list[str]:
        found: list[str] = []
        self._expect("[")
        while not self._take("]"):
            found.append(self._reference())
            self._take(",")
        return found

    def _reference(self) -> str:
        name = self._next()
        if name.endswith("::"):
            self._next()
        return name

    def _skip_annotations(self) -> None:
        while self._take("@"):
            self._next()
            if self._take("("):
                self._next()
                self._expect(")")

    def _resolve(self, given: Written) -> Shape:
        if isinstance(given, dict):
            return Shape(members={name: self._resolve(inner) for name, inner in given.items()})
        if isinstance(given, list):
            return Shape(element=self._resolve(given[0]))
        found = self.common_named(given)
        return OPAQUE if found is None else self._common(found)

    def _common(self, name: str) -> Shape:
        """Resolve a common type once, however often it is named."""
        if name not in self._resolved:
            self._resolved[name] = self._resolve(self.commons[name])
        return self._resolved[name]

    def _action_shape(self, action: WrittenAction) -> ActionShape:
        return ActionShape(
            principals=frozenset(self._entity_type(action.namespace, name) for name in action.principals),
            resources=frozenset(self._entity_type(action.namespace, name) for name in action.resources),
            context=self._resolve(action.context),
        )

    def _entity_type(self, namespace: str, name: str) -> str:
        inner = _full(namespace, name)
        return inner if inner in self.entities else name

    def _peek(self) -> str:
        return self._tokens[self._place] if self._place < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        if not token:
            raise ValueError("the schema ends too early")
        self._place += 1
        return token

    def _take(self, token: str) -> bool:
        if self._peek() != token:
            return False
        self._place += 1
        return True

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise ValueError(f"expected {token!r} instead of {self._peek()!r}")


def _tokens(text: str) -> Iterator[str]:
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise ValueError(f"unexpected character {text[place]!r} in the schema")
        place = match.end()
        if match["token"]:
            yield match["token"]


def _deepest(tokens: list[str]) -> int:
    depth = deepest = 0
    for token in tokens:
        depth += (token in "{[(<") - (token in "}])>")
        deepest = max(deepest, depth)
    return deepest


def _full(namespace: str, name: str) -> str:
    return f"{namespace}::{name}" if namespace else name


def _plain(token: str) -> str:
    """Return a name without its quotes and escapes."""
    if not token.startswith('"'):
        return token
    return _ESCAPE.sub(_unescaped, token[1:-1])


def _unescaped(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    return chr(int(code, 16)) if code else _SINGLE.get(match[3], match[3])
