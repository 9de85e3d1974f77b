"""What a person reads of a request: everything that matters, whatever a server or an agent wrote into it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings, strategies as st

from palyra_site.cli.approval_words import (
    aligned,
    brief_rows,
    change_lines,
    parameter_rows,
    pattern_line,
    request_rows,
    settled_line,
)
from palyra_site.cli.text import visible

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
PARTS = ("risk_reasons", "warnings", "parameters_view", "requester", "policy", "execution", "new")
CONTEXT = st.dictionaries(st.sampled_from(PARTS), ANY, max_size=5)
FIELDS = ("context", "quorum", "votes", "options", "similar", "decided_by", "ineligible_relation")
REQUEST = st.dictionaries(st.sampled_from(FIELDS), ANY | CONTEXT | st.lists(CONTEXT, max_size=2), max_size=6)


@settings(max_examples=100, deadline=None)
@given(REQUEST)
def test_whatever_a_server_sends_is_shown_or_left_out_and_breaks_nothing(request: dict[str, Any]) -> None:
    for line in (*aligned(request_rows(request)), *aligned(brief_rows(request))):
        assert line == visible(line)
    assert pattern_line(request)
    assert settled_line(request)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(max_size=6), ANY, min_size=1, max_size=4))
def test_every_parameter_is_shown_as_the_json_it_is(view: dict[str, Any]) -> None:
    rows = list(parameter_rows(view))
    assert [json.loads(text) for _, text in rows] == list(_leaves(view))
    for (name, text), line in zip(rows, aligned(rows), strict=True):
        assert name.startswith("parameters.")
        assert visible(text) in line


def _leaves(value: dict[str, Any]) -> Iterator[Any]:
    for one in value.values():
        if isinstance(one, dict) and one:
            yield from _leaves(one)
        else:
            yield one


def test_a_time_among_the_parameters_is_not_turned_into_local_time() -> None:
    rows = parameter_rows({"run_at": "2026-01-05T10:00:00+05:00"})
    assert list(aligned(rows)) == ['parameters.run_at: "2026-01-05T10:00:00+05:00"']


def test_a_parameter_cannot_pass_for_another_row() -> None:
    request = {"risk": "critical", "context": {"parameters_view": {"x": "1\nrisk: low", "\nrisk": "low"}}}
    lines = list(aligned(request_rows(request)))
    assert [line.split() for line in lines if line.startswith("risk")] == [["risk:", "critical"]]
    assert len(lines) == 3


def test_parts_that_say_nothing_are_left_out_and_empty_parameters_are_not() -> None:
    names = [name for name, _ in request_rows({"context": {"skill": None, "parameters_view": {"a": ""}}})]
    assert names == ["parameters.a"]
    assert list(parameter_rows({})) == [("parameters", "{}")]


def test_who_may_not_answer_is_told_why_and_a_code_is_no_reason() -> None:
    refused = {"eligible": False, "ineligible_reason": "self_review", "ineligible_relation": "owner"}
    assert dict(request_rows(refused)) == {"you_may_answer": "no: self_review (owner)"}
    coded = {"eligible": False, "ineligible_reason": "step_up_required", "options": {"step_up": "each"}}
    assert dict(request_rows(coded)) == {"one_time_code": "one for this decision"}


def test_a_change_of_type_is_a_change() -> None:
    assert list(change_lines({"n": 1, "k": True}, {"n": "1", "k": True})) == ['n: 1 -> "1"']
    assert list(change_lines("cut", {"n": 1})) == ["n: (absent) -> 1"]
