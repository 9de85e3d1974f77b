"""A custom tool's argument vector: one element per value, never a shell, never an option by surprise."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from kernel.errors import InvalidError
from policy.argv_template import check_template, expand
from policy.catalog import object_schema

SCHEMA = object_schema(
    {
        "name": {"type": "string"},
        "count": {"type": "integer"},
        "free": {"type": "string", "x-allow-leading-dash": True},
        "files": {"type": "array", "items": {"type": "string"}},
        "object": {"type": "object", "additionalProperties": False},
        "maybe": {"type": "string"},
    },
    ("name", "count", "free", "object"),
)


def test_literals_and_values_become_elements() -> None:
    template = ("/usr/bin/wc", "-l", "{name}", "{count}", "{files...}")
    values = {"name": "a b", "count": 3, "files": ["x", "y z"]}
    assert expand(template, values, SCHEMA) == ("/usr/bin/wc", "-l", "a b", "3", "x", "y z")


def test_shell_text_stays_one_element() -> None:
    assert expand(("/bin/ls", "{name}"), {"name": "; rm -rf /"}, SCHEMA) == ("/bin/ls", "; rm -rf /")


def test_absent_splat_gives_no_element() -> None:
    assert expand(("/bin/ls", "{files...}"), {}, SCHEMA) == ("/bin/ls",)


@pytest.mark.parametrize("value", ["--config=x", "-", "-rf"])
def test_value_that_looks_like_an_option_is_refused(value: str) -> None:
    with pytest.raises(InvalidError) as caught:
        expand(("/bin/ls", "{name}"), {"name": value}, SCHEMA)
    assert caught.value.errors[0].code == "leading_dash"
    assert value not in caught.value.detail or value == "-"


def test_negative_number_and_array_item_are_held_to_the_same_rule() -> None:
    with pytest.raises(InvalidError):
        expand(("/bin/ls", "{count}"), {"count": -1}, SCHEMA)
    with pytest.raises(InvalidError):
        expand(("/bin/ls", "{files...}"), {"files": ["a", "-x"]}, SCHEMA)


def test_leading_dash_passes_after_two_dashes_or_by_the_property() -> None:
    assert expand(("/bin/ls", "--", "{name}"), {"name": "-x"}, SCHEMA)[2] == "-x"
    assert expand(("/bin/ls", "--", "{files...}"), {"files": ["-x", "-y"]}, SCHEMA)[2:] == ("-x", "-y")
    assert expand(("/bin/ls", "{free}"), {"free": "-x"}, SCHEMA)[1] == "-x"


@pytest.mark.parametrize(
    "values", [{}, {"name": None}, {"name": ["a"]}, {"name": {"a": 1}}, {"name": "a\0b"}]
)
def test_values_that_are_no_element_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(InvalidError):
        expand(("/bin/ls", "{name}"), values, SCHEMA)


@pytest.mark.parametrize(
    "template",
    [
        (),
        ("ls",),
        ("{name}",),
        ("/bin/../ls",),
        ("/bin//ls",),
        ("/",),
        ("/bin/{name}",),
        ("/bin/ls", ""),
        ("/bin/ls", "--file={name}"),
        ("/bin/ls", "{name}{count}"),
        ("/bin/ls", "{unknown}"),
        ("/bin/ls", "{maybe}"),
        ("/bin/ls", "{object}"),
        ("/bin/ls", "{files}"),
        ("/bin/ls", "{name...}"),
        ("/bin/ls", "a\0b"),
        ("/bin/ls", "x" * 4097),
        ("/bin/ls", *["a"] * 64),
    ],
)
def test_bad_templates_are_found_and_never_filled(template: tuple[str, ...]) -> None:
    assert list(check_template(template, SCHEMA))
    with pytest.raises(InvalidError):
        expand(template, {"name": "a", "count": 1, "files": []}, SCHEMA)


@given(st.text(), st.lists(st.text(), max_size=5))
def test_every_value_is_exactly_one_element_or_refused(name: str, files: list[str]) -> None:
    values: dict[str, object] = {"name": name, "files": files}
    try:
        argv = expand(("/bin/ls", "{name}", "{files...}"), values, SCHEMA)
    except InvalidError:
        assert any("\0" in text or text.startswith("-") for text in (name, *files))
    else:
        assert argv == ("/bin/ls", name, *files)
