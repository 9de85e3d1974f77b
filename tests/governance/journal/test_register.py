"""The register of events: what it accepts, and that source tree and register name the same facts."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from governance.journal import events
from governance.journal.events import EventName, checked, registered

ROOT = Path(__file__).resolve().parents[3]
PRODUCT = ("kernel", "identity", "policy", "approvals", "sandbox", "vault", "governance", "palyra_site")
FORM = re.compile(r"[a-z][a-z_]*\.[a-z][a-z_]*")
SAMPLES: dict[object, object] = {str: "text", int: 7, bool: True, "Any": {"deep": [1, None]}}
CLOSED = {"state": "completed", "close_code": "done", "reason": ""}


@dataclasses.dataclass(frozen=True)
class Mentioned:
    """Event names a piece of source records: whole ones, and beginnings that an f-string completes."""

    whole: frozenset[str]
    begun: frozenset[str]

    def covers(self, name: str) -> bool:
        return name in self.whole or any(name.startswith(beginning) for beginning in self.begun)


def mentioned(tree: ast.AST) -> Mentioned:
    """Return what stands where an event's name belongs: the `event` keyword, and the first or second
    argument of the functions of this file that hand an `event` parameter on."""
    places = _passing_on(tree)
    found = [node for call in _calls(tree) for node in _names_in(call, places)]
    whole = frozenset(text for node in found for text in _literals(node))
    return Mentioned(whole, frozenset(text for node in found for text in _beginnings(node)))


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _passing_on(tree: ast.AST) -> dict[str, int]:
    """Return the local functions with a positional parameter `event`, and its place."""
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    places = {node.name: [argument.arg for argument in node.args.args] for node in functions}
    return {name: arguments.index("event") for name, arguments in places.items() if "event" in arguments}


def _names_in(call: ast.Call, passing_on: dict[str, int]) -> Iterator[ast.expr]:
    yield from (keyword.value for keyword in call.keywords if keyword.arg == "event")
    place = passing_on.get(call.func.id) if isinstance(call.func, ast.Name) else None
    if place is not None and place < len(call.args):
        yield call.args[place]


def _literals(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.IfExp):
        yield from _literals(node.body)
        yield from _literals(node.orelse)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def _beginnings(node: ast.expr) -> Iterator[str]:
    first = node.values[0] if isinstance(node, ast.JoinedStr) else None
    if isinstance(first, ast.Constant) and str(first.value).endswith("."):
        yield str(first.value)


@cache
def in_the_product() -> Mentioned:
    """Return what the whole product records."""
    files = [path for folder in PRODUCT for path in sorted((ROOT / folder).rglob("*.py"))]
    each = [mentioned(ast.parse(path.read_text(), filename=str(path))) for path in files]
    return Mentioned(
        frozenset().union(*(one.whole for one in each)), frozenset().union(*(one.begun for one in each))
    )


def sample(hint: object) -> object:
    text = str(hint)
    if text.startswith("list["):
        return [["gate", "pass"]] if "list[list" in text else ["one"]
    if text.startswith("dict["):
        return {"verdict": "pass"}
    return SAMPLES.get(hint, SAMPLES["Any"] if "Any" in text else "text" if "str" in text else 7)


def fields_of(name: EventName) -> dict[str, object]:
    hints = events._shape(name)[0]
    return {field: sample(hint) for field, hint in hints.items()}


@pytest.mark.parametrize(
    ("source", "whole", "begun"),
    [
        ("record(event='run.opened')", {"run.opened"}, set()),
        ("record(event='a.b' if x else 'c.d')", {"a.b", "c.d"}, set()),
        ("record(event=f'reservation.{x}')", set(), {"reservation."}),
        ("def tell(record, event): record(event=event)\ntell(record, 'e.f')", {"e.f"}, set()),
        ("print('not.event')", set(), set()),
    ],
)
def test_the_search_finds_what_is_recorded(source: str, whole: set[str], begun: set[str]) -> None:
    assert mentioned(ast.parse(source)) == Mentioned(frozenset(whole), frozenset(begun))


def test_every_recorded_name_is_registered() -> None:
    assert len(in_the_product().whole) > 40
    assert in_the_product().whole - {name.value for name in EventName} == set()


def test_every_name_begun_in_an_f_string_belongs_to_a_family_of_the_register() -> None:
    families = {name.value.partition(".")[0] + "." for name in EventName}
    assert in_the_product().begun <= families


def test_every_registered_name_is_recorded_somewhere() -> None:
    assert [name.value for name in EventName if not in_the_product().covers(name.value)] == []


def test_every_name_is_a_noun_and_a_verb_and_has_one_frozen_shape() -> None:
    assert set(registered()) == set(EventName)
    for name, shape in registered().items():
        assert FORM.fullmatch(name.value)
        assert dataclasses.is_dataclass(shape)
        assert shape.__dataclass_params__.frozen  # type: ignore[attr-defined]  # the stubs omit it


def test_the_register_cannot_be_changed_from_outside() -> None:
    with pytest.raises(TypeError):
        registered()["run.opened"] = str  # type: ignore[index]  # what the test is about


@pytest.mark.parametrize("name", list(EventName))
def test_an_event_takes_exactly_its_fields(name: EventName) -> None:
    good = fields_of(name)
    accepted, fields, _ = checked(name.value, good)
    assert (accepted, fields) == (name, good)
    with pytest.raises(ValueError, match="fields differ"):
        checked(name.value, {**good, "unheard_of": 1})
    for field in good:
        with pytest.raises(ValueError, match=field):
            checked(name.value, {key: value for key, value in good.items() if key != field})


@pytest.mark.parametrize("name", list(EventName))
def test_a_field_of_another_type_is_refused(name: EventName) -> None:
    good = fields_of(name)
    free = {field for field, hint in events._shape(name)[0].items() if str(hint) == "typing.Any"}
    for field in good.keys() - free:
        with pytest.raises(TypeError, match=field):
            checked(name.value, {**good, field: object()})


@pytest.mark.parametrize("event", ["run.exploded", "", "RUN_OPENED", "run.opened ", "run.opened\n"])
def test_an_unknown_name_is_refused(event: str) -> None:
    with pytest.raises(ValueError, match="not a valid EventName"):
        checked(event, CLOSED)


@pytest.mark.parametrize("value", [True, "7", 7.0, None])
def test_a_count_is_an_integer_and_nothing_like_it(value: object) -> None:
    with pytest.raises(TypeError):
        checked("approval.attached", {"version": value})


def test_a_field_that_may_be_absent_is_null_and_not_left_out() -> None:
    fields = fields_of(EventName.APPROVAL_DECIDED) | {"grant": None}
    assert checked("approval.decided", fields)[1]["grant"] is None
