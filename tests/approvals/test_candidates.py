"""Which patterns are offered, in which words, and what they would have covered."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings, strategies as st

from approvals.candidates import Candidate, PastAsk, candidates, pattern_covers_denied
from approvals.fields import ToolShape
from approvals.patterns import breadth, matches
from approvals.sentences import sentence
from tests.approvals.shapes import BUILT_IN, FETCH, PAY, RUN, WRITE, bound

SOURCE = {"path": "src/app/x.py", "content": "one"}


def sentences(parameters: Mapping[str, object], tool: ToolShape, risk: str = "high") -> list[str]:
    return [candidate.sentence for candidate in candidates(parameters, tool, (), risk=risk)]


def source(path: str, content: str = "one", *, denied: bool = False) -> PastAsk:
    return PastAsk({"path": path, "content": content}, denied)


def test_a_write_is_offered_by_its_directory_and_its_content() -> None:
    assert sentences(SOURCE, WRITE) == [
        "Exactly this call",
        "fs.write under src/app, all else the same",
        "fs.write, content may differ, all else the same",
        "fs.write under src/app, content may differ, all else the same",
        "fs.write under src, content may differ, all else the same",
    ]


@pytest.mark.parametrize(
    ("parameters", "tool", "wider"),
    [
        (
            {"url": "https://api.example.com/v1?q=1", "method": "GET"},
            FETCH,
            ["http.fetch anywhere on https://api.example.com, all else the same"],
        ),
        (
            {"command": "wc", "args": ["-l", "src/app/x.py", "src/app/lib/y.py"]},
            RUN,
            ["process.run wc, args may name other files under src/app, all else the same"],
        ),
        ({"command": "bash", "args": ["-c", "wc src/app/x.py"], "timeout_ms": 10}, RUN, []),
        ({"command": "wc", "args": ["-l", "x.py"]}, RUN, []),
        ({"command": "wc", "args": ["../x/y"]}, RUN, []),
        ({"command": "rm", "args": ["build"], "cwd": "a/b/c"}, RUN, []),
        ({"recipient": "alice", "amount": 100}, PAY, ["pay.send, amount at most 100, all else the same"]),
        ({"recipient": "alice", "amount": -100}, PAY, []),
        ({"recipient": "alice", "labels": ["a/b"]}, PAY, []),
        ({"path": "/etc/passwd"}, WRITE, []),
        ({"url": "https://user@example.com/"}, FETCH, []),
        ({}, WRITE, []),
    ],
)
def test_only_what_can_be_read_is_widened(
    parameters: dict[str, object], tool: ToolShape, wider: list[str]
) -> None:
    assert sentences(parameters, tool) == ["Exactly this call", *wider]


@pytest.mark.parametrize(
    ("risk", "name", "whole"),
    [
        ("low", "fs.list", True),
        ("medium", "fs.list", True),
        ("high", "fs.list", False),
        ("critical", "fs.list", False),
        ("?", "fs.list", False),
        ("low", "process.run", False),
        ("low", "http.request", False),
    ],
)
def test_a_whole_tool_is_offered_last_and_for_a_low_risk_only(risk: str, name: str, whole: bool) -> None:
    found = candidates({"path": "src/app"}, BUILT_IN[name], (), risk=risk)
    assert (breadth(found[-1].bound) == 9) is whole
    if whole:
        assert found[-1].sentence == f"Every call of {name} in this session, whatever its parameters"


def test_without_a_word_about_the_risk_the_whole_tool_is_not_offered() -> None:
    assert all(breadth(one.bound) < 9 for one in candidates({}, BUILT_IN["fs.list"], ()))


def test_coverage_is_counted_by_the_matcher_itself() -> None:
    history = [
        source("src/app/x.py"),
        source("src/app/y.py"),
        source("lib/z.py"),
        source("src/app/y.py", "two"),
    ]
    found = candidates(SOURCE, WRITE, history)
    assert [(one.covers_matched, one.covers_asks) for one in found] == [
        (1, 4),
        (2, 4),
        (1, 4),
        (3, 4),
        (3, 4),
    ]


def test_fifty_asks_are_counted_and_an_older_denial_is_not_forgotten() -> None:
    history = (
        [source("src/app/x.py")] * 50 + [source("src/app/keys", denied=True)] + [source("src/app/y")] * 9
    )
    found = candidates(SOURCE, WRITE, history)
    assert {one.covers_asks for one in found} == {50}
    assert [one.sentence for one in found] == [
        "Exactly this call",
        "fs.write, content may differ, all else the same",
    ]


@pytest.mark.parametrize(
    ("denied", "offered"),
    [
        (("src/app/y.py", "one"), [0, 2]),
        (("src/app/y.py", "two"), [0, 1, 2]),
        (("src/app/x.py", "two"), [0, 1]),
        (("src/lib/y.py", "two"), [0, 1, 2, 3]),
        (("src/app/x.py", "one"), [0]),
    ],
)
def test_a_candidate_that_would_cover_a_denied_ask_does_not_exist(
    denied: tuple[str, str], offered: list[int]
) -> None:
    every = sentences(SOURCE, WRITE)
    found = candidates(SOURCE, WRITE, [source(*denied, denied=True)])
    assert [one.sentence for one in found] == [every[place] for place in offered]


def test_a_denied_call_itself_is_decided_anew() -> None:
    exact = candidates(SOURCE, WRITE, ())[0]
    again = [source("src/app/x.py", denied=True)]
    assert not pattern_covers_denied(exact.bound, again)
    assert pattern_covers_denied(bound(SOURCE, WRITE, ("/content", "any")), again)


def test_a_denied_ask_too_large_to_compare_leaves_the_call_itself() -> None:
    large = PastAsk(None, denied=True)
    assert [one.bound.is_exact for one in candidates(SOURCE, WRITE, [large])] == [True]
    offered = candidates(SOURCE, WRITE, [PastAsk(None, denied=False)])
    assert len(offered) > 1
    assert {one.covers_matched for one in offered} == {0}


def test_a_working_directory_does_not_stand_in_the_way_of_arguments() -> None:
    asked = {"command": "wc", "args": ["src/app/x.py"], "cwd": "a/b/c"}
    assert sentences(asked, RUN)[1:] == [
        "process.run wc, args may name other files under src/app, all else the same"
    ]


def test_the_directory_a_program_runs_in_is_named_as_such() -> None:
    asked = {"command": "wc", "args": ["x"], "cwd": "a/b/c"}
    words = sentence(bound(asked, RUN, ("/cwd", "path_prefix", "a")), RUN)
    assert words == "process.run wc, cwd under a, all else the same"


def test_a_value_cannot_pass_for_words_of_the_sentence() -> None:
    asked = {"path": "src, content the same/x", "content": "one"}
    found = bound(asked, WRITE, ("/path", "path_prefix", "src, content the same"), ("/content", "any"))
    assert (
        sentence(found, WRITE)
        == 'fs.write under "src, content the same", content may differ, all else the same'
    )


def test_a_host_is_shown_to_its_end_which_says_whose_it_is() -> None:
    host = ".".join(["github.com", *["a" * 60] * 3, "evil.example"])
    asked = {"url": f"https://{host}/x"}
    assert sentence(bound(asked, FETCH, ("/url", "host", f"https://{host}")), FETCH) == (
        f"http.fetch anywhere on https://{host}, all else the same"
    )


def test_every_op_has_words() -> None:
    asked = {
        "recipient": "alice",
        "amount": 100,
        "site": "https://api.example.com/x",
        "folder": "a/b/c",
        "subject": "x" * 500,
    }
    found = bound(
        asked,
        PAY,
        ("/recipient", "one_of", ["alice", *(f"bob{number}" for number in range(9))]),
        ("/amount", "range", {"gte": 5, "lte": 100}),
        ("/site", "host_suffix", "https://example.com"),
        ("/folder", "path_prefix", "a"),
        ("/subject", "one_of", ["x" * 500, "y"]),
    )
    words = sentence(found, PAY)
    assert words.startswith("pay.send, amount from 5 to 100, folder under a, recipient one of alice, bob0, ")
    assert (
        "and 5 more, site anywhere on https://example.com and hosts beneath it, subject one of xxx" in words
    )
    assert words.endswith("…, y, all else the same")
    optional = {"command": "rm", "args": ["--force", "--recursive", "src/a"]}
    assert sentence(bound(optional, RUN, ("/args", "argv", {"under": "src"})), RUN) == (
        "process.run rm, args may name other files under src, "
        "args may leave out --force and --recursive, all else the same"
    )


paths = st.sampled_from(["src/app/x.py", "src/app/y.py", "src/z", "src/app", "etc/x", "src/app/d/e"])
asks = st.builds(source, paths, st.sampled_from(["one", "two"]), denied=st.booleans())


@settings(max_examples=150, deadline=None)
@given(paths, st.lists(asks, max_size=6), st.sampled_from(["low", "high"]))
def test_no_candidate_covers_a_denied_ask(path: str, history: list[PastAsk], risk: str) -> None:
    parameters = {"path": path, "content": "one"}
    found: tuple[Candidate, ...] = candidates(parameters, WRITE, history, risk=risk)
    assert 1 <= len(found) <= 5
    assert found[0].bound.is_exact
    assert len({one.sentence for one in found}) == len(found)
    for one in found[1:]:
        assert not any(ask.denied and matches(one.bound, ask.parameters) for ask in history)
    for one in found:
        assert matches(one.bound, parameters)
        assert one.covers_matched <= one.covers_asks == len(history)
