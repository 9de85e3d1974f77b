"""Charts drawn on the server: numbers in, SVG out. No script, no style attribute, a zero axis.

Every chart has a title and a description for screen readers; the page puts the same numbers into a
hidden table beside it. Series differ by pattern (plain, hatched, dotted) as well as by colour.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

WIDTH, HEIGHT = 720, 196
LEFT, RIGHT, TOP, BOTTOM = 32, 4, 10, 28
EMPTY = SafeString("")


@dataclass(frozen=True, slots=True)
class Series:
    """One layer of the stack: a word, its colour class and one number per column."""

    name: str
    tone: str
    pattern: str
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StackedBars:
    """What `stacked_bars` draws. Every series has as many values as there are labels."""

    title: str
    description: str
    labels: tuple[str, ...]
    series: tuple[Series, ...]


def nice_ceiling(value: int) -> int:
    """Return the smallest of 4, 8, 20, 40, 80, 200 … that is at least `value`; four equal steps fit."""
    power = 1
    while True:
        for step in (4, 8, 20):
            if value <= step * power:
                return step * power
        power *= 10


def stacked_bars(chart: StackedBars) -> SafeString:
    """Return one SVG element: a column per label, its series stacked from zero."""
    top = nice_ceiling(max((sum(column) for column in _columns(chart)), default=0))
    return format_html(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-labelledby="t-{} d-{}">'
        '<title id="t-{}">{}</title><desc id="d-{}">{}</desc>{}{}{}</svg>',
        WIDTH, HEIGHT, *(_slug(chart.title),) * 3, chart.title, _slug(chart.title), chart.description,
        _patterns(chart), _rules(top), _bars(chart, top),
    )  # fmt: skip


def thin_bar(part: float, *, tone: str, label: str) -> SafeString:
    """Return a thin horizontal bar filled to `part` (0 to 1, clamped), with its reading in words."""
    return format_html(
        '<svg class="thin" viewBox="0 0 100 4" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<rect class="ground" width="100" height="4"/><rect class="fill {}" width="{}" height="4"/></svg>',
        label, tone, f"{100 * min(1.0, max(0.0, part)):.1f}",
    )  # fmt: skip


def swatch(series: Series) -> SafeString:
    """Return the little square of a legend, in the colour and pattern of its series."""
    return format_html(
        '<svg class="swatch" viewBox="0 0 10 10" aria-hidden="true">'
        '<rect class="{}" width="10" height="10"/>{}</svg>',
        series.tone,
        _pattern_shapes(series.pattern, 10),
    )


def _columns(chart: StackedBars) -> list[tuple[int, ...]]:
    return list(zip(*(layer.values for layer in chart.series), strict=True))


def _slug(title: str) -> str:
    return "".join(character if character.isalnum() else "-" for character in title.lower())


def _patterns(chart: StackedBars) -> SafeString:
    rows = (
        (f"{_slug(chart.title)}-{layer.tone}", layer.tone, _pattern_shapes(layer.pattern, 6))
        for layer in chart.series
    )
    return format_html(
        "<defs>{}</defs>",
        format_html_join(
            "",
            '<pattern id="p-{}" width="6" height="6" patternUnits="userSpaceOnUse">'
            '<rect class="{}" width="6" height="6"/>{}</pattern>',
            rows,
        ),
    )


def _pattern_shapes(pattern: str, size: int) -> SafeString:
    if pattern == "hatched":
        return format_html('<path class="hatch" d="M-1 {0} {0} -1"/>', size + 1)
    if pattern == "dotted":
        return format_html('<circle class="dot" cx="{0}" cy="{0}" r="1.2"/>', size / 2)
    return EMPTY


def _rules(top: int) -> SafeString:
    rows = []
    for quarter in range(5):
        y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * quarter / 4
        rows.append(
            ("axis" if quarter == 0 else "rule", LEFT, WIDTH - RIGHT, y, y, y + 4, top * quarter // 4)
        )
    return format_html_join(
        "",
        '<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}"/><text x="26" y="{}" text-anchor="end">{}</text>',
        rows,
    )


def _bars(chart: StackedBars, top: int) -> SafeString:
    count = max(1, len(chart.labels))
    pitch = (WIDTH - LEFT - RIGHT) / count
    marks: list[SafeString] = []
    for index, column in enumerate(_columns(chart)):
        x = LEFT + index * pitch
        marks.append(_column(chart, column, x, pitch, top))
        if index % max(1, count // 8) == 0:
            marks.append(
                format_html('<text x="{}" y="{}">{}</text>', f"{x:.1f}", HEIGHT - 6, chart.labels[index])
            )
    return _joined(marks)


def _column(chart: StackedBars, column: Sequence[int], x: float, pitch: float, top: int) -> SafeString:
    scale = (HEIGHT - TOP - BOTTOM) / top
    y = float(HEIGHT - BOTTOM)
    rows = []
    for layer, value in zip(chart.series, column, strict=True):
        if value <= 0:
            continue
        y -= value * scale
        rows.append(
            (f"{x + pitch * 0.14:.1f}", f"{y:.1f}", f"{pitch * 0.72:.1f}", f"{value * scale:.1f}",
             f"{_slug(chart.title)}-{layer.tone}")
        )  # fmt: skip
    return format_html_join("", '<rect x="{}" y="{}" width="{}" height="{}" rx="1" fill="url(#p-{})"/>', rows)


def _joined(parts: Iterable[SafeString]) -> SafeString:
    return format_html_join("", "{}", ((part,) for part in parts))
