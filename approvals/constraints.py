"""One constraint of a pattern: what it may say, what it accepts, and which of two accepts more."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NoReturn

from approvals import commands, hosts
from approvals.commands import Argv
from approvals.paths import is_beneath, path_parts
from approvals.pointers import MISSING, parts_of, pointer_of, same
from kernel.canonical import MAX_SAFE_INTEGER, canonical
from kernel.errors import Detail, InvalidError, PalyraError

MAX_CHOICES = 50


class Op(StrEnum):
    EQUALS = "equals"
    ONE_OF = "one_of"
    PATH_PREFIX = "path_prefix"
    HOST = "host"
    HOST_SUFFIX = "host_suffix"
    ARGV = "argv"
    LTE = "lte"
    RANGE = "range"
    ANY = "any"
    ABSENT = "absent"


WITHOUT_VALUE = frozenset({Op.ANY, Op.ABSENT})


@dataclass(frozen=True, slots=True)
class Constraint:
    """What one parameter may be. `value` is JSON in the one form of its op:

    equals: any value; one_of: a list; path_prefix: `src/app`; host, host_suffix: `https://example.com`
    or a bare name; lte: a number; range: `{"gte": 1, "lte": 9}`; argv: `{"argv": [..], "under": "src"}`,
    both null until the pattern is bound to a call. Constraints are equal when their canonical forms are,
    so True is not 1.
    """

    parts: tuple[str, ...]
    op: Op
    value: object = field(default=None, compare=False)
    form: bytes = field(default=b"", repr=False)

    @classmethod
    def of(cls, parts: tuple[str, ...], op: Op, value: object = None) -> Constraint:
        """Return a constraint; InvalidError for a value without a canonical form."""
        return cls(parts, op, value, b"" if op in WITHOUT_VALUE else canonical(value))

    @property
    def pointer(self) -> str:
        return pointer_of(self.parts)

    def as_json(self) -> dict[str, object]:
        bare: dict[str, object] = {"pointer": self.pointer, "op": self.op.value}
        return bare if self.op in WITHOUT_VALUE else bare | {"value": self.value}


def refuse(code: str, detail: str, at: str = "/pattern") -> NoReturn:
    """Raise InvalidError `code` about a place in the request's body."""
    raise InvalidError(code, detail, errors=(Detail(at, code, detail),))


def parse_constraint(value: object, at: str) -> Constraint:
    """Return a constraint from JSON; InvalidError `invalid`, or `pattern_too_broad` past an op's limits."""
    if not isinstance(value, Mapping) or not {"pointer", "op"} <= set(value) <= {"pointer", "op", "value"}:
        refuse("invalid", "A constraint has pointer, op and, for most ops, value.", at)
    parts = parts_of(value["pointer"])
    if parts is None:
        refuse("invalid", "A pointer is a JSON Pointer to a parameter, such as /path.", f"{at}/pointer")
    op = value["op"]
    if not isinstance(op, str) or op not in frozenset(Op):
        refuse("invalid", f"The ops are {', '.join(Op)}.", f"{at}/op")
    if ("value" in value) is (op in WITHOUT_VALUE):
        refuse("invalid", f"The op {op} {'takes no' if op in WITHOUT_VALUE else 'needs a'} value.", at)
    if not _is_kept(value.get("value")):
        refuse("invalid", "A value has no NUL and no number beyond 2^53.", f"{at}/value")
    op = Op(op)
    normal = _NORMAL[op](value["value"], f"{at}/value") if op in _NORMAL else value.get("value")
    if op is Op.RANGE and isinstance(normal, Mapping) and "gte" not in normal:
        op, normal = Op.LTE, _ceiling(normal["lte"], f"{at}/value/lte")
    try:
        return Constraint.of(parts, op, normal)
    except PalyraError:
        refuse("invalid", "The value has no canonical JSON form.", f"{at}/value")


def _is_kept(value: object) -> bool:
    """Tell whether every database gives the value back as it is."""
    match value:
        case str():
            return "\0" not in value
        case int() | float():
            return abs(value) <= MAX_SAFE_INTEGER
        case list():
            return all(map(_is_kept, value))
        case Mapping():
            return all(map(_is_kept, [*value, *value.values()]))
    return True


def accepts(constraint: Constraint, found: object) -> bool:
    """Tell whether a constraint takes what its pointer found. What is missing only `absent` takes."""
    if found is MISSING or constraint.op is Op.ABSENT:
        return found is MISSING and constraint.op is Op.ABSENT
    return _ACCEPTS[constraint.op](constraint.value, found)


def is_within(one: Constraint, other: Constraint) -> bool:
    """Tell whether `other` takes all that `one` takes, both of one pointer; False when not sure."""
    if one == other:
        return True
    if one.op in {Op.EQUALS, Op.ONE_OF}:
        values = one.value if one.op is Op.ONE_OF else [one.value]
        return isinstance(values, list) and all(accepts(other, value) for value in values)
    if other.op is Op.ANY:
        return one.op in {Op.PATH_PREFIX, Op.HOST, Op.HOST_SUFFIX, Op.LTE, Op.RANGE}
    if {one.op, other.op} <= {Op.LTE, Op.RANGE}:
        (low, high), (least, most) = interval(one), interval(other)
        return least <= low and high <= most
    if one.op is Op.PATH_PREFIX and other.op is Op.PATH_PREFIX:
        mine, its = path_parts(one.value), path_parts(other.value)
        return mine is not None and its is not None and is_beneath(mine, its)
    if one.op in {Op.HOST, Op.HOST_SUFFIX} and other.op is Op.HOST_SUFFIX:
        origin, suffix = hosts.origin_of(one.value), hosts.origin_of(other.value)
        return origin is not None and suffix is not None and hosts.is_beneath_host(origin, suffix)
    if one.op is Op.ARGV and other.op is Op.ARGV:
        narrow, wide = argv_of(one.value), argv_of(other.value)
        return narrow is not None and wide is not None and commands.is_within(narrow, wide)
    return False


def weight(constraint: Constraint) -> int:
    """Return how much a constraint opens, 0..4; whatever takes more never weighs less."""
    if constraint.op is Op.PATH_PREFIX:
        return _reach(path_parts(constraint.value) or ())
    if constraint.op is Op.ARGV:
        argv = argv_of(constraint.value)
        return 1 if argv is None or argv.under is None else _reach(argv.under)
    return _WEIGHTS.get(constraint.op, 0)


def _reach(prefix: tuple[str, ...]) -> int:
    return max(2, 5 - len(prefix))


def argv_of(value: object) -> Argv | None:
    """Return the approved vector that an argv constraint holds, or None when it is not bound."""
    if not isinstance(value, Mapping):
        return None
    tokens = commands.tokens_of(value.get("argv"))
    under = value.get("under")
    parts = path_parts(under)
    if tokens is None or (under is not None and not parts):
        return None
    return Argv(tokens, parts)


def interval(constraint: Constraint) -> tuple[float, float]:
    """Return the least and the greatest number of an lte or range constraint."""
    value = constraint.value
    low, high = (value["gte"], value["lte"]) if isinstance(value, Mapping) else (0, value)
    if not is_number(low) or not is_number(high):
        raise TypeError("not the value of an interval")
    return low, high  # type: ignore[return-value]  # is_number told


def is_number(value: object) -> bool:
    """Tell whether a value is a JSON number; a boolean is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _choices(value: object, at: str) -> object:
    if not isinstance(value, list) or not value:
        refuse("invalid", "one_of takes a list of values.", at)
    if len(value) > MAX_CHOICES:
        refuse("pattern_too_broad", f"one_of takes at most {MAX_CHOICES} values.", at)
    if not all(item is None or isinstance(item, str | bool) or is_number(item) for item in value):
        refuse("invalid", "one_of takes texts, numbers, true, false and null.", at)
    forms = {canonical(item): item for item in value}
    return [forms[form] for form in sorted(forms)]


def _prefix(value: object, at: str) -> object:
    parts = path_parts(value)
    if parts is None:
        refuse("invalid", "path_prefix takes a relative path without `..`, `~` and backslash.", at)
    if not parts:
        refuse("pattern_too_broad", "path_prefix needs at least one directory.", at)
    return "/".join(parts)


def _origin(value: object, at: str) -> object:
    origin = hosts.read_origin(value)
    if origin is None:
        refuse("invalid", "A host is https://example.com, perhaps with a port, or a bare name.", at)
    return origin.text()


def _ceiling(value: object, at: str) -> object:
    if not is_number(value):
        refuse("invalid", "lte takes a number.", at)
    if value < 0:  # type: ignore[operator]  # a number
        refuse("pattern_too_broad", "lte takes 0 or more; a range says where a negative one ends.", at)
    return value


def _range(value: object, at: str) -> object:
    if not isinstance(value, Mapping) or not {"lte"} <= set(value) <= {"gte", "lte"}:
        refuse("invalid", "range takes lte and perhaps gte.", at)
    if not all(is_number(bound) for bound in value.values()):
        refuse("invalid", "The ends of a range are numbers.", at)
    if "gte" in value and value["gte"] > value["lte"]:
        refuse("invalid", "gte is not above lte.", at)
    if "gte" in value and value["gte"] < 0 < value["lte"]:
        refuse("pattern_too_broad", "A range does not reach across zero.", at)
    return dict(value)


def _argv(value: object, at: str) -> object:
    given = {} if value is None else value
    if not isinstance(given, Mapping) or not set(given) <= {"argv", "under"}:
        refuse("invalid", "argv takes null or the directory `under` which files may differ.", at)
    tokens, under = given.get("argv"), given.get("under")
    if tokens is not None and commands.tokens_of(tokens) is None:
        refuse("invalid", f"argv is a list of at most {commands.MAX_TOKENS} texts.", at)
    return {"argv": tokens, "under": None if under is None else _prefix(under, f"{at}/under")}


def _takes_choice(value: object, found: object) -> bool:
    return isinstance(value, list) and any(same(item, found) for item in value)


def _takes_path(value: object, found: object) -> bool:
    prefix, parts = path_parts(value), path_parts(found)
    return bool(prefix) and prefix is not None and parts is not None and is_beneath(parts, prefix)


def _takes_host(value: object, found: object) -> bool:
    origin = hosts.origin_of(found)
    return origin is not None and origin == hosts.origin_of(value)


def _takes_host_beneath(value: object, found: object) -> bool:
    origin, suffix = hosts.origin_of(found), hosts.origin_of(value)
    return origin is not None and suffix is not None and hosts.is_beneath_host(origin, suffix)


def _takes_argv(value: object, found: object) -> bool:
    argv = argv_of(value)
    return argv is not None and commands.accepts(argv, found)


def _takes_up_to(value: object, found: object) -> bool:
    return is_number(value) and is_number(found) and 0 <= found <= value  # type: ignore[operator]  # numbers


def _takes_range(value: object, found: object) -> bool:
    if not isinstance(value, Mapping) or not is_number(found):
        return False
    low, high = value.get("gte"), value.get("lte")
    return is_number(low) and is_number(high) and low <= found <= high  # type: ignore[operator]  # numbers


def _takes_scalar(_value: object, found: object) -> bool:
    return isinstance(found, str | bool) or is_number(found)


_NORMAL: Mapping[Op, Callable[[object, str], object]] = {
    Op.ONE_OF: _choices,
    Op.PATH_PREFIX: _prefix,
    Op.HOST: _origin,
    Op.HOST_SUFFIX: _origin,
    Op.ARGV: _argv,
    Op.LTE: _ceiling,
    Op.RANGE: _range,
}
_ACCEPTS: Mapping[Op, Callable[[object, object], bool]] = {
    Op.EQUALS: same,
    Op.ONE_OF: _takes_choice,
    Op.PATH_PREFIX: _takes_path,
    Op.HOST: _takes_host,
    Op.HOST_SUFFIX: _takes_host_beneath,
    Op.ARGV: _takes_argv,
    Op.LTE: _takes_up_to,
    Op.RANGE: _takes_range,
    Op.ANY: _takes_scalar,
}
_WEIGHTS: Mapping[Op, int] = {
    Op.ONE_OF: 1,
    Op.LTE: 1,
    Op.RANGE: 1,
    Op.HOST: 2,
    Op.HOST_SUFFIX: 3,
    Op.ANY: 4,
}
