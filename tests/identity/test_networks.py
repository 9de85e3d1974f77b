from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, strategies as st

from identity.networks import (
    UNKNOWN_NETWORK,
    client_address,
    is_within,
    network_of,
    parse_networks,
)

PROXIES = parse_networks(["10.0.0.0/8", "2001:db8:ffff::/48"])
PROXY = "10.1.2.3"
GARBAGE = [
    "",
    " ",
    "1.2.3",
    "1.2.3.4.5",
    "010.1.1.1",
    "256.1.1.1",
    "::g",
    "1.2.3.4/24",
    "localhost",
    "a" * 5000,
]
addresses = st.ip_addresses().map(str)
strangers = st.ip_addresses().map(str).filter(lambda address: not is_within(address, PROXIES))
proxies = st.integers(0, 2**24 - 1).map(lambda number: str(ipaddress.IPv4Address((10 << 24) + number)))
texts = st.text(alphabet=st.characters(blacklist_characters=","), max_size=60)


@given(strangers, st.text(max_size=200))
def test_whoever_is_no_proxy_is_taken_for_who_they_are_whatever_they_claim(peer: str, claimed: str) -> None:
    assert client_address(peer, claimed, PROXIES) == peer


@given(addresses, st.text(max_size=200))
def test_without_trusted_proxies_the_header_is_nothing(peer: str, claimed: str) -> None:
    assert client_address(peer, claimed, ()) == peer


@given(st.lists(texts, max_size=5), strangers, st.lists(proxies, max_size=4))
def test_only_the_address_next_to_our_proxies_counts(claimed: list[str], real: str, chain: list[str]) -> None:
    forwarded = ", ".join([*claimed, real, *chain])
    expected = ipaddress.ip_address(real)
    mapped = expected.ipv4_mapped if isinstance(expected, ipaddress.IPv6Address) else None
    assert client_address(PROXY, forwarded, PROXIES) == str(mapped or expected)


@given(proxies, st.lists(proxies, min_size=1, max_size=4))
def test_a_chain_of_proxies_alone_leaves_the_peer(peer: str, chain: list[str]) -> None:
    assert client_address(peer, ",".join(chain), PROXIES) == peer


@given(st.text(max_size=3000), st.sampled_from([PROXY, "10.255.0.1", "2001:db8:ffff::1"]))
def test_any_header_at_all_gives_a_real_address_the_peer_or_nobody(forwarded: str, peer: str) -> None:
    found = client_address(peer, forwarded, PROXIES)
    assert found == peer or not is_within(found, PROXIES)
    if found:
        ipaddress.ip_address(found)


@pytest.mark.parametrize("junk", GARBAGE)
def test_an_address_that_cannot_be_read_is_nobodys_and_never_the_proxys(junk: str) -> None:
    assert client_address(PROXY, f"198.51.100.7, {junk}", PROXIES) == ""
    assert network_of(junk) == UNKNOWN_NETWORK
    assert not is_within(junk, PROXIES)


@pytest.mark.parametrize("padding", ["198.51.100.7," * 200, "x" * 5000 + ",", "," * 5000])
def test_no_length_of_what_a_client_claims_hides_the_client(padding: str) -> None:
    assert client_address(PROXY, padding + "203.0.113.9", PROXIES) == "203.0.113.9"


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_ipv6_clothes_is_the_same_address(address: ipaddress.IPv4Address) -> None:
    mapped = f"::ffff:{address}"
    assert network_of(mapped) == network_of(str(address))
    assert is_within(mapped, PROXIES) == is_within(str(address), PROXIES)
    assert client_address(PROXY, mapped, ()) == PROXY


def test_a_mapped_peer_is_recognised_as_the_proxy_it_is() -> None:
    assert client_address("::ffff:10.0.0.9", "198.51.100.7", PROXIES) == "198.51.100.7"


@given(addresses)
def test_a_network_holds_its_address_and_has_the_size_of_its_family(address: str) -> None:
    network = ipaddress.ip_network(network_of(address))
    assert network.prefixlen == (24 if network.version == 4 else 64)
    assert is_within(address, [network])


@pytest.mark.parametrize("text", ["", "10.0.0.0/33", "proxy.example.com", "10.0.0.0/255.0.255.0", "::/129"])
def test_a_list_of_proxies_with_a_fault_is_refused_whole(text: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        parse_networks(["10.0.0.0/8", text])


def test_the_zone_of_an_address_is_dropped() -> None:
    trusted = parse_networks(["10.0.0.0/8"])
    assert client_address("10.0.0.9", "2001:db8::1%<script>", trusted) == "2001:db8::1"
    assert network_of("fe80::1%eth0") == network_of("fe80::2%eth1")
