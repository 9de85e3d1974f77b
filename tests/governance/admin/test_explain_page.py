"""The page that explains: questions, recorded calls, and who may ask."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from governance.admin.explain_words import change_words, clause_rows, rule_words
from governance.journal.models import JournalEvent
from policy.changes import ATTACH_APPROVAL
from policy.clauses import Clause, Condition, Truth
from policy.explaining import ExplainedRule
from policy.models import DecisionRecord
from tests.governance.admin.test_pages import CORPUS, Elements
from tests.governance.admin.world import World, propose, sign_in, write_file

PAGE = "/admin/policy/explain/"


@pytest.fixture
def asker(world: World) -> Client:
    return sign_in(world.owner)


def ask(client: Client, world: World, **changes: str) -> Any:
    form = {
        "principal": world.agent.pk,
        "action": "tool.execute",
        "resource_type": "Tool",
        "resource": "echo",
        "policy_set": "active",
        "input": '{"text": "hello"}',
    }
    return client.post(PAGE, form | changes)


def text_of(answer: Any) -> str:
    return " ".join(answer.content.decode().split())


def test_the_empty_page_is_a_form(asker: Client) -> None:
    page = text_of(asker.get(PAGE))
    assert "Ask a question" in page
    assert 'name="principal"' in page


def test_a_question_is_answered_with_its_rule_and_clauses(asker: Client, world: World) -> None:
    answer = ask(asker, world)
    page = text_of(answer)
    assert answer.status_code == 200
    assert "allow_allowlisted_tool_execute" in page
    assert "resource.runtime_supported" in page
    assert "What would allow it" not in page


def test_a_refusal_shows_the_way_out(asker: Client, world: World) -> None:
    page = text_of(ask(asker, world, resource="fs.write", input='{"path": "a", "content": "b"}'))
    assert "A person allows the call" in page
    assert "deny_sensitive_without_approval" in page
    assert "Needs approval" in page


def test_a_call_page_asks_why_and_is_answered_by_what_was_recorded(asker: Client, world: World) -> None:
    call = write_file(world.agent).call
    assert f"{PAGE}?call={call.pk}" in text_of(asker.get(f"/admin/calls/{call.pk}/"))
    answer = asker.get(PAGE, {"call": call.pk})
    page = text_of(answer)
    assert answer.status_code == 200
    assert "deny_sensitive_without_approval" in page
    assert "Then it was decided otherwise" not in page
    assert "No record of the facts was kept" not in page
    assert world.agent.pk in page


def test_a_record_that_is_gone_is_said(asker: Client, world: World) -> None:
    call = write_file(world.agent).call
    DecisionRecord.objects.filter(call_id=call.pk).delete()
    assert "No record of the facts was kept" in text_of(asker.get(PAGE, {"call": call.pk}))


def test_secrets_of_a_call_are_masked_in_the_form(asker: Client, world: World) -> None:
    call = propose(world.agent, "echo", {"text": "password=hunter2hunter2"}).call
    assert "hunter2hunter2" not in asker.get(PAGE, {"call": call.pk}).content.decode()


def test_asking_leaves_no_trace(asker: Client, world: World) -> None:
    call = write_file(world.agent).call
    before = JournalEvent.objects.count()
    asker.get(PAGE, {"call": call.pk})
    ask(asker, world)
    assert JournalEvent.objects.count() == before


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"input": "{"}, 400),
        ({"input": "[]"}, 400),
        ({"input": '{"a": 1, "a": 2}'}, 400),
        ({"input": '{"a": "\\ud800"}'}, 400),
        ({"channel": "a\0b"}, 422),
        ({"resource": "typed.name\0"}, 422),
        ({"principal": "agt_01JD0000000000000000000000"}, 404),
        ({"principal": "usr_01JD0000000000000000000000"}, 404),
        ({"policy_set": "pol_01JD0000000000000000000000"}, 404),
        ({"session_id": "ses_01JD0000000000000000000000"}, 404),
    ],
)
def test_what_cannot_be_asked_comes_back_with_what_was_typed(
    asker: Client, world: World, changes: dict[str, str], status: int
) -> None:
    answer = ask(asker, world, **{"resource": "typed.name", **changes})
    assert answer.status_code == status
    assert "That cannot be asked" in text_of(answer)
    assert "typed.name" in text_of(answer)


@pytest.mark.parametrize("call", ["call_01JD0000000000000000000000", "nonsense", "run_1", "' OR 1=1"])
def test_a_call_nobody_knows_is_no_page(asker: Client, call: str) -> None:
    assert asker.get(PAGE, {"call": call}).status_code == 404


@pytest.mark.parametrize("person", ["viewer", "stranger"])
def test_only_readers_of_policy_ask(world: World, person: str) -> None:
    client = sign_in(world.people[person])
    assert client.get(PAGE).status_code in (302, 403)
    assert ask(client, world).status_code in (302, 403)


def test_who_may_not_read_policy_sees_no_why(world: World) -> None:
    call = write_file(world.agent).call
    client = sign_in(world.viewer)
    assert "Why?" not in client.get(f"/admin/calls/{call.pk}/").content.decode()


@pytest.mark.parametrize("hostile", CORPUS)
def test_hostile_text_stays_text(asker: Client, world: World, hostile: str) -> None:
    given = json.dumps({"text": hostile, hostile: 1})
    typed = {
        "resource": hostile,
        "action": hostile,
        "channel": hostile,
        "session_id": hostile,
        "input": given,
    }
    for changes in (typed, {"principal": hostile}):
        assert Elements.faults_of(ask(asker, world, **changes).content.decode()) == []
    call = propose(world.agent, "echo", {"text": hostile}).call
    assert Elements.faults_of(asker.get(PAGE, {"call": call.pk}).content.decode()) == []


def rule(**changes: Any) -> ExplainedRule:
    given: dict[str, Any] = {
        "id": "one",
        "effect": "permit",
        "file": "f.cedar",
        "line": 1,
        "column": 1,
        "text": "",
        "annotations": (),
        "holds": Truth.TRUE,
        "conditions": (),
    }
    return ExplainedRule(**(given | changes))


def test_changes_read_as_sentences() -> None:
    assert change_words([ATTACH_APPROVAL]) == "A person allows the call"
    both = change_words(["clear_label:private_data", "remove_forbid:no_ftp"])
    assert both == (
        "A person takes away the session's label private_data,"
        " and the rule no_ftp is taken out of the policy set"
    )


def test_a_clause_tree_is_lines_with_words() -> None:
    leaf = Clause("context.a", Truth.ERROR)
    tree = Clause("context.a && true", Truth.FALSE, "&&", (leaf, Clause("true", Truth.TRUE)))
    (condition,) = clause_rows(rule(conditions=(Condition("when", tree),)))
    assert [(row.depth, row.word, row.joined) for row in condition.rows] == [
        (0, "False", "all of these"),
        (1, "No value", ""),
        (1, "True", ""),
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "has no condition"),
        ({"holds": Truth.ERROR}, "its condition could not be evaluated"),
        ({"holds": Truth.FALSE}, "its condition does not hold"),
        ({"assuming_approval": True}, "decides once a person has allowed the call"),
    ],
)
def test_what_came_of_a_rule_is_said(changes: dict[str, Any], words: str) -> None:
    assert rule_words(rule(**changes)) == words
