"""The scopes of an answer and what each opens: the table of the approvals part, §3.5."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given, settings, strategies as st

from approvals.patterns import EXACT, BoundPattern, bind, matches, narrower_or_equal
from approvals.scopes import (
    RISKS,
    SCOPES,
    Allow,
    NotOffered,
    allowed_scopes,
    grant_terms,
    is_at_most,
    longest_ttl_ms,
    narrowest,
    offered,
)
from approvals.types import Scope, SubjectType
from tests.approvals.shapes import WRITE, bound

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
DAY_MS = 86_400_000
EXACTLY = bind(EXACT, {"path": "src/app/x.py", "content": "one"}, WRITE)


def allowing(*constraints: tuple[object, ...], rest: str = "equal") -> BoundPattern:
    return bound({"path": "src/app/x.py", "content": "one"}, WRITE, *constraints, rest=rest)


NEAR = allowing(("/path", "path_prefix", "src/app"))
WIDE = allowing(("/path", "path_prefix", "src"), ("/content", "any"))
TEXTS = allowing(("/content", "any"))
WHOLE = allowing(rest="any")


@pytest.mark.parametrize(
    ("risk", "scopes"),
    [
        ("low", "once session temporary always"),
        ("medium", "once session temporary always"),
        ("high", "once session temporary"),
        ("critical", "once"),
        ("enormous", "once"),
        ("", "once"),
    ],
)
def test_a_risk_leaves_some_scopes(risk: str, scopes: str) -> None:
    assert allowed_scopes(risk, "always") == set(scopes.split())


@pytest.mark.parametrize(
    ("widest", "count"), [("once", 1), ("session", 2), ("temporary", 3), ("always", 4), ("ever", 1)]
)
def test_a_policy_leaves_no_wider_scope_than_it_says(widest: str, count: int) -> None:
    assert allowed_scopes("low", widest) == set(SCOPES[:count])


@settings(max_examples=60)
@given(
    st.sampled_from(RISKS) | st.text(max_size=3), st.sampled_from(SCOPES), st.sampled_from(list(SubjectType))
)
def test_once_is_always_offered_and_each_refusal_has_its_reason(risk: str, widest: str, subject: str) -> None:
    allowed, refused = allowed_scopes(risk, widest, subject), offered(risk, widest, subject)
    assert Scope.ONCE in allowed
    assert allowed | refused.keys() == set(SCOPES)
    assert not allowed & refused.keys()


def test_reasons_say_what_stands_in_the_way() -> None:
    assert offered("high", "session") == {"temporary": NotOffered.POLICY, "always": NotOffered.RISK}
    assert set(offered("low", "always", "device_pairing").values()) == {NotOffered.SUBJECT}
    assert set(offered("low", "always", "unheard_of")) == {"session", "temporary", "always"}


def test_a_greater_risk_leaves_a_shorter_time() -> None:
    assert [longest_ttl_ms(risk) // 3_600_000 for risk in (*RISKS, "?")] == [720, 720, 8, 8, 8]


def test_an_unknown_risk_is_never_at_most_another() -> None:
    assert is_at_most("low", "medium")
    assert not is_at_most("high", "medium")
    assert not is_at_most("?", "critical")
    assert not is_at_most("low", "?")


@pytest.mark.parametrize(
    ("scope", "ttl_ms", "lasts", "uses"),
    [
        (Scope.ONCE, None, timedelta(minutes=15), 3),
        (Scope.ONCE, 60_000, timedelta(minutes=1), 3),
        (Scope.SESSION, None, timedelta(hours=12), 100),
        (Scope.SESSION, 60_000, timedelta(minutes=1), 100),
        (Scope.TEMPORARY, 60_000, timedelta(minutes=1), 1_000),
        (Scope.TEMPORARY, 30 * DAY_MS, timedelta(days=30), 1_000),
        (Scope.ALWAYS, None, timedelta(days=90), None),
    ],
)
def test_each_scope_has_its_time_and_its_uses(
    scope: Scope, ttl_ms: int | None, lasts: timedelta, uses: int | None
) -> None:
    terms = grant_terms(scope, ttl_ms, covered_calls=3, now=NOW)
    assert (terms.scope, terms.not_before, terms.expires_at - NOW, terms.uses_allowed) == (
        scope,
        NOW,
        lasts,
        uses,
    )


def test_a_session_ends_when_its_session_does() -> None:
    early, late = NOW + timedelta(hours=1), NOW + timedelta(hours=20)
    assert grant_terms(Scope.SESSION, session_ends_at=early, now=NOW).expires_at == early
    assert grant_terms(Scope.SESSION, session_ends_at=late, now=NOW).expires_at == NOW + timedelta(hours=12)


@pytest.mark.parametrize(
    ("scope", "ttl"),
    [(Scope.ONCE, None), (Scope.SESSION, None), (Scope.TEMPORARY, 60_000), (Scope.ALWAYS, None)],
)
def test_a_policy_lowers_the_uses_and_never_raises_them(scope: Scope, ttl: int | None) -> None:
    assert grant_terms(scope, ttl, covered_calls=5, max_uses=2, now=NOW).uses_allowed == 2
    many = grant_terms(scope, ttl, covered_calls=5, max_uses=10_000, now=NOW).uses_allowed
    assert many == {Scope.ONCE: 5, Scope.SESSION: 100, Scope.TEMPORARY: 1_000, Scope.ALWAYS: 10_000}[scope]


@pytest.mark.parametrize(
    "terms",
    [
        {"covered_calls": 0},
        {"max_uses": 0},
        {"scope": Scope.TEMPORARY},
        {"scope": Scope.TEMPORARY, "ttl_ms": 59_999},
        {"scope": Scope.TEMPORARY, "ttl_ms": 30 * DAY_MS + 1},
        {"scope": Scope.SESSION, "session_ends_at": NOW},
    ],
)
def test_terms_that_no_answer_has_are_a_mistake(terms: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"grant|duration"):
        grant_terms(**terms, now=NOW)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(
    ("allows", "scope", "ttl_ms", "pattern"),
    [
        ([Allow(Scope.SESSION, None, NEAR)], Scope.SESSION, None, NEAR),
        ([Allow(Scope.ALWAYS, None, WIDE), Allow(Scope.SESSION, None, NEAR)], Scope.SESSION, None, NEAR),
        ([Allow(Scope.ALWAYS, None, NEAR), Allow(Scope.SESSION, None, WIDE)], Scope.SESSION, None, NEAR),
        (
            [Allow(Scope.TEMPORARY, 90_000, NEAR), Allow(Scope.TEMPORARY, 60_000, NEAR)],
            Scope.TEMPORARY,
            60_000,
            NEAR,
        ),
        (
            [Allow(Scope.TEMPORARY, 60_000, NEAR), Allow(Scope.SESSION, None, NEAR)],
            Scope.SESSION,
            60_000,
            NEAR,
        ),
        ([Allow(Scope.SESSION, None, WHOLE), Allow(Scope.SESSION, None, WIDE)], Scope.SESSION, None, WIDE),
        (
            [Allow(Scope.SESSION, None, NEAR), Allow(Scope.SESSION, None, EXACTLY)],
            Scope.SESSION,
            None,
            EXACTLY,
        ),
        ([Allow(Scope.SESSION, None, NEAR), Allow(Scope.SESSION, None, TEXTS)], Scope.ONCE, None, EXACTLY),
        ([Allow(Scope.SESSION, None, NEAR), Allow(Scope.ONCE, None, EXACTLY)], Scope.ONCE, None, EXACTLY),
        (
            [
                Allow(Scope.SESSION, None, WIDE),
                Allow(Scope.SESSION, None, NEAR),
                Allow(Scope.SESSION, None, TEXTS),
            ],
            Scope.ONCE,
            None,
            EXACTLY,
        ),
    ],
)
def test_of_several_allows_the_least_holds_in_any_order(
    allows: list[Allow], scope: Scope, ttl_ms: int | None, pattern: BoundPattern
) -> None:
    for order in permutations(allows):
        assert narrowest(order) == (scope, ttl_ms, pattern)


answers = st.builds(
    Allow,
    st.sampled_from(SCOPES),
    st.none() | st.integers(60_000, 100_000),
    st.sampled_from([EXACTLY, NEAR, WIDE, TEXTS, WHOLE]),
)


@settings(max_examples=150)
@given(st.lists(answers, min_size=1, max_size=4))
def test_what_holds_goes_beyond_nobody(allows: list[Allow]) -> None:
    scope, ttl_ms, pattern = narrowest(allows)
    assert all(SCOPES.index(scope) <= SCOPES.index(allow.scope) for allow in allows)
    assert all(ttl_ms is not None and ttl_ms <= allow.ttl_ms for allow in allows if allow.ttl_ms is not None)
    assert all(narrower_or_equal(pattern, allow.pattern) for allow in allows)
    assert pattern.is_exact or scope is not Scope.ONCE
    assert matches(pattern, {"path": "src/app/x.py", "content": "one"})


def test_without_an_allow_nothing_holds() -> None:
    with pytest.raises(ValueError, match="nobody"):
        narrowest([])
