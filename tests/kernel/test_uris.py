"""One URI leads to one place, whoever reads it."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import example, given, settings, strategies as st

from kernel.uris import UriError, UriParts, parse_uri

PLACES = {
    "https://a.example/x?y#z": UriParts("https", "a.example", 443),
    "HTTP://A.Example": UriParts("http", "a.example", 80),
    "https://a.example./": UriParts("https", "a.example", 443),
    "https://a.example:8443": UriParts("https", "a.example", 8443),
    "https://a.example:0443/": UriParts("https", "a.example", 443),
    "https://Bücher.Example/": UriParts("https", "xn--bcher-kva.example", 443),
    "https://XN--BCHER-KVA.example/": UriParts("https", "xn--bcher-kva.example", 443),
    "https://faß.example/": UriParts("https", "xn--fa-hia.example", 443),
    "https://a。example/": UriParts("https", "a.example", 443),
    "http://\uff11\uff12\uff17.0.0.1/": UriParts("http", "127.0.0.1", 80),
    "http://127.0.0.1:8080/": UriParts("http", "127.0.0.1", 8080),
    "http://127.0.0.1./": UriParts("http", "127.0.0.1", 80),
    "http://[::1]/": UriParts("http", "::1", 80),
    "http://[0:0:0:0:0:0:0:1]:81/": UriParts("http", "::1", 81),
    "http://[2001:DB8::A]/": UriParts("http", "2001:db8::a", 80),
    "http://[::ffff:127.0.0.1]/": UriParts("http", "127.0.0.1", 80),
    "http://[::FFFF:7f00:1]/": UriParts("http", "127.0.0.1", 80),
    "https://a.example#@evil.example/": UriParts("https", "a.example", 443),
    "https://a.example?@evil.example/": UriParts("https", "a.example", 443),
    "https://r3---sn-a.example/": UriParts("https", "r3---sn-a.example", 443),
    "https://_under_score.example/": UriParts("https", "_under_score.example", 443),
    "wss://a.example/": UriParts("wss", "a.example", 443),
    "ftp://a.example/": UriParts("ftp", "a.example", 21),
    "redis://cache:6379/0": UriParts("redis", "cache", 6379),
    "urn:a:b": UriParts("urn", "", None),
    "mailto:a@b.example": UriParts("mailto", "", None),
    "file:///etc/passwd": UriParts("file", "", None),
}
REFUSED = (
    "", "a", "//a.example/", "/a", "1http://a/", ":a", "http:", "http:a.example", "http:/a.example",
    "http:///a.example", "http://", "http://:80/", "https://?x", "redis://:80/",
    "https://good.example@evil.example/", "https://@a.example/", "https://u:p@a.example/",
    "https://evil.example\\@good.example/", "https:\\\\a.example\\", "https://a.example\\.evil.example/",
    "https://a.example/\\x", " https://a.example/", "https://a.example/ ", "ht\ntps://a.example/",
    "https://a\t.example/", "https://a.example\r\n.evil.example/", "https://a.example/\x00", "https://a\x7f/",
    "https://a\u00a0b/", "https://a\u200b.example/", "https://a\u00ad.example/", "https://\u202eelpmaxe.a/",
    "https://ex%61mple.example/", "https://a.example%2f.evil.example/", "https://a%00.example/",
    "https://a.example:/", "https://a.example:99999/", "https://a.example:65536/", "https://a.example:-1/",
    "https://a.example:\uff18\uff10/", "https://a.example:80:80/", "https://a.example:0x50/", "https://a:+80/",
    "https://a..example/", "https://.a.example/", "https://a.example../", "https://./", "https://../",
    "https://-a.example/", "https://a-.example/", "https://a,b/", "https://a;b/", "https://a'b/", "https://*/",
    "https://" + "a" * 64 + ".example/", "https://" + "a." * 130 + "example/", "https://℀.example/",
    "https://xn--a.example/", "https://xn--/", "https://xn--bcher-kva\u0301.example/",
    "http://127.1/", "http://127.0.0.1.1/", "http://0177.0.0.1/", "http://0x7f.0.0.1/", "http://0x7f000001/",
    "http://2130706433/", "http://127.0.0.01/", "http://256.0.0.1/", "http://1.2.3/", "http://a.1/",
    "http://a.0x1/", "http://\uff11\uff12\uff17.1/", "http://127。1/",
    "http://[::1/", "http://::1/", "http://[::1]a/", "http://a[::1]/", "http://[a.example]/", "http://[]/",
    "http://[::1%25eth0]/", "http://[fe80::1%eth0]/", "http://[1:2:3:4:5:6:7:8:9]/", "http://[v1.a]/",
    "http://[::127.0.0.01]/",
)  # fmt: skip


@pytest.mark.parametrize(("text", "place"), PLACES.items())
def test_a_plain_uri_has_one_place(text: str, place: UriParts) -> None:
    assert parse_uri(text) == place


@pytest.mark.parametrize("text", REFUSED)
def test_what_readers_could_read_otherwise_is_refused(text: str) -> None:
    with pytest.raises(UriError) as refusal:
        parse_uri(text)
    assert "evil" not in str(refusal.value)


PIECES = st.sampled_from(
    [
        "http", "https", "HTTPS", "ftp", ":", "/", "//", "\\", "@", "?", "#", "%", "%2f", "%40", ".", "..",
        "[", "]", "::1", "::ffff:1.2.3.4", "a.example", "EVIL.example", "127.0.0.1", "0x7f", "1", "80", ":80",
        ":", "xn--bcher-kva", "bücher", "。", "\t", "\n", " ", "\u200d", "_", "-", ";", ",", "é", "ß",
        "K", "ﬁ", "\uff10",
    ]
)  # fmt: skip
uris = st.one_of(
    st.lists(PIECES, max_size=8).map("".join),
    st.lists(PIECES, max_size=5).map(lambda pieces: "https://" + "".join(pieces)),
    st.text(max_size=12).map(lambda text: f"http://{text}/"),
)


def plain(host: str) -> str:
    """Return a host of another reader in our normal form: an address as such, a name without its dot."""
    name = host.lower().removesuffix(".")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name
    return str(getattr(address, "ipv4_mapped", None) or address)


@settings(max_examples=1_500, deadline=None)
@given(uris)
@example("https://a.example:80\\@evil.example/")
@example("http://a.example\uff0f.evil.example/")
def test_other_readers_find_the_same_place_or_none(text: str) -> None:
    try:
        parts = parse_uri(text)
    except UriError:
        return
    if parts.host == "":
        return
    for host, port in filter(None, (by_httpx(text), by_urllib(text))):
        assert (plain(host), port or parts.port) == (parts.host, parts.port)


def by_httpx(text: str) -> tuple[str, int | None] | None:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        return None
    return url.raw_host.decode("ascii"), url.port


def by_urllib(text: str) -> tuple[str, int | None] | None:
    """Return what the standard library finds; it leaves international names as they are."""
    try:
        read = urlsplit(text)
        return (read.hostname, read.port) if (read.hostname or "é").isascii() and read.hostname else None
    except ValueError:
        return None


@settings(max_examples=500, deadline=None)
@given(uris)
def test_the_place_is_a_fixed_point(text: str) -> None:
    try:
        parts = parse_uri(text)
    except UriError:
        return
    if parts.host:
        host = f"[{parts.host}]" if ":" in parts.host else parts.host
        port = "" if parts.port is None else f":{parts.port}"
        assert parse_uri(f"{parts.scheme}://{host}{port}/") == parts
