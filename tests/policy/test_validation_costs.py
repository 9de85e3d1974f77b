"""What a text may cost that anybody who reads rules may have checked: the work is bounded too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import cedarpy
import pytest

from policy import positions, source, type_errors
from policy.reading import MAX_FINDINGS, SourceFile
from policy.set_checking import SetText, check_text
from policy.shipped import baseline_files, baseline_ids
from policy.type_errors import MAX_POLICY_COST
from policy.types import Finding
from policy.validation import KnownNames, validate_files
from tests.policy.worlds import SCHEMA, TOOLS

KNOWN = KnownNames(frozenset(TOOLS), frozenset(), frozenset(), baseline_ids())
GET = 'action == Palyra::Action::"cron.get"'
MANY = 1_500


def found(text: str) -> tuple[Finding, ...]:
    return validate_files([SourceFile("a.cedar", text)], SCHEMA, KNOWN)


def listed(what: str, count: int = MANY, scope: str = GET) -> str:
    names = ", ".join(what.format(f"n{number}") for number in range(count))
    return (
        f'@id("abc") permit (principal is Palyra::User, {scope}, resource) when {{ [{names}].contains(1) }};'
    )


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Count how often a statement is read token by token, and how often a name is compared with others."""
    counted = {"read": 0, "compared": 0}

    def counting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **more: Any) -> Any:
            counted[name] += 1
            return real(*given, **more)

        return call

    positions._tokens_of.cache_clear()
    for module in ("policy.positions", "policy.annotations"):
        monkeypatch.setattr(f"{module}.tokens", counting("read", source.tokens))
    for module in ("policy.annotations", "policy.type_errors"):
        monkeypatch.setattr(f"{module}.did_you_mean", counting("compared", type_errors.did_you_mean))
    type_errors.forget()
    yield counted
    type_errors.forget()


def test_a_policy_with_thousands_of_annotations_is_read_once(calls: dict[str, int]) -> None:
    unknown = " ".join(f"@x{number}" for number in range(MANY))
    findings = found(f'{unknown} @id("abc") permit (principal is Palyra::User, {GET}, resource);')
    assert len(findings) == MAX_FINDINGS
    assert calls["read"] <= 2
    assert calls["compared"] <= MAX_FINDINGS


def test_thousands_of_unknown_attributes_are_looked_up_200_times(calls: dict[str, int]) -> None:
    """Each needs a look at its statement and at all names of the schema."""
    findings = found(listed("context.{}"))
    assert len(findings) == MAX_FINDINGS
    assert {one.code for one in findings} == {"type_error"}
    assert calls["compared"] <= MAX_FINDINGS
    assert calls["read"] <= 2 * MAX_FINDINGS + 2  # each name is itself read as tokens


def test_thousands_of_unknown_names_are_placed_200_times(calls: dict[str, int]) -> None:
    findings = found(
        f'@id("abc") permit (principal is Palyra::User, {GET}, resource) when {{ ['
        + ", ".join(f'Palyra::Tool::"n{number}"' for number in range(MANY))
        + '].contains(Palyra::Tool::"echo") };'
    )
    assert len(findings) == MAX_FINDINGS
    assert calls["read"] <= 2 * MAX_FINDINGS + 2


def test_no_flood_of_warnings_hides_that_a_shipped_policy_is_gone() -> None:
    names = " || ".join(f'resource == Palyra::Workspace::"w{number}"' for number in range(40))
    unknown = " ".join(f"@x{number}" for number in range(MANY))
    text = f'{unknown} @id("abc") permit (principal, {GET}, resource) when {{ {names} }};'
    gone = [one.policy_id for one in found(text) if one.code == "policy_removed_baseline"]
    assert gone == sorted(baseline_ids())


def test_more_than_is_ever_shown_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cedar needs a hundred times as long for what is wrong as for what is right."""
    asked: list[str] = []
    real = cedarpy.validate_policies

    def validate(text: str, *given: Any, **more: Any) -> Any:
        asked.append(text)
        return real(text, *given, **more)

    monkeypatch.setattr(cedarpy, "validate_policies", validate)
    monkeypatch.setattr(type_errors, "_PORTION_COST", 1)
    type_errors.forget()
    wrong = listed("context.{}", MAX_FINDINGS + 1)
    text = "\n".join(wrong.replace('"abc"', f'"abc{number}"') for number in range(5))
    assert {one.policy_id for one in found(text)} == {"abc0"}
    assert len(asked) == 1


@pytest.mark.parametrize("scope", ["action", 'action in Palyra::Action::"governance"'])
def test_what_would_take_cedar_too_long_is_refused_unasked(
    scope: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*given: Any, **more: Any) -> None:
        raise AssertionError("Cedar was asked")

    monkeypatch.setattr(cedarpy, "validate_policies", never)
    if scope == "action":
        text = listed("context.{}", 4_000, scope)
    else:
        monkeypatch.setattr(type_errors, "MAX_SET_COST", MAX_POLICY_COST // 100)
        text = listed("context.{}", 2_000, scope)
    errors = [one for one in found(text) if one.severity == "error"]
    assert [(one.code, one.policy_id, one.line) for one in errors] == [("too_large", "abc", 1)]


def test_a_policy_of_64_kib_that_names_its_action_is_not_too_costly() -> None:
    numbers = ", ".join(str(number) for number in range(10_000, 19_000))
    text = (
        f'@id("abc") permit (principal is Palyra::User, {GET}, resource)'
        f" when {{ [{numbers}].contains(context.calls_in_run) }};"
    )
    assert len(text) > 60_000
    assert not [one for one in found(text) if one.severity == "error"]


@pytest.mark.parametrize("name", ["id", "description", "advice", "obligation"])
def test_an_annotation_holds_no_control_character(name: str) -> None:
    """They end up in reasons and logs; PostgreSQL takes no NUL, so that a rule's answer could not be kept."""
    rest = "" if name == "id" else '@id("abc") '
    text = f'{rest}@{name}("a\\0b") permit (principal is Palyra::User, {GET}, resource);'
    assert "bad_annotation" in {one.code for one in found(text) if one.severity == "error"}


def test_an_annotation_may_have_several_lines() -> None:
    text = f'@id("abc") @description("a\n\tb") permit (principal is Palyra::User, {GET}, resource);'
    assert not [one for one in found(text) if one.severity == "error"]


def test_a_kept_check_is_not_that_of_a_tool_which_was_switched_off_since() -> None:
    """Activation promises that the tests of a set pass against the catalog as it is."""
    test = {
        "name": "echo may be called",
        "request": {
            "principal": {"type": "Agent", "id": "a"},
            "action": "tool.execute",
            "resource": {"type": "Tool", "id": "echo"},
        },
        "context": {"input": {"text": "hello"}},
        "entities": {"allowlist": {"tools": ["echo"]}},
        "expect": {"effect": "allow"},
    }
    text = SetText((*baseline_files(), SourceFile("a.test.json", json.dumps([test]))))
    assert check_text(text, TOOLS).errors == ()
    off = TOOLS | {"echo": replace(TOOLS["echo"], enabled=False)}
    assert [one.code for one in check_text(text, off).errors] == ["test_failed"]
