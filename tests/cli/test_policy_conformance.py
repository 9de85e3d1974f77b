"""A corpus from the shell: every case is sent, every difference is told, and none is overlooked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.shell import Shell, answer, problem


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """One case with two requests, as the corpus writes it."""
    directory = tmp_path / "corpus"
    directory.mkdir()
    (directory / "one.cedar").write_text("permit(principal, action, resource);\n")
    (directory / "one.cedarschema").write_text("entity U;")
    (directory / "one.entities.json").write_text("[]")
    write(directory)
    return directory


def write(directory: Path, **changes: Any) -> None:
    request = {
        "description": "x",
        "principal": {"type": "U", "id": "a"},
        "action": {"type": "Action", "id": "r"},
        "resource": {"type": "U", "id": "b"},
        "context": {"n": 2**63 - 1},
        "validateRequest": True,
        "decision": "allow",
        "reason": ["policy0"],
        "errors": [],
    }
    case = {
        "policies": "corpus/one.cedar",
        "entities": "corpus/one.entities.json",
        "schema": "corpus/one.cedarschema",
        "shouldValidate": True,
        "requests": [request, request | {"decision": "deny", "reason": []}],
    }
    (directory / "one.json").write_text(json.dumps(case | changes))


def judged(*results: tuple[str, list[str], int], passed: bool = True) -> httpx.Response:
    given = [
        {"decision": decision, "reasons": reasons, "errors": ["e"] * errors, "fail_closed_decision": "deny"}
        for decision, reasons, errors in results
    ]
    return answer({"validation": {"passed": passed, "errors": []}, "results": given})


RIGHT: tuple[tuple[str, list[str], int], ...] = (("allow", ["policy0"], 0), ("deny", [], 0))


def test_a_corpus_without_differences_ends_well(shell: Shell, corpus: Path) -> None:
    shell.replies = [judged(*RIGHT)]
    result = shell("policy", "conformance", "--corpus", str(corpus))
    assert (result.code, result.sent) == (0, ["POST /api/v1/policy/conformance"])
    assert "1 cases, 2 requests, 0 differences" in result.err
    sent = result.body()
    assert sent["policies"] == "permit(principal, action, resource);\n"
    assert sent["requests"][0] == {
        "principal": {"type": "U", "id": "a"},
        "action": {"type": "Action", "id": "r"},
        "resource": {"type": "U", "id": "b"},
        "context": {"n": 2**63 - 1},
    }


@pytest.mark.parametrize(
    ("reply", "what"),
    [
        (judged(("deny", ["policy0"], 0), RIGHT[1]), "decision"),
        (judged(("no_decision", ["policy0"], 0), RIGHT[1]), "decision"),
        (judged(("allow", ["policy1"], 0), RIGHT[1]), "reasons"),
        (judged(("allow", ["policy0", "policy1"], 0), RIGHT[1]), "reasons"),
        (judged(("allow", ["policy0"], 1), RIGHT[1]), "errors"),
        (judged(*RIGHT, passed=False), "validation"),
        (problem(422, "policy_invalid"), "case"),
        (problem(422, "policy_too_costly"), "case"),
    ],
)
def test_every_kind_of_difference_is_told_and_ends_with_twelve(
    shell: Shell, corpus: Path, reply: httpx.Response, what: str
) -> None:
    shell.replies = [reply]
    result = shell("policy", "conformance", "--corpus", str(corpus), "-o", "ndjson")
    assert result.code == 12
    (difference,) = (json.loads(line) for line in result.out.splitlines())
    assert (difference["case"], difference["what"]) == ("one", what)
    assert "1 differences" in result.err


def test_a_case_with_many_requests_is_sent_in_parts(shell: Shell, corpus: Path) -> None:
    stated = json.loads((corpus / "one.json").read_text())["requests"][0]
    write(corpus, requests=[stated] * 130)
    shell.replies = [judged(*[RIGHT[0]] * 64), judged(*[RIGHT[0]] * 64), judged(*[RIGHT[0]] * 2)]
    result = shell("policy", "conformance", "--corpus", str(corpus), "--workers", "1")
    assert result.code == 0
    assert [len(result.body(part)["requests"]) for part in range(3)] == [64, 64, 2]


def test_a_spent_limit_is_waited_for(shell: Shell, corpus: Path) -> None:
    spent = problem(429, "rate_limited", headers={"Retry-After": "7"})
    shell.replies = [*[spent] * 6, judged(*RIGHT)]
    result = shell("policy", "conformance", "--corpus", str(corpus))
    assert result.code == 0
    assert 7.0 in result.pauses


def test_a_refusal_of_the_server_is_no_difference(shell: Shell, corpus: Path) -> None:
    shell.replies = [problem(403, "insufficient_scope")]
    assert shell("policy", "conformance", "--corpus", str(corpus)).code == 6


@pytest.mark.parametrize("missing", ["one.cedar", "one.cedarschema", "one.entities.json"])
def test_a_corpus_that_is_not_whole_is_a_mistake(shell: Shell, corpus: Path, missing: str) -> None:
    (corpus / missing).unlink()
    result = shell("policy", "conformance", "--corpus", str(corpus))
    assert (result.code, result.sent) == (2, [])


def test_a_directory_without_cases_is_a_mistake(shell: Shell, tmp_path: Path) -> None:
    assert shell("policy", "conformance", "--corpus", str(tmp_path)).code == 2


def test_a_case_reads_no_file_elsewhere(shell: Shell, corpus: Path, tmp_path: Path) -> None:
    secret = tmp_path.parent / "secret.cedar"
    secret.write_text("secret")
    write(corpus, policies="../secret.cedar")
    assert shell("policy", "conformance", "--corpus", str(corpus)).code == 2
    write(corpus, policies=str(secret))
    assert shell("policy", "conformance", "--corpus", str(corpus)).code == 2
    (corpus / "one.cedar").unlink()
    (corpus / "one.cedar").symlink_to(secret)
    write(corpus)
    assert shell("policy", "conformance", "--corpus", str(corpus)).code == 2
