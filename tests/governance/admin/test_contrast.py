from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

STYLESHEET = Path(__file__).resolve().parents[3] / "static" / "palyra" / "console.css"
TOKEN = re.compile(r"--([a-z-]+): light-dark\((#[0-9A-F]{6}), (#[0-9A-F]{6})\);")
TONES = ("ok", "warn", "bad", "info", "hold", "off")
READABLE = 4.5
PERCEPTIBLE = 3.0
EXPECTED = {
    "bg": ("#F6F7F9", "#0F1218"), "surface": ("#FFFFFF", "#171C25"), "line": ("#C9CFD9", "#3A4352"),
    "line-strong": ("#868F9E", "#6B7688"), "ink": ("#14181F", "#E8ECF3"), "muted": ("#545D6B", "#A1ABBB"),
    "accent": ("#2A4FD0", "#8FA8FF"), "ok-fg": ("#0B6B43", "#6FD8A4"), "ok-bg": ("#E3F4EB", "#12301F"),
    "warn-fg": ("#7A4B00", "#F0C063"), "warn-bg": ("#FCF0D6", "#35270B"), "bad-fg": ("#A8201A", "#FF9C94"),
    "bad-bg": ("#FBE6E4", "#3D1614"), "info-fg": ("#1F4F99", "#93BEFF"), "info-bg": ("#E4EDFB", "#142845"),
    "hold-fg": ("#5B3A9E", "#C7ADFF"), "hold-bg": ("#EEE7FA", "#2A1E48"), "off-fg": ("#4A5260", "#B4BDCB"),
    "off-bg": ("#E9ECF1", "#252C38"),
}  # fmt: skip


def tokens() -> dict[str, tuple[str, str]]:
    return {name: (light, dark) for name, light, dark in TOKEN.findall(STYLESHEET.read_text())}


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


TEXT_PAIRS = [
    *product(("ink", "muted", "accent"), ("bg", "surface")),
    ("on-accent", "accent"),
    *((f"{tone}-fg", f"{tone}-bg") for tone in TONES),
    *((f"{tone}-fg", ground) for tone in TONES for ground in ("bg", "surface")),
    *((word, "off-bg") for word in ("ink", "muted")),
]


def test_the_measure_knows_its_two_ends() -> None:
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#777777", "#777777") == pytest.approx(1)


def test_the_stylesheet_holds_exactly_the_specified_colours() -> None:
    found = tokens()
    assert {name: found[name] for name in EXPECTED} == EXPECTED


@pytest.mark.parametrize(("text", "ground"), TEXT_PAIRS)
@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_text_is_readable_on_every_ground_it_stands_on(text: str, ground: str, scheme: int) -> None:
    found = tokens()
    assert contrast(found[text][scheme], found[ground][scheme]) >= READABLE


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_borders_of_inputs_can_be_seen(scheme: int) -> None:
    found = tokens()
    assert contrast(found["line-strong"][scheme], found["surface"][scheme]) >= PERCEPTIBLE


def test_colours_are_named_once_and_used_by_name() -> None:
    rules = STYLESHEET.read_text().partition("--shadow")[2].partition("@media print")[0]
    assert re.findall(r"#[0-9A-Fa-f]{3,8}\b(?![\w-])", rules) == []


def test_the_stylesheet_is_small() -> None:
    assert len(STYLESHEET.read_bytes()) <= 60 * 1024
    scripts = sum(len(path.read_bytes()) for path in STYLESHEET.parent.glob("*.js"))
    assert scripts <= 20 * 1024
