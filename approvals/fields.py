"""What a field of a tool's input is, as far as its schema and its names say.

A schema says text where it means a path, a host or a person, and number where it means an order or a
room; names say the rest. Only what is named as prose is free text and only what is named as a measure is a
quantity: for any other field nothing stands but values that somebody typed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

PROCESS_EXEC = "process_exec"
SECRETS_READ = "secrets_read"
NETWORK = "network"

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_PLACEHOLDER = re.compile(r"[{}]")


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_HOST_FORMATS = _set("uri iri uri-reference hostname idn-hostname ipv4 ipv6")
_SECRET = _set(
    """secret token password passwd passphrase pwd credential authorization cookie bearer otp pin totp
    mnemonic seed apikey privatekey accesskey signature"""
)
_SECRET_NUMBER = _set("pin otp totp passcode cvv cvc ssn")
_SECRET_PAIRS = frozenset({("api", "key"), ("private", "key"), ("access", "key"), ("signing", "key")})
_PATH = _set("path file filename filepath dir directory folder cwd")
_HOST = _set("url uri href link host hostname domain endpoint origin server site proxy webhook callback ip")
_PROGRAM = _set("command cmd program executable exec binary")
_COMMAND = _PROGRAM | _set(
    """argv arg argument script code shell sql query statement expression eval template patch diff stdin env
    environment step macro formula"""
)
_VECTOR = _set("args argv arg argument")
_AMOUNT = _set(
    """amount price total sum cost value balance quantity qty budget fee unit credit payment charge tip
    discount limit rate share"""
)
_ADDRESS = _set("address street city zip postcode country email mail phone iban bic account wallet")
_RECIPIENT = _set(
    """to cc bcc recipient receiver payee beneficiary user username member owner assignee contact channel
    chat room group team audience participant attendee invitee sender from target destination dest source
    customer person people"""
)
_CHOICE = _set(
    """id uuid key name ref reference version tag label branch tool skill entrypoint method operation action
    verb mode scope permission role selector type kind format attachment header field table port"""
)
_PROSE = _set(
    """content text message body note comment description title subject summary reason caption abstract
    remark feedback memo explanation greeting headline reply answer question paragraph prose"""
)
_MEASURE = _set(
    """count size length depth width height max maximum byte kb mb gb ms millisecond second minute hour day
    week month year duration timeout percent ratio score confidence weight temperature top page copy redirect
    retry attempt result row line character pixel delta budget token amount"""
)
_LEAST = _set("min minimum least keep retain retention threshold delay wait interval offset start")
"""Of these, less is more: fewer days to keep remove more."""
_SENT = _set("body payload data request form")
"""What a web request carries is its own recipients and amounts."""


@dataclass(frozen=True, slots=True)
class ToolShape:
    """What patterns read of a tool's definition.

    `schema` is the JSON Schema of the input. `argv_template` is set for a tool that fills a fixed
    command; its first element is the program. `name` appears in sentences only.
    """

    schema: Mapping[str, object]
    capabilities: frozenset[str]
    argv_template: tuple[str, ...] = ()
    name: str = ""

    @property
    def runs_programs(self) -> bool:
        return PROCESS_EXEC in self.capabilities or bool(self.argv_template)


class Kind(StrEnum):
    """What a pattern may say of a field.

    A NUMBER is a measure that may well differ, an AMOUNT one that may be less, a FIGURE one that may be
    the name of something or grow more dangerous downwards.
    """

    BOOLEAN = "boolean"
    NUMBER = "number"
    AMOUNT = "amount"
    FIGURE = "figure"
    TEXT = "text"
    PATH = "path"
    HOST = "host"
    COMMAND = "command"
    ARGV = "argv"
    SECRET = "secret"
    OTHER = "other"


def kind_of(shape: ToolShape, parts: Sequence[str]) -> Kind:
    """Return the kind of the field at a place; OTHER for all that is not clear."""
    names, node = _follow(shape.schema, parts)
    if _is_secret(names or tuple(parts), node):
        return Kind.SECRET
    if node is None or not names:
        return Kind.OTHER
    words = _words(names)
    match node.get("type"):
        case "boolean":
            return Kind.BOOLEAN if not _is_chosen(node) else Kind.OTHER
        case "integer" | "number":
            return _kind_of_number(words, node)
        case "string":
            return _kind_of_text(shape, names, node)
        case "array":
            return _kind_of_list(shape, names, node)
    return Kind.OTHER


def runs_a_program(shape: ToolShape, parameters: Mapping[str, object]) -> bool:
    """Tell whether a call starts a program, by its tool's own account or by a parameter's name."""
    return shape.runs_programs or any(_names_a_program(name) for name in parameters)


def program_of(shape: ToolShape, parameters: Mapping[str, object]) -> object:
    """Return the program a call runs, as far as the call says; None when that is not one fixed text."""
    if shape.argv_template:
        first = shape.argv_template[0]
        return None if _PLACEHOLDER.search(first) else first
    programs = [value for name, value in parameters.items() if _names_a_program(name)]
    if len(programs) == 1:
        return programs[0]
    vector = parameters.get("argv")
    return vector[0] if not programs and isinstance(vector, list) and vector else None


def fields_of(shape: ToolShape, parameters: Mapping[str, object]) -> Iterator[tuple[tuple[str, ...], Kind]]:
    """Yield each top-level parameter with its kind, and those of nested objects, in their order."""
    stack: list[tuple[tuple[str, ...], object]] = [((name,), value) for name, value in parameters.items()]
    while stack:
        parts, value = stack.pop(0)
        if isinstance(value, Mapping) and len(parts) < 8:
            stack[:0] = [((*parts, str(name)), inner) for name, inner in value.items()]
        else:
            yield parts, kind_of(shape, parts)


def _kind_of_text(shape: ToolShape, names: tuple[str, ...], node: Mapping[str, object]) -> Kind:
    words, last = _words(names), _words(names[-1:])
    if not words.isdisjoint(_COMMAND):
        return Kind.COMMAND
    if _is_chosen(node):
        return Kind.OTHER
    if str(node.get("format")) in _HOST_FORMATS or ("format" not in node and not last.isdisjoint(_HOST)):
        return Kind.HOST
    if "format" not in node and not last.isdisjoint(_PATH):
        return Kind.PATH
    return Kind.TEXT if _is_prose(shape, words, node) else Kind.OTHER


def _kind_of_number(words: frozenset[str], node: Mapping[str, object]) -> Kind:
    if _is_chosen(node) or not words.isdisjoint(_CHOICE | _HOST | _RECIPIENT | _ADDRESS):
        return Kind.OTHER
    if not words.isdisjoint(_LEAST):
        return Kind.FIGURE
    if not words.isdisjoint(_AMOUNT):
        return Kind.AMOUNT
    return Kind.FIGURE if words.isdisjoint(_MEASURE) else Kind.NUMBER


def _kind_of_list(shape: ToolShape, names: tuple[str, ...], node: Mapping[str, object]) -> Kind:
    items = node.get("items")
    of_texts = isinstance(items, Mapping) and items.get("type") == "string" and not _is_chosen(items)
    if not of_texts or not shape.runs_programs:
        return Kind.OTHER
    spliced = "{" + names[-1] + "...}" in shape.argv_template and len(names) == 1
    named = not shape.argv_template and not _words(names).isdisjoint(_VECTOR)
    return Kind.ARGV if spliced or named else Kind.OTHER


def _names_a_program(name: str) -> bool:
    return not _words((name,)).isdisjoint(_PROGRAM)


def _is_prose(shape: ToolShape, words: frozenset[str], node: Mapping[str, object]) -> bool:
    """Tell whether a text is free: named as prose and as nothing else, without a format or a choice."""
    if shape.runs_programs or "format" in node or words.isdisjoint(_PROSE):
        return False
    taken = _PATH | _HOST | _AMOUNT | _ADDRESS | _RECIPIENT | _CHOICE
    if NETWORK in shape.capabilities:
        taken |= _SENT
    return words.isdisjoint(taken)


def _is_chosen(node: Mapping[str, object]) -> bool:
    return "enum" in node or "const" in node


def _is_secret(names: Sequence[str], node: Mapping[str, object] | None) -> bool:
    if node is not None and (node.get("writeOnly") is True or node.get("format") == "password"):
        return True
    if node is not None and node.get("type") in ("integer", "number", "boolean"):
        return not _words(names).isdisjoint(_SECRET_NUMBER)
    for name in names:
        words = _split(name)
        if not _SECRET.isdisjoint(map(_singular, words)):
            return True
        if not _SECRET_PAIRS.isdisjoint(pairwise(words)):
            return True
    return False


def _follow(
    schema: Mapping[str, object], parts: Sequence[str]
) -> tuple[tuple[str, ...], Mapping[str, object] | None]:
    """Return the names on the way, without indexes, and the schema at a declared place or None.

    A schema marked secret on the way stands for all beneath it. Members of open maps are not declared:
    an agent names them.
    """
    node: Mapping[str, object] = schema
    names: list[str] = []
    for part in parts:
        properties = node.get("properties")
        inner = node.get("items") if node.get("type") == "array" else None
        if isinstance(properties, Mapping) and part in properties:
            names.append(part)
            inner = properties[part]
        if not isinstance(inner, Mapping):
            return (*names, part), None
        node = inner
        if node.get("writeOnly") is True or node.get("format") == "password":
            return tuple(names), node
    return tuple(names), node


def _words(names: Sequence[str]) -> frozenset[str]:
    return frozenset(form for name in names for word in _split(name) for form in (word, _singular(word)))


def _split(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("ses", "xes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word
