"""Where a parameter leads, and what an approval of one host covers."""

from __future__ import annotations

import pytest

from approvals.hosts import is_public_suffix, origin_of, read_origin
from approvals.patterns import matches
from kernel.errors import InvalidError
from tests.approvals.shapes import FETCH, bound, custom, text

ASKED = {"url": "https://api.example.com/v1/items?q=1"}


@pytest.mark.parametrize(
    ("url", "covered"),
    [
        ("https://api.example.com/", True),
        ("https://api.example.com", True),
        ("https://api.example.com:443/other", True),
        ("https://API.Example.COM/v2#top", True),
        ("HTTPS://api.example.com/@me", True),
        ("http://api.example.com/", False),
        ("https://api.example.com:8443/", False),
        ("https://example.com/", False),
        ("https://x.api.example.com/", False),
        ("https://api.example.com./", False),
        ("https://api.example.com\u3002/", False),
        ("https://api\u3002example.com/", False),
        ("https://\uff41pi.example.com/", False),
        ("https://api.example.com.evil.test/", False),
        ("https://api.example.com@evil.test/", False),
        ("https://user@api.example.com/", False),
        ("https://user:pass@api.example.com/", False),
        ("https://evil.test#@api.example.com/", False),
        ("https://evil.test/https://api.example.com/", False),
        ("https://evil.test\\@api.example.com/", False),
        ("https:\\\\api.example.com/", False),
        ("https:/api.example.com/", False),
        ("https:api.example.com/", False),
        ("//api.example.com/", False),
        ("api.example.com", False),
        ("https://api.example.com:/", False),
        ("https://api.example.com:99999/", False),
        ("https://api%2eexample.com/", False),
        ("https://api.example.com%00.evil.test/", False),
        ("https://api.example.com\t/", False),
        (" https://api.example.com/", False),
        ("https://api.example.com /", False),
        ("https://\u0430pi.example.com/", False),
        ("https://api.exampl\u0435.com/", False),
        ("https://api.example\u200b.com/", False),
        ("https://xn--pi-7la.example.com/", False),
        ("https://[::1]/", False),
        ("https://127.0.0.1/", False),
        ("https://0x7f.1/", False),
        ("", False),
        (None, False),
        (["https://api.example.com/"], False),
        ("https://api.example.com/" + "a" * 9_000, False),
    ],
)
def test_a_host_is_one_scheme_name_and_port(url: object, covered: bool) -> None:
    found = bound(ASKED, FETCH, ("/url", "host", "https://api.example.com"))
    assert matches(found, {"url": url}) is covered


def test_international_names_are_one_name_in_both_spellings() -> None:
    asked = {"url": "https://bücher.example.com/a"}
    found = bound(asked, FETCH, ("/url", "host", "https://BÜCHER.example.com"))
    assert found.as_json()["constraints"] == [
        {"pointer": "/url", "op": "host", "value": "https://xn--bcher-kva.example.com"}
    ]
    assert matches(found, {"url": "https://xn--bcher-kva.example.com/b"})
    assert not matches(found, {"url": "https://bucher.example.com/b"})


@pytest.mark.parametrize(
    ("asked", "same_place", "another"),
    [
        ("http://127.0.0.1/a", "http://127.0.0.1/b", "http://127.0.0.2/"),
        ("http://[::1]:8080/a", "http://[::1]:8080/b", "http://[0:0:0:0:0:0:0:1]:8080/b"),
        ("http://10.0.0.1/", "http://10.0.0.1:80/", "http://[::ffff:10.0.0.1]/"),
    ],
)
def test_an_address_is_covered_only_as_it_was_approved(asked: str, same_place: str, another: str) -> None:
    origin = origin_of(asked)
    assert origin is not None
    found = bound({"url": asked}, FETCH, ("/url", "host", origin.text()))
    assert matches(found, {"url": same_place})
    assert not matches(found, {"url": another})
    with pytest.raises(InvalidError):
        bound({"url": asked}, FETCH, ("/url", "host_suffix", origin.text()))


@pytest.mark.parametrize(
    ("url", "covered"),
    [
        ("https://api.example.com/", True),
        ("https://www.example.com/", True),
        ("https://a.b.example.com/", True),
        ("https://example.com/", True),
        ("https://badexample.com/", False),
        ("https://example.com.evil.test/", False),
        ("https://example.com./", False),
        ("http://www.example.com/", False),
        ("https://www.example.com:444/", False),
        ("https://com/", False),
    ],
)
def test_a_host_suffix_is_a_name_and_what_lies_beneath_it(url: str, covered: bool) -> None:
    found = bound(ASKED, FETCH, ("/url", "host_suffix", "https://example.com"))
    assert matches(found, {"url": url}) is covered


@pytest.mark.parametrize(
    ("asked", "suffix"),
    [
        ("https://example.com/", "https://com"),
        ("https://a.b.example.com/", "https://example.com"),
        ("https://shop.co.uk/", "https://co.uk"),
        ("https://somebody.github.io/", "https://github.io"),
        ("https://host.internal/", "https://internal"),
        ("https://localhost/", "https://localhost"),
        ("https://公司.cn/", "https://cn"),
        ("https://shop.xn--55qx5d.cn/", "https://公司.cn"),
        ("https://api.example.com/", "https://www.example.com"),
        ("https://api.example.com/", "https://x.api.example.com"),
        ("https://api.example.com/", "https://ample.com"),
    ],
)
def test_a_host_suffix_is_one_label_up_and_nothing_that_anybody_can_join(asked: str, suffix: str) -> None:
    with pytest.raises(InvalidError) as refused:
        bound({"url": asked}, FETCH, ("/url", "host_suffix", suffix))
    assert refused.value.code == "pattern_too_broad"


def test_a_bare_host_name_covers_no_url_and_the_other_way_round() -> None:
    tool = custom({"host": text()}, "network")
    found = bound({"host": "db.example.com:5432"}, tool, ("/host", "host", "DB.example.com:5432"))
    assert matches(found, {"host": "db.example.com:5432"})
    for other in (
        "db.example.com",
        "db.example.com:5433",
        "https://db.example.com:5432",
        "x@db.example.com:5432",
    ):
        assert not matches(found, {"host": other})


@pytest.mark.parametrize(
    "word", ["https://example.com/a", "https://example.com?x", "https://", "a b", "", None]
)
def test_a_typed_host_is_a_host_and_nothing_more(word: object) -> None:
    assert read_origin(word) is None


@pytest.mark.parametrize("host", ["com", "co.uk", "github.io", "internal", "xn--55qx5d.cn", "kawasaki.jp"])
def test_public_suffixes_are_known_without_a_network(host: str) -> None:
    assert is_public_suffix(host)
    assert not is_public_suffix(f"a.b.{host}")
