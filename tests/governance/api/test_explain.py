"""`POST /policy/explain` and `GET /policy/schema`: what they answer, refuse, and never say."""

from __future__ import annotations

import json
from typing import Any

import cedarpy
import pytest

from governance.journal.models import JournalEvent
from policy.models import DecisionRecord, PolicyEpoch, PolicyFile, PolicySet
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.world import Caller, World


def question(world: World, tool: str = "echo", **context: object) -> dict[str, Any]:
    return {
        "principal": {"type": "Agent", "id": world.agent.id},
        "action": "tool.execute",
        "resource": {"type": "Tool", "id": tool},
        "context": {"input": {"text": "hello"}} | context,
    }


def explained(caller: Caller, body: dict[str, Any]) -> dict[str, Any]:
    answer = caller.post("policy/explain", body)
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def draft(text: str, *, domain: str = "palyra") -> str:
    """Put a draft into the database, as an edit in progress leaves it."""
    latest = PolicySet.objects.filter(domain=domain).order_by("-version").first()
    active = PolicySet.objects.get(domain="palyra", state="active")
    made = PolicySet.objects.create(
        id="pol_01JD00000000000000000000" + ("AA" if domain == "palyra" else "AB"),
        domain=domain,
        version=(latest.version if latest else 0) + 1,
        title="draft",
        created_at=active.created_at,
    )
    PolicyFile.objects.create(policy_set=made, name="f.cedar", text=text, position=0)
    return made.pk


def test_an_answer_has_the_documented_shape(world: World) -> None:
    found = explained(world.owner, question(world))
    active = PolicySet.objects.get(state="active", domain="palyra")
    assert found["object"] == "policy_explanation"
    assert found["outcome"] == {"effect": "allow", "reason_code": "policy.allowed"}
    assert found["decision"]["policy_set"] == {"id": active.pk, "version": 1, "hash": active.hash}
    (rule,) = found["decision"]["determining_policies"]
    assert (rule["id"], rule["effect"], rule["holds"]) == ("allow_allowlisted_tool_execute", "permit", "true")
    assert rule["text"].startswith("@id(")
    assert f'Palyra::Agent::"{world.agent.id}"' in found["constructed_entities"]
    clause = next(one for one in found["clauses"] if one["text"] == "resource.enabled")
    assert (clause["policy"], clause["condition"], clause["path"], clause["joined_by"], clause["value"]) == (
        "allow_allowlisted_tool_execute",
        "when",
        "0.1",
        "&&",
        True,
    )
    assert (found["minimal_change"], found["complete"], found["exact"]) == ([], True, True)
    assert (found["call_id"], found["recorded"]) == (None, None)


def test_a_sensitive_tool_needs_an_approval_and_says_so(world: World) -> None:
    body = question(world, "fs.write", input={"path": "a.txt", "content": "x"})
    found = explained(world.owner, body)
    assert found["decision"]["effect"] == "require_approval"
    assert found["decision"]["obligations"][0]["kind"] == "approval"
    assert ["attach_approval"] in found["minimal_change"]
    assert found["gates"][0]["gate"] == "posture"


def test_a_recorded_call_is_explained_by_its_id(world: World) -> None:
    call = world.agent.propose("echo", {"text": "hello"})
    found = explained(world.owner, {"call_id": call["id"]})
    assert found["call_id"] == call["id"]
    assert found["recorded"]["effect"] == found["decision"]["effect"] == "allow"
    assert found["recorded"]["policy_set"] == found["decision"]["policy_set"]["id"]


def test_no_argument_of_a_call_is_in_the_answer(world: World) -> None:
    call = world.agent.propose("echo", {"text": "my-secret-argument"})
    assert "my-secret-argument" not in json.dumps(explained(world.auditor, {"call_id": call["id"]}))
    asked = question(world, input={"text": "my-secret-argument"})
    assert "my-secret-argument" not in json.dumps(explained(world.owner, asked))


def test_what_a_rule_says_when_it_fails_names_no_argument(world: World) -> None:
    """Cedar's own message repeats the text that is no decimal."""
    failing = draft(
        '@id("failing") forbid (principal, action == Palyra::Action::"tool.execute:echo", resource)\n'
        'when { context.input.text like "*" && ip("1.1.1.1").isInRange(ip("1.1.1.1")) &&\n'
        "  context.calls_in_run + 9223372036854775807 > 0 };\n"
        '@id("all") permit (principal, action, resource);'
    )
    found = explained(world.owner, question(world, calls_in_run=4711) | {"policy_set": failing})
    assert found["decision"]["reason_code"] == "policy.evaluation_failed"
    assert found["diagnostics_errors"] == [
        {"policy": "failing", "error": "A calculation leaves the range of 64-bit integers."}
    ]
    assert "4711" not in json.dumps(found)
    assert found["near_misses"][0]["holds"] == "error"
    assert {clause["value"] for clause in found["clauses"] if "calls_in_run" in clause["text"]} == {None}


def test_a_draft_answers_for_itself(world: World) -> None:
    stricter = draft('@id("nothing") forbid (principal, action, resource);')
    found = explained(world.owner, question(world) | {"policy_set": stricter})
    assert found["outcome"] == {"effect": "deny", "reason_code": "policy.denied"}
    assert found["decision"]["policy_set"]["id"] == stricter
    PolicyFile.objects.filter(policy_set_id=stricter).update(
        text='@id("all") permit (principal, action, resource);'
    )
    PolicySet.objects.filter(pk=stricter).update(edit_version=1)
    edited = explained(world.owner, question(world) | {"policy_set": stricter})
    assert edited["outcome"]["effect"] == "allow"
    assert explained(world.owner, question(world))["decision"]["policy_set"]["version"] == 1


def test_a_draft_that_does_not_validate_says_why(world: World) -> None:
    broken = draft('@id("broken") permit (principal, action, resource) when { context.nothing };')
    answer = world.owner.post("policy/explain", question(world) | {"policy_set": broken})
    assert_problem(answer, 422, "policy_invalid")
    assert answer.json()["errors"]


def test_a_set_of_another_domain_is_not_one_of_these(world: World) -> None:
    other = draft("permit (principal, action, resource);", domain="elsewhere")
    answer = world.owner.post("policy/explain", question(world) | {"policy_set": other})
    assert_problem(answer, 404, "not_found")


def test_explaining_leaves_no_trace(world: World) -> None:
    before = (JournalEvent.objects.count(), DecisionRecord.objects.count(), PolicyEpoch.objects.get().epoch)
    for _ in range(2):
        explained(world.owner, question(world, session_id="s1"))
    assert (
        JournalEvent.objects.count(),
        DecisionRecord.objects.count(),
        PolicyEpoch.objects.get().epoch,
    ) == before


def test_an_idempotency_key_is_accepted_and_needed_for_nothing(world: World) -> None:
    for _ in range(2):
        answer = world.owner.post("policy/explain", question(world), Idempotency_Key="one")
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "invalid"),
        ({"call_id": "call_01JD0000000000000000000000"}, 404, "not_found"),
        ({"call_id": "run_01JD0000000000000000000000"}, 400, "invalid_id"),
        ({"call_id": "nonsense"}, 400, "invalid_id"),
        ({"action": "tool.execute"}, 422, "invalid"),
        ({"principal": "Agent", "action": "a", "resource": {"type": "Tool", "id": "echo"}}, 422, "invalid"),
        ({"unknown": 1}, 400, "unknown_field"),
    ],
)
def test_bad_bodies_are_refused(world: World, body: dict[str, Any], status: int, code: str) -> None:
    assert_problem(world.owner.post("policy/explain", body), status, code)


@pytest.mark.parametrize(
    "wrong",
    [
        {"principal": {"type": "Agent"}},
        {"principal": {"type": "Agent", "id": ""}},
        {"principal": {"type": "Agent", "id": 1}},
        {"principal": {"type": "Device", "id": "dev_x"}},
        {"resource": {"type": "Tool", "id": "x" * 513}},
        {"resource": {"type": "Tool", "id": "echo", "extra": 1}},
        {"context": []},
        {"context": {"allow_sensitive_tools": True}},
        {"context": {"approval": {"count": 99}}},
        {"context": {"input": "x"}},
        {"context": {"calls_in_run": -1}},
        {"context": {"calls_in_run": "1"}},
        {"context": {"source_ip": "nowhere"}},
        {"context": {"auth_method": "magic"}},
        {"context": {"now": "yesterday"}},
        {"context": {"now": "0001-01-01T00:00:00+14:00"}},
        {"context": {"now": "2100-01-01T00:00:00Z"}},
        {"context": {"external_execution": "yes"}},
        {"call_id": "call_01JD0000000000000000000000"},
    ],
)
def test_a_question_that_is_no_question_is_refused_by_name(world: World, wrong: dict[str, Any]) -> None:
    answer = world.owner.post("policy/explain", question(world) | wrong)
    assert_problem(answer, 422, "invalid")
    assert answer.json()["errors"]


def test_readers_of_policy_only(world: World) -> None:
    for refused in (world.agent, world.stranger):
        assert refused.post("policy/explain", question(world)).status_code == 403
        assert refused.get("policy/schema").status_code == 403
    assert world.nobody.post("policy/explain", question(world)).status_code == 401


def test_hostile_names_are_answered_and_break_out_of_nothing(world: World) -> None:
    for name in (
        'echo"; permit(principal,action,resource);',
        "Palyra::Tool::\n",
        "\u202eohce",
        "' OR 1=1 --",
    ):
        found = explained(world.owner, question(world, name))
        assert found["outcome"] == {"effect": "deny", "reason_code": "schema.tool_unknown"}
    group = question(world) | {"resource": {"type": "ToolGroup", "id": "allowlisted"}}
    assert explained(world.owner, group)["outcome"]["effect"] == "deny"


def test_the_schema_is_what_rules_are_checked_against(world: World) -> None:
    answer = world.owner.get("policy/schema").json()
    cedarpy.Schema.from_str(answer["schema"])
    assert '"tool.execute:echo"' in answer["schema"]
    assert answer["tool"] is None
    one = world.owner.get("policy/schema?tool=palyra.http.fetch").json()
    assert one["tool"] == "http.fetch"
    assert '"url_host": String' in one["schema"]
    assert '"tool.execute:echo"' not in one["schema"]
    assert one["catalog_digest"] == answer["catalog_digest"]


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("tool=no.such", 404, "tool_not_found"),
        ("tool=echo&tool=sleep", 400, "invalid_parameter"),
        ("tool=%00", 400, "invalid_parameter"),
        ("set=1", 400, "unknown_parameter"),
    ],
)
def test_a_bad_query_about_the_schema_is_refused(world: World, query: str, status: int, code: str) -> None:
    assert_problem(world.owner.get(f"policy/schema?{query}"), status, code)
