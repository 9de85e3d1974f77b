"""What an answer may say: acceptance 4, 5 and 6 of the approvals part, and every code of §3.5."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings, strategies as st

from approvals.answers import (
    AskedCall,
    bound_pattern,
    checked_answer,
    checked_comment,
    comment_is_required,
    same_answer,
)
from approvals.candidates import PastAsk
from approvals.types import ReviewInput
from kernel.errors import InvalidError, PalyraError, RefusedError
from tests.approvals.shapes import BUILT_IN, RUN, WRITE, pattern

UNDER_APP = pattern(("/path", "path_prefix", "src/app"))
WHOLE = pattern(rest="any")
SOURCE = {"path": "src/app/x.py", "content": "one"}
CALL = AskedCall(SOURCE, WRITE)


def allow(scope: str | None = "once", **more: object) -> ReviewInput:
    return replace(ReviewInput(verdict="allow", scope=scope), **more)  # type: ignore[arg-type]  # test values


def code_of(
    review: ReviewInput,
    risk: str = "medium",
    *,
    max_scope: str = "always",
    call: AskedCall | None = CALL,
    comment_asked: bool = False,
    subject_type: str = "tool",
) -> str:
    """Return the code of the refusal, or an empty text."""
    try:
        checked_answer(
            review,
            risk=risk,
            comment_asked=comment_asked,
            max_scope=max_scope,
            subject_type=subject_type,
            call=call,
        )
    except PalyraError as error:
        return error.code
    return ""


@pytest.mark.parametrize(
    ("review", "risk", "code"),
    [
        (allow(None), "critical", "comment_required"),
        (allow(None, comment="why not"), "critical", ""),
        (allow("session", comment="why not"), "critical", "scope_not_offered"),
        (allow("session"), "high", ""),
        (allow("always", comment="why not"), "high", "scope_not_offered"),
        (allow("always", comment="why not"), "medium", ""),
        (allow("always"), "medium", "comment_required"),
        (allow("always", comment="  a  "), "medium", "comment_required"),
        (allow("always", comment="\u200b\u200b\u200b\u2060"), "medium", "comment_required"),
        (allow("always", comment="x" * 2001), "medium", "invalid"),
        (allow("session", comment="a\0b"), "medium", "invalid"),
        (allow("session", comment="ok"), "medium", ""),
        (allow("forever"), "low", "scope_not_offered"),
        (allow(""), "low", "scope_not_offered"),
        (allow("temporary"), "low", "ttl_required"),
        (allow("temporary", ttl_ms=60_000), "low", ""),
        (allow("temporary", ttl_ms=59_999), "low", "ttl_out_of_range"),
        (allow("temporary", ttl_ms=2_592_000_000), "medium", ""),
        (allow("temporary", ttl_ms=2_592_000_001), "low", "ttl_out_of_range"),
        (allow("temporary", ttl_ms=28_800_000), "high", ""),
        (allow("temporary", ttl_ms=28_800_001), "high", "ttl_out_of_range"),
        (allow("temporary", ttl_ms=0), "low", "ttl_out_of_range"),
        (allow("temporary", ttl_ms=-60_000), "low", "ttl_out_of_range"),
        (allow("temporary", ttl_ms=True), "low", "ttl_out_of_range"),
        (allow("temporary", ttl_ms=60_000.0), "low", "ttl_out_of_range"),
        (allow("temporary", ttl_ms="60000"), "low", "ttl_out_of_range"),
        (allow("once", ttl_ms=60_000), "low", "ttl_not_allowed"),
        (allow("session", ttl_ms=60_000), "low", "ttl_not_allowed"),
        (allow("always", ttl_ms=60_000, comment="why not"), "low", "ttl_not_allowed"),
        (ReviewInput(verdict="deny", comment="why not", ttl_ms=60_000), "low", "ttl_not_allowed"),
        (ReviewInput(verdict="deny"), "low", "comment_required"),
        (ReviewInput(verdict="deny", comment="no!"), "low", ""),
        (ReviewInput(verdict="deny", comment="no!", pattern=UNDER_APP), "low", "pattern_too_broad"),
        (ReviewInput(verdict="maybe", comment="no!"), "low", "invalid"),
    ],
)
def test_the_limits_of_scope_time_and_comment(review: ReviewInput, risk: str, code: str) -> None:
    assert code_of(review, risk) == code


@pytest.mark.parametrize(
    ("review", "risk", "code"),
    [
        (allow("session", pattern=UNDER_APP), "high", ""),
        (allow("temporary", ttl_ms=60_000, pattern=UNDER_APP), "high", ""),
        (allow("once", pattern=UNDER_APP), "low", "pattern_too_broad"),
        (allow("once", pattern=pattern()), "low", ""),
        (allow("session", pattern=pattern(("/path", "path_prefix", "lib"))), "low", "pattern_too_broad"),
        (allow("session", pattern=pattern(("/path", "any"))), "low", "pattern_too_broad"),
        (allow("session", pattern=pattern(("/path", "like", "src"))), "low", "invalid"),
        (allow("session", pattern={}), "low", "invalid"),
        (allow("session", pattern=WHOLE), "medium", ""),
        (allow("session", pattern=WHOLE), "high", "pattern_too_broad"),
        (allow("temporary", ttl_ms=60_000, pattern=WHOLE), "low", "pattern_too_broad"),
        (allow("always", comment="why not", pattern=WHOLE), "low", "pattern_too_broad"),
        (allow("once", pattern=WHOLE), "low", "pattern_too_broad"),
    ],
)
def test_the_limits_of_a_pattern(review: ReviewInput, risk: str, code: str) -> None:
    assert code_of(review, risk) == code


def test_a_tool_that_runs_programs_or_reads_secrets_is_never_allowed_as_a_whole() -> None:
    for name in ("process.run", "http.request"):
        whole = allow("session", pattern=WHOLE)
        assert code_of(whole, "low", call=AskedCall({}, BUILT_IN[name])) == "pattern_too_broad"
    assert code_of(allow("session", pattern=WHOLE), "low", call=AskedCall({}, BUILT_IN["fs.read"])) == ""


def test_a_pattern_needs_a_call_whose_parameters_it_can_be_held_against() -> None:
    assert code_of(allow("session", pattern=UNDER_APP), call=None) == "pattern_too_broad"
    assert code_of(allow("session", pattern=pattern()), call=None) == ""


def test_a_pattern_that_covers_what_was_denied_is_refused() -> None:
    denied = PastAsk({"path": "src/app/keys.py", "content": "one"}, denied=True)
    elsewhere = PastAsk({"path": "lib/keys.py", "content": "one"}, denied=True)
    allowed = replace(denied, denied=False)
    review = allow("session", pattern=UNDER_APP)
    assert code_of(review, call=AskedCall(SOURCE, WRITE, (allowed, elsewhere))) == ""
    assert code_of(review, call=AskedCall(SOURCE, WRITE, (allowed, denied))) == "pattern_covers_denied"
    whole = allow("session", pattern=WHOLE)
    assert code_of(whole, call=AskedCall(SOURCE, WRITE, (elsewhere,))) == "pattern_covers_denied"
    same_call = PastAsk(SOURCE, denied=True)
    assert code_of(allow("session"), call=AskedCall(SOURCE, WRITE, (same_call,))) == ""


@pytest.mark.parametrize("max_scope", ["once", "ever", ""])
def test_the_policy_limits_the_scope(max_scope: str) -> None:
    assert code_of(allow("session"), max_scope=max_scope) == "scope_not_offered"
    assert code_of(allow("once"), max_scope=max_scope) == ""


@pytest.mark.parametrize("subject", ["device_pairing", "policy_activation", "budget_override", "erasure"])
def test_a_single_act_is_allowed_once(subject: str) -> None:
    assert code_of(allow("session"), "low", subject_type=subject) == "scope_not_offered"
    assert code_of(allow("once"), "low", subject_type=subject) == ""


def test_a_policy_may_want_a_comment_with_every_answer() -> None:
    assert code_of(allow(), comment_asked=True) == "comment_required"
    assert code_of(allow(comment="why not"), comment_asked=True) == ""
    assert comment_is_required("low", asked=True)
    assert comment_is_required("critical", asked=False)
    assert comment_is_required("unheard of", asked=False)
    assert not comment_is_required("high", asked=False)


def test_a_comment_is_trimmed_and_as_long_as_its_act_demands() -> None:
    assert checked_comment("  an emergency, really \n", required=True, shortest=20) == "an emergency, really"
    with pytest.raises(InvalidError) as refused:
        checked_comment("an emergency, reall", required=True, shortest=20)
    assert refused.value.code == "comment_required"


def test_a_checked_answer_is_filled_in_and_stored_in_one_form() -> None:
    messy = pattern(("/path", "path_prefix", "./src//app/"), ("/content", "any"))
    checked = checked_answer(
        allow("session", pattern=messy, comment=" ok "),
        risk="high",
        comment_asked=False,
        max_scope="always",
        call=CALL,
    )
    assert checked.comment == "ok"
    assert checked.pattern == pattern(("/content", "any"), ("/path", "path_prefix", "src/app"))
    plain = checked_answer(allow(None, pattern=pattern()), risk="low", comment_asked=False, call=CALL)
    assert (plain.scope, plain.pattern) == ("once", None)
    assert bound_pattern(plain, CALL).is_exact


def test_what_was_checked_can_be_bound() -> None:
    asked = AskedCall({"command": "wc", "args": ["src/a"]}, RUN)
    review = allow("session", pattern=pattern(("/args", "argv", {"under": "src"})))
    checked = checked_answer(review, risk="high", comment_asked=False, max_scope="always", call=asked)
    found = bound_pattern(checked, asked)
    assert found.as_json()["constraints"] == [
        {"pointer": "/args", "op": "argv", "value": {"argv": ["src/a"], "under": "src"}}
    ]


@dataclass
class Stored:
    verdict: str = "allow"
    scope: str = "session"
    comment: str = "ok"
    ttl_ms: int | None = None
    pattern: object = None


def test_the_same_answer_is_the_same_in_any_spelling_of_its_pattern() -> None:
    earlier = Stored(pattern=UNDER_APP)
    again = allow("session", comment=" ok ", pattern=pattern(("/path", "path_prefix", "src/./app")))
    assert same_answer(earlier, again)
    for other in (None, WHOLE, pattern(("/path", "path_prefix", "src")), {"v": 1}):
        assert not same_answer(earlier, replace(again, pattern=other))
    assert same_answer(Stored(), allow("session", comment="ok", pattern=pattern()))
    assert not same_answer(Stored(), allow("session", comment="ok", ttl_ms=60_000))


def test_a_choice_of_one_is_not_a_choice_of_true() -> None:
    earlier = Stored(pattern=pattern(("/n", "one_of", [1, 2])))
    assert not same_answer(
        earlier, allow("session", comment="ok", pattern=pattern(("/n", "one_of", [True, 2])))
    )


texts = st.text(max_size=4) | st.none()


@settings(max_examples=150)
@given(
    st.sampled_from(["allow", "deny", ""]),
    st.sampled_from(["once", "session", "temporary", "always", None, "x"]),
    st.none() | st.integers() | st.floats() | st.booleans(),
    st.sampled_from([None, UNDER_APP, WHOLE, {"v": 1}, pattern(("/content", "any"))]),
    st.sampled_from(["low", "medium", "high", "critical", "x"]),
)
def test_whatever_is_said_is_taken_within_the_table_or_refused(
    verdict: str, scope: str | None, ttl: int | None, sent: dict[str, object] | None, risk: str
) -> None:
    review = ReviewInput(verdict=verdict, scope=scope, ttl_ms=ttl, pattern=sent, comment="because")
    try:
        checked = checked_answer(review, risk=risk, comment_asked=False, max_scope="always", call=CALL)
    except (InvalidError, RefusedError):
        return
    assert (checked.ttl_ms is not None) == (checked.scope == "temporary")
    if checked.pattern is not None:
        assert checked.verdict == "allow"
        assert checked.scope != "once"
        assert checked.pattern["rest"] == "equal" or (
            checked.scope == "session" and risk in {"low", "medium"}
        )
