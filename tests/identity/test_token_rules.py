from __future__ import annotations

import ipaddress
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given, strategies as st

from identity.roles import AGENT_PERMISSIBLE, Permission
from identity.token_rules import (
    AGENT_GROUP,
    COMPAT_GROUP,
    LONGEST_DAYS,
    granted_scopes,
    life,
    may_hold,
    rebounded_scopes,
    require_label,
    require_networks,
    require_overlap,
    require_rate,
)
from identity.tokens import TokenKind
from kernel.errors import InvalidError, PalyraError, RefusedError

EVERYTHING = frozenset(Permission)
kinds = st.sampled_from(TokenKind)
held = st.frozensets(st.sampled_from(sorted(Permission)))
wishes = st.lists(
    st.one_of(
        st.sampled_from(sorted(Permission)), st.sampled_from(["agent", "compat", "readonly", "no.such"])
    )
)


@given(kinds, wishes, held)
def test_no_wish_gives_more_than_the_minter_holds_and_the_kind_may_hold(
    kind: TokenKind, wanted: list[str], minter: frozenset[Permission]
) -> None:
    try:
        granted = granted_scopes(kind, wanted, minter)
    except PalyraError:
        return
    assert granted
    assert set(granted) <= minter & may_hold(kind)
    assert granted == sorted(set(granted))


@given(kinds, held, held)
def test_a_successor_never_holds_more_than_its_predecessor(
    kind: TokenKind, scopes: frozenset[Permission], minter: frozenset[Permission]
) -> None:
    expected = scopes & minter & may_hold(kind)
    if expected:
        assert set(rebounded_scopes(kind, [*scopes, "no.such"], minter)) == expected
        return
    with pytest.raises(InvalidError, match="scopes_empty"):
        rebounded_scopes(kind, [*scopes, "no.such"], minter)


def test_only_tokens_of_people_may_hold_what_governs() -> None:
    assert may_hold(TokenKind.USER) == may_hold(TokenKind.ADMIN) == EVERYTHING
    assert may_hold(TokenKind.AGENT) == may_hold(TokenKind.SERVICE) == AGENT_PERMISSIBLE
    assert not any(scope.endswith(".manage") for scope in AGENT_PERMISSIBLE)


def test_groups_stand_for_what_they_name() -> None:
    assert granted_scopes(TokenKind.AGENT, ["agent"], EVERYTHING) == sorted(AGENT_GROUP)
    assert granted_scopes(TokenKind.AGENT, ["compat", "agent"], EVERYTHING) == sorted(
        AGENT_GROUP + COMPAT_GROUP
    )
    assert len(COMPAT_GROUP) == 5


def test_readonly_is_every_read_that_the_minter_holds_and_no_more() -> None:
    some = frozenset({Permission.RUNS_READ, Permission.POLICY_READ, Permission.RUNS_CREATE})
    assert granted_scopes(TokenKind.USER, ["readonly"], some) == ["policy.read", "runs.read"]
    assert granted_scopes(TokenKind.AGENT, ["readonly"], some) == ["runs.read"]
    with pytest.raises(InvalidError, match="scopes_empty"):
        granted_scopes(TokenKind.USER, ["readonly"], frozenset({Permission.RUNS_CREATE}))


@pytest.mark.parametrize(
    ("kind", "wanted", "error", "code", "pointers"),
    [
        (TokenKind.USER, [], InvalidError, "scopes_empty", []),
        (TokenKind.USER, ["runs.read", "nope"], InvalidError, "unknown_scope", ["/scopes/1"]),
        (TokenKind.USER, ["RUNS.READ"], InvalidError, "unknown_scope", ["/scopes/0"]),
        (TokenKind.USER, ["*"], InvalidError, "unknown_scope", ["/scopes/0"]),
        (TokenKind.SERVICE, ["runs.read", "approvals.decide"], InvalidError, "invalid", ["/scopes/1"]),
        (TokenKind.AGENT, ["vault.get"], InvalidError, "invalid", ["/scopes/0"]),
        (
            TokenKind.USER,
            ["runs.read", "policy.activate"],
            RefusedError,
            "scope_exceeds_minter",
            ["/scopes/1"],
        ),
        (TokenKind.AGENT, ["compat"], RefusedError, "scope_exceeds_minter", ["/scopes/0"] * 5),
        (TokenKind.USER, ["runs.read"] * 101, InvalidError, "invalid", ["/scopes"]),
    ],
)
def test_a_scope_that_cannot_be_given_is_named(
    kind: TokenKind, wanted: list[str], error: type[PalyraError], code: str, pointers: list[str]
) -> None:
    with pytest.raises(error) as caught:
        granted_scopes(kind, wanted, frozenset({Permission.RUNS_READ}))
    assert caught.value.code == code
    assert [item.pointer for item in caught.value.errors] == pointers


@pytest.mark.parametrize(
    ("kind", "days"),
    [(TokenKind.AGENT, 90), (TokenKind.USER, 30), (TokenKind.SERVICE, 90), (TokenKind.ADMIN, 7)],
)
def test_each_kind_has_its_default_life_and_its_longest(kind: TokenKind, days: int) -> None:
    assert life(kind, None) == timedelta(days=days)
    assert life(kind, LONGEST_DAYS[kind]) == timedelta(days=30 if kind is TokenKind.ADMIN else 366)
    for beyond in (0, -1, LONGEST_DAYS[kind] + 1):
        with pytest.raises(InvalidError):
            life(kind, beyond)


def test_networks_are_read_in_their_common_form() -> None:
    assert require_networks(["10.1.2.3/8", " 192.0.2.1 ", "10.0.0.0/8", "2001:DB8::/32"]) == [
        "10.0.0.0/8",
        "192.0.2.1/32",
        "2001:db8::/32",
    ]
    assert require_networks([]) == []


@given(st.lists(st.ip_addresses(), max_size=32))
def test_every_network_that_is_kept_can_be_read_again(addresses: list[object]) -> None:
    kept = require_networks([str(address) for address in addresses])
    assert all(str(ipaddress.ip_network(text)) == text for text in kept)


@pytest.mark.parametrize("text", ["", "10.0.0.0/33", "10.0.0", "example.com", "::/129", "10.0.0.0/8\0", "/8"])
def test_what_is_no_network_is_pointed_at(text: str) -> None:
    with pytest.raises(InvalidError) as caught:
        require_networks(["10.0.0.0/8", text])
    assert caught.value.errors[0].pointer == "/allowed_networks/1"


@pytest.mark.parametrize(
    "ask",
    [
        lambda: require_networks(["10.0.0.0/8"] * 33),
        lambda: require_rate(9),
        lambda: require_rate(10_001),
        lambda: require_overlap(-1),
        lambda: require_overlap(86_401),
        lambda: require_label(" "),
        lambda: require_label("x" * 81),
        lambda: require_label("a\0b"),
        lambda: require_label("a\nb"),
        lambda: require_label("a\u202eb"),
    ],
)
def test_values_outside_the_rules_are_refused(ask: Callable[[], object]) -> None:
    with pytest.raises(InvalidError):
        ask()


def test_values_at_the_edges_pass() -> None:
    assert (require_rate(10), require_rate(10_000)) == (10, 10_000)
    assert (require_overlap(0), require_overlap(86_400)) == (timedelta(0), timedelta(days=1))
    assert require_label("  x  ") == "x"
