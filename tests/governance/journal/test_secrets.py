from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from governance.safety.secrets import scan

TOKEN = "plr_agt_" + "aB3dE6gH9jK2" + "_" + "x7" * 24 + "q"
KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\n-----END PRIVATE KEY-----"

CUT = [
    (f"run with {TOKEN} please", "run with [redacted:palyra_token] please"),
    (f"Authorization: Bearer {TOKEN}", "Authorization: Bearer [redacted:palyra_token]"),
    ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic [redacted:authorization]"),
    ("authorization=abcdefgh; x", "authorization=[redacted:authorization]; x"),
    ("curl -H 'bearer abc123def456'", "curl -H 'bearer [redacted:bearer]'"),
    ("Set-Cookie: sid=1; Path=/\nnext", "Set-Cookie: [redacted:cookie]\nnext"),
    (f"a\n{KEY}\nb", "a\n[redacted:private_key]\nb"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIE", "[redacted:private_key]"),
    ("postgres://app:hunter2@db/x", "postgres://app:[redacted:url_password]@db/x"),
    ("https://h/?token=abcdef&page=2", "https://h/?token=[redacted:assignment]&page=2"),
    ('{"password":"hunter2", "a"', '{"password":"[redacted:assignment]", "a"'),
    ("export API_KEY=abcd1234 # x", "export API_KEY=[redacted:assignment] # x"),
    ("client_secret = 'abcd1234'", "client_secret = '[redacted:assignment]'"),
    ("use ghp_" + "a1B2" * 9 + ".", "use [redacted:vendor_token]."),
    ("sk-proj-" + "a1B2" * 8, "[redacted:vendor_token]"),
    ("sk_live_" + "a1B2" * 6, "[redacted:vendor_token]"),
    ("AKIAIOSFODNN7EXAMPLE here", "[redacted:vendor_token] here"),
    ("xoxb-1234567890-abcdef", "[redacted:vendor_token]"),
    ("glpat-" + "a1B2" * 5, "[redacted:vendor_token]"),
    ("AIza" + "a1B2" * 8 + "xyz", "[redacted:vendor_token]"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl", "[redacted:vendor_token]"),
    ("token=ghp_" + "a1B2" * 9, "token=[redacted:vendor_token]"),
]
KEPT = [
    "sk-learn-contributors-and-their-guide",
    "AKIAIOSFODNN7EXAMPLEXY",
    "eyJust.a.word",
    "risk-free-living-for-everybody-2026x",
    "",
    "max_tokens: 128000",
    "token: see chapter 4",
    "prompt_tokens=812",
    "the bearer of good instruments",
    "basic functionality",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "call_01JD0000000000000000000000",
    "https://example.org:8443/a@b?page=2",
    "plr_agt_short",
    "tok_01JD0000000000000000000000",
]


@pytest.mark.parametrize(("text", "left"), CUT)
def test_only_the_secret_span_goes(text: str, left: str) -> None:
    scanned = scan(text)
    assert scanned.text == left
    assert scanned.count == 1
    assert scan(left) == type(scanned)(left, 0)


@pytest.mark.parametrize("text", KEPT)
def test_ordinary_text_stays(text: str) -> None:
    assert scan(text) == type(scan(""))(text, 0)


pieces = st.sampled_from(
    [
        TOKEN,
        KEY,
        "password=",
        "token: '",
        "Bearer ",
        "authorization:",
        "x://u:",
        "@",
        "[redacted:",
        "]",
        " ",
        "\n",
    ]
)


@given(st.lists(pieces | st.text(max_size=12), max_size=12).map("".join))
def test_scanning_twice_changes_nothing_more(text: str) -> None:
    once = scan(text)
    assert scan(once.text).text == once.text
    assert TOKEN not in once.text


@pytest.mark.parametrize(
    "unit", ["bearer ", "x://a:", "password='", "plr_agt_", "-----BEGIN PRIVATE KEY-----", "token:        "]
)
def test_hostile_repetition_is_scanned_to_its_end(unit: str) -> None:
    assert isinstance(scan(unit * 20_000).count, int)
