"""Cedar's JSON form of an expression as the text a person would write.

Only for reading: parsed again, the text is the same expression.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from policy.cedar_types import quote

Expression = Mapping[str, Any]

_IF, _OR, _AND, _RELATION, _SUM, _PRODUCT, _UNARY, _MEMBER = range(8)
_BINARY = {
    "||": _OR, "&&": _AND,
    "==": _RELATION, "!=": _RELATION, "<": _RELATION, "<=": _RELATION, ">": _RELATION, ">=": _RELATION,
    "in": _RELATION,
    "+": _SUM, "-": _SUM, "*": _PRODUCT,
}  # fmt: skip
_METHODS = frozenset({"contains", "containsAll", "containsAny", "getTag", "hasTag"})
_CONSTRUCTORS = frozenset({"ip", "decimal", "datetime", "duration"})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = frozenset({"true", "false", "if", "then", "else", "in", "is", "like", "has", "__cedar"})


def text_of(expression: Expression) -> str:
    """Return the expression as Cedar text on one line.

    Raises ValueError for a form this module does not know and RecursionError for one too deep.
    """
    return _bracketed(expression, _IF)


def chain_of(expression: Expression, operator: str) -> tuple[Expression, ...]:
    """Return the operands of a chain of `&&` or `||` from left to right; anything else is one operand."""
    found: list[Expression] = []
    waiting = [expression]
    while waiting:
        one = waiting.pop()
        sides = one.get(operator)
        if sides is None:
            found.append(one)
        else:
            waiting.extend((sides["right"], sides["left"]))
    return tuple(found)


def operator_of(expression: Expression) -> str:
    """Return `&&` or `||` when the expression is a chain of it, else an empty text."""
    return next((operator for operator in ("&&", "||") if operator in expression), "")


def _bracketed(expression: Expression, least: int) -> str:
    """Return the text, in brackets when it binds less than its place asks for."""
    text, strength = _rendered(expression)
    return text if strength >= least else f"({text})"


def _rendered(expression: Expression) -> tuple[str, int]:
    if len(expression) != 1:
        raise ValueError("an expression has one operator")
    ((name, body),) = expression.items()
    if name in ("&&", "||"):
        operands = (_bracketed(one, _BINARY[name] + 1) for one in _left_spine(expression, name))
        return f" {name} ".join(operands), _BINARY[name]
    if name in _BINARY and "left" in body:
        return _binary(name, body), _BINARY[name]
    if name in _METHODS:
        return f"{_bracketed(body['left'], _MEMBER)}.{name}({text_of(body['right'])})", _MEMBER
    render = _FORMS.get(name)
    return render(body) if render is not None else _call(name, body)


def _left_spine(expression: Expression, operator: str) -> list[Expression]:
    """Return the operands of a left-leaning chain; one on the right keeps its own brackets."""
    found: list[Expression] = []
    while operator in expression:
        found.append(expression[operator]["right"])
        expression = expression[operator]["left"]
    return [expression, *reversed(found)]


def _binary(name: str, body: Mapping[str, Any]) -> str:
    strength = _BINARY[name]
    looser = strength + 1 if strength == _RELATION else strength
    return f"{_bracketed(body['left'], looser)} {name} {_bracketed(body['right'], strength + 1)}"


def _value(body: object) -> tuple[str, int]:
    if isinstance(body, bool):
        return ("true" if body else "false"), _MEMBER
    if isinstance(body, int):
        return str(body), _MEMBER if body >= 0 else _UNARY
    if isinstance(body, str):
        return quote(body), _MEMBER
    if isinstance(body, Mapping) and "__entity" in body:
        entity = body["__entity"]
        return f"{entity['type']}::{quote(str(entity['id']))}", _MEMBER
    raise ValueError("an unknown form of value")


def _variable(body: object) -> tuple[str, int]:
    return str(body), _MEMBER


def _not(body: Mapping[str, Any]) -> tuple[str, int]:
    return f"!{_bracketed(body['arg'], _MEMBER)}", _UNARY


def _negative(body: Mapping[str, Any]) -> tuple[str, int]:
    inner = _bracketed(body["arg"], _MEMBER)
    return f"-({inner})" if inner.isdigit() else f"-{inner}", _UNARY


def _attribute(body: Mapping[str, Any]) -> tuple[str, int]:
    left, attribute = _bracketed(body["left"], _MEMBER), str(body["attr"])
    return (f"{left}.{attribute}" if _is_name(attribute) else f"{left}[{quote(attribute)}]"), _MEMBER


def _has(body: Mapping[str, Any]) -> tuple[str, int]:
    attribute = str(body["attr"])
    named = attribute if _is_name(attribute) else quote(attribute)
    return f"{_bracketed(body['left'], _SUM)} has {named}", _RELATION


def _like(body: Mapping[str, Any]) -> tuple[str, int]:
    parts = ("*" if part == "Wildcard" else _literal(part["Literal"]) for part in body["pattern"])
    return f'{_bracketed(body["left"], _SUM)} like "{"".join(parts)}"', _RELATION


def _literal(text: str) -> str:
    return quote(text)[1:-1].replace("*", "\\*")


def _is(body: Mapping[str, Any]) -> tuple[str, int]:
    text = f"{_bracketed(body['left'], _SUM)} is {body['entity_type']}"
    return (f"{text} in {_bracketed(body['in'], _SUM)}" if "in" in body else text), _RELATION


def _if(body: Mapping[str, Any]) -> tuple[str, int]:
    test, then, other = (text_of(body[part]) for part in ("if", "then", "else"))
    return f"if {test} then {then} else {other}", _IF


def _is_empty(body: Mapping[str, Any]) -> tuple[str, int]:
    return f"{_bracketed(body['arg'], _MEMBER)}.isEmpty()", _MEMBER


def _set(body: list[Expression]) -> tuple[str, int]:
    return f"[{', '.join(map(text_of, body))}]", _MEMBER


def _record(body: Mapping[str, Expression]) -> tuple[str, int]:
    members = (f"{quote(name)}: {text_of(value)}" for name, value in body.items())
    return f"{{{', '.join(members)}}}", _MEMBER


def _call(name: str, body: object) -> tuple[str, int]:
    """Return an extension's function; all but the constructors are written as methods."""
    if not _NAME.fullmatch(name) or not isinstance(body, list) or not body:
        raise ValueError(f"an unknown form of expression: {name[:40]}")
    if name in _CONSTRUCTORS:
        return f"{name}({', '.join(map(text_of, body))})", _MEMBER
    return f"{_bracketed(body[0], _MEMBER)}.{name}({', '.join(map(text_of, body[1:]))})", _MEMBER


def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None and text not in _RESERVED


_FORMS: dict[str, Callable[[Any], tuple[str, int]]] = {
    "Value": _value,
    "Var": _variable,
    "!": _not,
    "neg": _negative,
    ".": _attribute,
    "has": _has,
    "like": _like,
    "is": _is,
    "if-then-else": _if,
    "isEmpty": _is_empty,
    "Set": _set,
    "Record": _record,
}
