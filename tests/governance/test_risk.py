"""The levels of approvals part §3.2: each row of the table, and that nothing lowers a level."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from approvals.types import Risk, SubjectType
from governance.risk import READ_ONLY_PROGRAMS, RiskFacts, assess, highest, is_read_only
from policy.types import ToolCapability
from sandbox.spec import BOOTSTRAP_POLICY

_WRITERS = """
    awk bash cp date env find mkdir mv perl python3 rm rmdir sed sh sort split tee touch uniq xargs
"""
WRITERS = frozenset(_WRITERS.split())
"""Of the programs of a fresh installation: those that write, start something or have an option that does."""


def about(subject: str = "tool", **known: Any) -> RiskFacts:
    return RiskFacts(subject, **known)


ROWS = (
    ("low", about()),
    ("low", about("budget_override", raise_percent=1)),
    ("low", about("budget_override", raise_percent=50)),
    ("low", about("channel_send", own_channel=True)),
    ("medium", about("budget_override", raise_percent=51)),
    ("medium", about("budget_override", raise_percent=100)),
    ("medium", about("secret_access")),
    ("medium", about(capabilities=frozenset({"process_exec"}), tier="C", argv=("/usr/bin/wc", "a"))),
    ("medium", about("browser_action", rated="medium")),
    ("high", about("budget_override", raise_percent=101)),
    ("high", about("budget_override")),
    ("high", about("secret_access", flagged=True)),
    ("high", about(capabilities=frozenset({"filesystem_write"}))),
    ("high", about(capabilities=frozenset({"network"}), sends_body=True)),
    ("low", about(capabilities=frozenset({"network"}))),
    ("high", about(capabilities=frozenset({"process_exec"}), tier="C", argv=("/usr/bin/rm", "a"))),
    ("high", about(capabilities=frozenset({"process_exec"}), tier="C")),
    ("high", about("skill", verified=False)),
    ("high", about("skill")),
    ("low", about("skill", verified=True)),
    ("high", about("device_pairing")),
    ("high", about("node_capability")),
    ("high", about("channel_send")),
    ("high", about("safety_release")),
    ("critical", about(capabilities=frozenset({"process_exec"}), tier="B")),
    ("critical", about(capabilities=frozenset({"process_exec"}), argv=("/usr/bin/wc", "a"))),
    ("critical", about(known=False)),
    ("critical", about(egress_mode="none")),
    ("critical", about("secret_access", capabilities=frozenset({"secrets_read", "network"}))),
    ("critical", about("policy_activation")),
    ("critical", about("erasure")),
    ("critical", about("skill", verified=True, overridden=True)),
    ("critical", about("something_else")),
    ("critical", about(rated="severe")),
)


@pytest.mark.parametrize(("level", "facts"), ROWS)
def test_a_row_of_the_table(level: str, facts: RiskFacts) -> None:
    found = assess(facts)
    assert found.risk == level
    assert all(reason.endswith(".") for reason in found.reasons)


def test_every_kind_of_question_has_a_level_of_its_own_or_that_of_its_tool() -> None:
    for subject in SubjectType:
        assert assess(about(subject, rated="critical")).risk == "critical"


FACTS = st.builds(
    RiskFacts,
    subject_type=st.sampled_from([*SubjectType, "unknown"]),
    rated=st.sampled_from(["", *Risk]),
    known=st.booleans(),
    capabilities=st.frozensets(st.sampled_from(list(ToolCapability))),
    tier=st.sampled_from(["", "A", "B", "C", "none"]),
    egress_mode=st.sampled_from(["strict", "preflight", "none"]),
    argv=st.sampled_from([None, (), ("/usr/bin/cat", "a"), ("/usr/bin/rm",), ("cat",)]),
    sends_body=st.booleans(),
    verified=st.sampled_from([None, True, False]),
    overridden=st.booleans(),
    flagged=st.booleans(),
    own_channel=st.booleans(),
    raise_percent=st.sampled_from([None, 0, 50, 51, 100, 101]),
    asked=st.lists(st.sampled_from(list(Risk)), max_size=2).map(tuple),
)


@settings(max_examples=300)
@given(FACTS, st.sampled_from(list(Risk)), st.sampled_from(list(ToolCapability)))
def test_what_a_rule_a_rating_or_a_capability_adds_never_lowers_the_level(
    facts: RiskFacts, level: Risk, capability: ToolCapability
) -> None:
    before = assess(facts).risk
    for more in (
        replace(facts, asked=(*facts.asked, level)),
        replace(facts, rated=highest((facts.rated, level)) if facts.rated else level),
        replace(facts, capabilities=facts.capabilities | {capability}),
        replace(facts, sends_body=True),
        replace(facts, overridden=True),
        replace(facts, known=False),
        replace(facts, egress_mode="none"),
        replace(facts, flagged=True),
    ):
        assert highest((before, assess(more).risk)) == assess(more).risk
    assert highest((level, assess(replace(facts, asked=(level,))).risk)) != Risk.LOW or level == Risk.LOW


@given(FACTS)
def test_the_reasons_begin_with_those_of_the_highest_floor(facts: RiskFacts) -> None:
    found = assess(facts)
    if found.risk != Risk.LOW:
        assert found.reasons


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("wc", "a"),
        ("/workspace/bin/wc", "a"),
        ("/usr/bin/../../workspace/wc",),
        ("/usr/local/bin/ls",),
        ("/usr/bin/sh", "-c", "ls"),
        ("/usr/bin/env", "ls"),
        ("/usr/bin/find", ".", "-delete"),
        ("/usr/bin/sort", "-o", "a", "a"),
        ("/usr/bin/tee", "a"),
    ],
)
def test_what_only_looks_like_reading_is_not(argv: tuple[str, ...]) -> None:
    assert not is_read_only(argv)


def test_no_program_that_can_write_counts_as_reading() -> None:
    assert READ_ONLY_PROGRAMS.isdisjoint(WRITERS)
    known = frozenset(BOOTSTRAP_POLICY.allowed_executables)
    assert known - WRITERS == READ_ONLY_PROGRAMS & known
