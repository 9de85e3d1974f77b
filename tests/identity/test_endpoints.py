from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from identity.endpoints import is_loopback_host, is_plain_loopback, is_usable_url


@pytest.mark.parametrize(
    "url",
    [
        "https://login.example.com",
        "https://login.example.com/",
        "https://login.example.com:8443/realms/a",
        "https://login.example.com/authorize?tenant=1",
        "https://[2001:db8::1]/x",
    ],
)
def test_https_addresses_are_usable(url: str) -> None:
    assert is_usable_url(url)
    assert is_usable_url(url, plain_loopback=True)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9400",
        "http://localhost/x",
        "http://[::1]:1/",
        "http://127.8.9.1",
        "http://LOCALHOST/",
    ],
)
def test_plain_http_is_usable_on_this_machine_only_and_only_where_allowed(url: str) -> None:
    assert is_plain_loopback(url)
    assert is_usable_url(url, plain_loopback=True)
    assert not is_usable_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "login.example.com",
        "//login.example.com",
        "ftp://login.example.com",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://",
        "https:///path",
        "https://user@login.example.com",
        "https://user:pw@login.example.com",
        "https://login.example.com#frag",
        "https://login.example.com/#",
        "https://login.example.com\\@evil.example",
        "https://login.example.com\n.evil.example",
        "https://login.example.com/ x",
        "https://login.example.com:99999",
        "https://login.example.com:0",
        "https://[::1",
        "https://lögin.example.com",
        "https://login.example.com/" + "a" * 3000,
        "http://login.example.com",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "http://localhost@evil.example",
        "http://0.0.0.0",
        "http://169.254.169.254/",
        "http://10.0.0.1/",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://127.1/",
    ],
)
def test_everything_else_is_not(url: str) -> None:
    assert not is_usable_url(url, plain_loopback=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.255.255.254", "::1", "localhost", "::ffff:127.0.0.1"])
def test_hosts_of_this_machine(host: str) -> None:
    assert is_loopback_host(host)


@pytest.mark.parametrize(
    "host",
    ["", "0.0.0.0", "::", "127.evil", "10.0.0.1", "::ffff:10.0.0.1", "localhost.", "*"],  # noqa: S104 - the addresses this test is about
)
def test_hosts_that_others_reach(host: str) -> None:
    assert not is_loopback_host(host)


@given(st.text(max_size=200))
def test_any_text_is_judged_without_an_error(url: str) -> None:
    assert is_usable_url(url) in (True, False)
