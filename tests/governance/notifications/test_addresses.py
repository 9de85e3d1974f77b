"""Where webhooks may go."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings, strategies as st

from governance.notifications.addresses import NEVER, Reach, Target, may_connect, parse_target

CLOSED, DEBUG, PRIVATE = Reach(), Reach(plain_loopback=True), Reach(private=True)
ALL = Reach(private=True, plain_loopback=True)
TARGET = Target("https", "hooks.example.com", 443, "/")


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://hooks.example.com", Target("https", "hooks.example.com", 443, "/")),
        ("https://hooks.example.com:8443/a/b?c=d", Target("https", "hooks.example.com", 8443, "/a/b?c=d")),
        ("https://93.184.215.14/x", Target("https", "93.184.215.14", 443, "/x")),
        (
            "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/",
            Target("https", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", 443, "/"),
        ),
    ],
)
def test_a_public_https_address_is_a_target(url: str, target: Target) -> None:
    assert parse_target(url, CLOSED) == target


def test_host_and_port_are_named_as_the_receiver_expects() -> None:
    assert TARGET.authority == "hooks.example.com"
    assert Target("https", "a.example", 8443, "/").authority == "a.example:8443"
    assert Target("http", "::1", 80, "/").authority == "[::1]"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com",
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "file:///etc/passwd",
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254/",
        "https://user@hooks.example.com/",
        "https://user:secret@hooks.example.com/",
        "https://hooks.example.com/#fragment",
        "https://hooks.example.com:0/",
        "https://hooks.example.com:99999/",
        "https://hooks.example.com\\@127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://[fe80::1%25eth0]/",
        "https://10.0.0.1/",
        "https://ho oks.example.com/",
        "https://hooks.example.com/\r\nX-Evil: 1",
        "https://hooks.example.com/" + "a" * 2_000,
    ],
)
def test_what_is_no_target(url: str) -> None:
    assert parse_target(url, CLOSED) is None


def test_plain_http_stays_on_this_machine_and_needs_the_debug_mode() -> None:
    for url in ("http://127.0.0.1:9000/", "http://localhost:9000/", "http://[::1]:9000/"):
        assert parse_target(url, CLOSED) is None
        assert parse_target(url, PRIVATE) is None
        assert parse_target(url, DEBUG) is not None
    assert parse_target("http://10.0.0.1/", ALL) is None
    assert parse_target("http://169.254.169.254/", ALL) is None
    here = Target("http", "localhost", 9000, "/")
    assert may_connect("127.0.0.1", here, DEBUG)
    assert not may_connect("93.184.215.14", here, DEBUG)
    assert not may_connect("127.0.0.1", Target("http", "hooks.example.com", 80, "/"), ALL)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.0.1",
        "168.63.129.16",
        "100.100.100.200",
        "0.0.0.0",  # noqa: S104 - refused, not bound to
        "0.1.2.3",
        "192.0.0.192",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:93.184.215.14",
        "::ffff:0:7f00:1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "fd00:ec2::254",
        "ff02::1",
        "",
        "hooks.example.com",
        "127.1",
    ],
)
def test_what_nothing_opens(address: str) -> None:
    for reach in (CLOSED, DEBUG, PRIVATE, ALL):
        assert not may_connect(address, TARGET, reach)


@pytest.mark.parametrize(
    "address", ["10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd12::1", "127.0.0.1", "::1"]
)
def test_private_addresses_are_opened_by_the_setting_alone(address: str) -> None:
    assert not may_connect(address, TARGET, CLOSED)
    assert not may_connect(address, TARGET, DEBUG), "a public name that leads here is a trick"
    assert may_connect(address, TARGET, PRIVATE)


@pytest.mark.parametrize("address", ["192.0.2.1", "198.51.100.7", "203.0.113.9", "198.18.0.1", "2001:db8::1"])
def test_addresses_of_documentation_and_measurement_are_nobody_s(address: str) -> None:
    assert not may_connect(address, TARGET, ALL)


@settings(max_examples=200, deadline=None)
@given(st.ip_addresses())
def test_an_address_that_is_let_through_is_public(address: object) -> None:
    parsed = ipaddress.ip_address(str(address))
    if may_connect(str(parsed), TARGET, CLOSED):
        assert parsed.is_global
        assert not parsed.is_multicast
        assert not any(parsed in network for network in NEVER if network.version == parsed.version)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40))
def test_reading_a_url_is_total(text: str) -> None:
    for url in (text, f"https://{text}", f"http://{text}"):
        target = parse_target(url, ALL)
        assert target is None or target.host
