"""The chain of overrides: stricter wins, locks disable, and nothing narrower loosens a disabled tool."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, strategies as st

from kernel.errors import AuthenticationError, ConflictError, InvalidError
from policy.posture import (
    Place,
    check_loosening,
    effective_posture,
    loosens,
    require_unshadowed,
    scope_chain,
    unavailable,
)
from policy.types import EffectivePosture, PostureRow, PostureState, ScopeKind
from tests.policy.worlds import NOW

CHAIN = scope_chain(workspace_id="wsp_1", agent_id="agt_1", session_id="ses_1")
IDS = dict(CHAIN)
STRICTNESS = ["always_allow", "ask_each_time", "disabled"]


def row(kind: str, state: str, **more: object) -> PostureRow:
    return replace(PostureRow(kind, IDS[kind], state), **more)  # type: ignore[arg-type]  # fields by name


def found(*rows: PostureRow, requires_approval: bool = True, locks: tuple[str, ...] = ()) -> EffectivePosture:
    return effective_posture(
        requires_approval=requires_approval, chain=CHAIN, overrides=rows, locks=locks, now=NOW
    )


def test_default_follows_the_tool_and_is_never_explicit() -> None:
    asks, allows = found(), found(requires_approval=False)
    assert (asks.state, asks.explicit, asks.reason_code) == ("ask_each_time", False, "posture.ask_each_time")
    assert (allows.state, allows.explicit, allows.reason_code) == (
        "always_allow",
        False,
        "posture.always_allow",
    )


def test_narrowest_row_wins() -> None:
    posture = found(row("global", "ask_each_time"), row("session", "always_allow"))
    assert (posture.state, posture.source_scope, posture.explicit) == ("always_allow", "session", True)


def test_row_of_another_agent_does_not_count() -> None:
    assert found(PostureRow("agent", "agt_2", "always_allow")).state == "ask_each_time"


def test_expired_row_does_not_count() -> None:
    expired = row("agent", "always_allow", expires_at=NOW)
    assert found(expired).state == "ask_each_time"
    assert found(replace(expired, expires_at=NOW + timedelta(seconds=1))).state == "always_allow"


def test_disabled_above_stays_disabled() -> None:
    posture = found(row("workspace", "disabled"), row("session", "always_allow"))
    assert (posture.state, posture.source_scope, posture.reason_code) == (
        "disabled",
        "workspace",
        "posture.disabled",
    )


def test_ask_that_may_not_be_overridden_holds() -> None:
    pinned = row("global", "ask_each_time", overridable=False)
    assert found(pinned, row("agent", "always_allow")).state == "ask_each_time"


def test_lock_disables_and_cannot_be_edited() -> None:
    posture = found(row("session", "always_allow"), locks=("No backend.", "Off."))
    assert (posture.state, posture.lock_reason, posture.editable) == ("disabled", "No backend.", False)
    assert posture.reason_code == "posture.locked"


def test_unreadable_overrides_disable() -> None:
    assert unavailable(False).reason_code == "posture.unavailable"
    assert unavailable(False).state == "disabled"


ROWS = st.lists(
    st.builds(
        row,
        st.sampled_from([kind.value for kind in ScopeKind]),
        st.sampled_from([state.value for state in PostureState]),
        overridable=st.booleans(),
    ),
    unique_by=lambda item: item.scope_kind,
    max_size=4,
)


@given(ROWS, st.booleans())
def test_a_disabled_row_anywhere_means_disabled(rows: list[PostureRow], asks: bool) -> None:
    state = found(*rows, requires_approval=asks).state
    if any(item.state == "disabled" for item in rows):
        assert state == "disabled"
    else:
        assert state != "disabled"


@given(ROWS, st.booleans(), st.sampled_from([kind.value for kind in ScopeKind]), st.sampled_from(STRICTNESS))
def test_making_one_row_stricter_never_loosens(
    rows: list[PostureRow], asks: bool, kind: str, stricter: str
) -> None:
    before = found(*rows, requires_approval=asks).state
    others = [item for item in rows if item.scope_kind != kind]
    old = next((item.state for item in rows if item.scope_kind == kind), before)
    if STRICTNESS.index(stricter) >= max(STRICTNESS.index(old), STRICTNESS.index(before)):
        after = found(*others, row(kind, stricter, overridable=False), requires_approval=asks).state
        assert STRICTNESS.index(after) >= STRICTNESS.index(before)


def loosen(
    risk: str, *capabilities: str, days: float | None = 1, otp: bool = True, reason: str = "why"
) -> None:
    check_loosening(
        state="always_allow",
        risk=risk,
        capabilities=frozenset(capabilities),
        reason=reason,
        expires_at=None if days is None else NOW + timedelta(days=days),
        otp_verified_at=NOW - timedelta(minutes=1) if otp else None,
        now=NOW,
    )


def test_high_risk_is_loosened_for_a_while_with_reason_and_code() -> None:
    loosen("medium", "process_exec", days=None, otp=False, reason="")
    loosen("high", days=30)
    loosen("high", "process_exec", days=1)


@pytest.mark.parametrize(
    ("risk", "capabilities", "days", "reason"),
    [
        ("critical", (), 1, "why"),
        ("high", (), None, "why"),
        ("high", (), 31, "why"),
        ("high", ("process_exec",), 1.1, "why"),
        ("high", (), 1, "  "),
    ],
)
def test_too_loose_is_refused(
    risk: str, capabilities: tuple[str, ...], days: float | None, reason: str
) -> None:
    with pytest.raises(InvalidError, match="posture_too_loose"):
        loosen(risk, *capabilities, days=days, reason=reason)


def test_high_risk_without_a_fresh_code_is_refused() -> None:
    with pytest.raises(AuthenticationError, match="step_up_required"):
        loosen("high", otp=False)


PLACES = {
    "global": Place("global", ""),
    "workspace": Place("workspace", "wsp_1", "wsp_1"),
    "agent": Place("agent", "agt_1", "wsp_1", "agt_1"),
    "session": Place("session", "ses_1", "wsp_1", "agt_1"),
}
KINDS = list(PLACES)
TIMED = st.lists(
    st.builds(
        row,
        st.sampled_from(KINDS),
        st.sampled_from(STRICTNESS),
        overridable=st.booleans(),
        expires_at=st.one_of(st.none(), st.integers(-1, 3).map(lambda hours: NOW + timedelta(hours=hours))),
    ),
    unique_by=lambda item: item.scope_kind,
    max_size=4,
)


def test_a_place_knows_its_chain() -> None:
    assert [place.chain for place in PLACES.values()] == [CHAIN[: n + 1] for n in range(4)]
    assert PLACES["session"].broader == CHAIN[:3]
    assert PLACES["global"].broader == ()


@given(TIMED, st.booleans(), st.sampled_from(KINDS), st.integers(0, 4))
def test_a_disabled_row_that_is_live_means_disabled_at_every_moment(
    rows: list[PostureRow], asks: bool, kind: str, hours: int
) -> None:
    at = NOW + timedelta(hours=hours)
    chain = PLACES[kind].chain
    state = effective_posture(requires_approval=asks, chain=chain, overrides=rows, locks=(), now=at).state
    counting = [
        item.state
        for item in rows
        if (item.scope_kind, item.scope_id) in chain and (item.expires_at is None or item.expires_at > at)
    ]
    assert (state == "disabled") is ("disabled" in counting)


def changed(
    kind: str, before: PostureRow | None, after: PostureRow | None, *broader: PostureRow, asks: bool = True
) -> bool:
    return loosens(
        before=before,
        after=after,
        place=PLACES[kind],
        broader=broader,
        requires_approval=asks,
        now=NOW,
    )


@given(TIMED, TIMED, st.booleans(), st.sampled_from(KINDS), st.integers(0, 4))
def test_what_is_not_called_loosening_never_frees_a_tool_at_any_moment_in_any_narrower_scope(
    rows: list[PostureRow], others: list[PostureRow], asks: bool, kind: str, hours: int
) -> None:
    """Whatever stands elsewhere in the chain: a change that needs no code leaves nothing freer."""
    before = next((item for item in rows if item.scope_kind == kind), None)
    after = next((item for item in others if item.scope_kind == kind), None)
    around = [item for item in rows if item.scope_kind != kind]
    broader = [item for item in around if KINDS.index(item.scope_kind) < KINDS.index(kind)]
    if changed(kind, before, after, *broader, asks=asks):
        return
    at = NOW + timedelta(hours=hours)
    for chain in (place.chain for place in PLACES.values()):
        states = [
            effective_posture(
                requires_approval=asks, chain=chain, overrides=[*around, *one], locks=(), now=at
            ).state
            for one in ([before] if before else [], [after] if after else [])
        ]
        assert STRICTNESS.index(states[1]) >= STRICTNESS.index(states[0])


def test_loosening_is_seen_in_time_and_below() -> None:
    off, ask, allow = (row("agent", state) for state in reversed(STRICTNESS))
    assert changed("agent", off, None)
    assert changed("agent", off, replace(off, expires_at=NOW + timedelta(seconds=1)))
    assert changed("agent", ask, replace(ask, overridable=False)) is False
    assert changed("agent", replace(ask, overridable=False), ask)
    assert changed("agent", None, ask, asks=True) is False
    assert changed("agent", None, allow)
    ends = replace(allow, expires_at=NOW + timedelta(hours=1))
    assert changed("agent", ends, replace(allow, expires_at=NOW + timedelta(hours=2)))
    assert changed("agent", allow, ends) is False
    assert changed("agent", allow, allow) is False


def test_a_written_always_allow_is_freer_than_one_by_default() -> None:
    """Only a written one answers for a tool that a workspace calls sensitive."""
    assert changed("agent", None, row("agent", "always_allow"), asks=False)


def test_protection_behind_a_broader_one_is_not_given_away() -> None:
    """Nothing changes now, but it would once the broader row goes."""
    assert changed("agent", row("agent", "disabled"), None, row("workspace", "disabled"))


def test_rows_that_could_never_count_are_refused() -> None:
    off = row("workspace", "disabled")
    pinned = row("workspace", "ask_each_time", overridable=False)
    for state, broader in (("ask_each_time", off), ("always_allow", off), ("always_allow", pinned)):
        with pytest.raises(ConflictError, match="posture_shadowed"):
            require_unshadowed(state, [broader])
    for state, broader in (("disabled", off), ("ask_each_time", pinned), ("disabled", pinned)):
        require_unshadowed(state, [broader])
    require_unshadowed("always_allow", [row("workspace", "ask_each_time")])
