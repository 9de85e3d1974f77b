"""Charts, words, Cedar lines and arguments: pure parts of the console."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from governance.admin.arguments import arguments
from governance.admin.cedar import lines
from governance.admin.charts import HEIGHT, Series, StackedBars, nice_ceiling, stacked_bars, thin_bar
from governance.admin.words import event_words, look, milliseconds, relative, risk_bars, risk_tone, span
from governance.safety.visible import visible
from policy.installation import baseline_files

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
COUNTS = st.lists(st.tuples(*[st.integers(0, 10_000)] * 3), min_size=1, max_size=24)


def chart(columns: list[tuple[int, int, int]], title: str = "Decisions") -> StackedBars:
    looks = (("Allowed", "ok", "plain"), ("Asked", "hold", "hatched"), ("Denied", "bad", "dotted"))
    layers = zip(*columns, strict=True)
    series = tuple(Series(*one, tuple(values)) for one, values in zip(looks, layers, strict=True))
    return StackedBars(title, "words", tuple(f"{n:02d}:00" for n in range(len(columns))), series)


@given(COUNTS)
def test_a_bar_is_as_high_as_its_number_and_stands_on_zero(columns: list[tuple[int, int, int]]) -> None:
    drawing = ET.fromstring(stacked_bars(chart(columns)))  # noqa: S314  # our own output
    bars = [one for one in drawing.iter("rect") if one.get("fill", "").startswith("url(")]
    assert len(bars) == sum(value > 0 for column in columns for value in column)
    top = nice_ceiling(max(sum(column) for column in columns))
    heights = sum(float(bar.get("height", "0")) for bar in bars)
    expected = sum(sum(column) for column in columns) * 158 / top
    assert heights == pytest.approx(expected, abs=0.06 * len(bars) + 0.01)
    assert all(float(bar.get("y", "0")) + float(bar.get("height", "0")) <= HEIGHT for bar in bars)


@given(st.integers(0, 10**9))
def test_the_axis_ends_at_or_above_the_highest_column_in_four_whole_steps(value: int) -> None:
    top = nice_ceiling(value)
    assert top >= value
    assert top % 4 == 0


def test_a_chart_has_words_and_escapes_them() -> None:
    drawing = stacked_bars(chart([(1, 2, 3)], title="<b>&"))
    root = ET.fromstring(drawing)  # noqa: S314  # our own output
    assert [root[0].tag, root[0].text, root[1].tag] == ["title", "<b>&", "desc"]
    assert not re.search(r"\s(style|on\w+)=", drawing)


@given(st.floats(allow_nan=False), st.text(max_size=20))
def test_a_thin_bar_never_leaves_its_frame(part: float, label: str) -> None:
    found = re.search(r'class="fill ok" width="([\d.]+)"', thin_bar(part, tone="ok", label=label))
    assert found is not None
    assert 0 <= float(found[1]) <= 100


@given(st.text(max_size=200))
def test_the_lines_of_a_policy_file_give_the_text_back(text: str) -> None:
    rows = lines(text)
    assert "\n".join("".join(piece for _, piece in row.pieces) for row in rows) == text
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))


def test_every_shipped_rule_can_be_linked_to() -> None:
    text = "\n".join(file.text for file in baseline_files())
    linked = [row.policy_id for row in lines(text) if row.policy_id]
    assert linked == re.findall(r'@id\("([^"]+)"\)', text)
    assert len(linked) == len(set(linked)) >= 9


def test_keywords_and_strings_are_told_apart() -> None:
    (line,) = lines('permit (principal) when { "forbid" == 1 }; // in')
    pieces = {text: css for css, text in line.pieces}
    assert pieces["permit"] == "tok-k"
    assert pieces["principal"] == "tok-n"
    assert pieces['"forbid"'] == "tok-s"
    assert pieces["// in"] == "tok-c"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_arguments_are_total_and_hide_nothing(value: object) -> None:
    for argument in arguments(value):
        assert argument.text == visible(argument.text)
        assert argument.name == visible(argument.name)


def test_arguments_follow_the_schema_and_show_a_command_as_words() -> None:
    schema = {"properties": {"argv": {"title": "Command"}, "cwd": {"description": "Where"}}}
    found = arguments({"cwd": "src", "argv": ["rm", "-rf", "a b"], "extra": 1}, schema)
    assert [(one.title, one.text, one.note) for one in found] == [
        ("Command", "rm\n-rf\n'a b'", "One word per line."),
        ("cwd", "src", "Where"),
        ("extra", "1", ""),
    ]


def test_a_cut_argument_says_how_long_the_whole_is() -> None:
    (found,) = arguments({"text": {"_head": "abc", "_truncated": True, "bytes": 9000, "sha256": "0"}})
    assert (found.text, found.note) == ("abc", "Cut; the whole has 9000 bytes.")


def test_an_unknown_risk_looks_like_the_worst() -> None:
    assert (risk_bars("odd"), risk_tone("odd")) == (4, "bad")
    assert [risk_bars(one) for one in ("low", "medium", "high", "critical")] == [1, 2, 3, 4]


def test_an_unknown_state_shows_its_own_word() -> None:
    assert look("half_done").word == "Half done"
    assert event_words("tool_call.decided").word == "Tool call decided"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (720, "12 min"),
        (12_000, "3 h 20 min"),
        (7_200, "2 h"),
        (500_000, "5 d"),
        (-5, "0 s"),
    ],
)
def test_spans_read_as_people_say_them(seconds: int, words: str) -> None:
    assert span(timedelta(seconds=seconds)) == words


def test_moments_are_told_from_the_page_clock() -> None:
    assert relative(NOW - timedelta(minutes=3), NOW) == "3 min ago"
    assert relative(NOW + timedelta(minutes=3), NOW) == "in 3 min"
    assert relative(NOW, NOW) == "just now"
    assert [milliseconds(value) for value in (0.4, 32, 1200)] == ["0.4 ms", "32 ms", "1.2 s"]
