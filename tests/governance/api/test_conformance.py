"""The conformance route: Cedar's own answers over HTTP, within limits that hold for any text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from governance import conformance
from governance.conformance import judge_case
from governance.journal.models import JournalEvent
from kernel.errors import InvalidError, UnavailableError
from sandbox.runners.bounded import Bench
from tests.governance.api.world import Answer, Caller, World

CASES = Path(__file__).parents[2] / "policy" / "conformance"
SCHEMA = "entity U; action r appliesTo { principal: U, resource: U, context: { n?: Long } };"
ASKED = {"principal": 'U::"a"', "action": 'Action::"r"', "resource": {"type": "U", "id": "b"}, "context": {}}
SOUND: dict[str, Any] = {
    "policies": "permit(principal, action, resource);",
    "schema": SCHEMA,
    "entities": [],
    "requests": [ASKED],
}
PATH = "policy/conformance"


def send(caller: Caller, **changes: Any) -> Answer:
    return caller.post(PATH, SOUND | changes)


def test_a_case_is_answered_in_the_documented_shape_and_nothing_is_written(world: World) -> None:
    before = JournalEvent.objects.count()
    answer = send(world.owner)
    assert answer.status_code == 200, answer.content
    assert answer.json() == {
        "validation": {"passed": True, "errors": []},
        "results": [
            {"decision": "allow", "reasons": ["policy0"], "errors": [], "fail_closed_decision": "allow"}
        ],
    }
    assert JournalEvent.objects.count() == before


@pytest.mark.parametrize("name", ["library", "numbers", "names"])
def test_the_cases_of_this_repository_have_no_differences(world: World, name: str) -> None:
    stated = json.loads((CASES / f"{name}.json").read_text())
    keys = ("principal", "action", "resource", "context")
    answer = send(
        world.owner,
        policies=(CASES / f"{name}.cedar").read_text(),
        schema=(CASES / f"{name}.cedarschema").read_text(),
        entities=json.loads((CASES / f"{name}.entities.json").read_text()),
        requests=[{key: request[key] for key in keys} for request in stated["requests"]],
    ).json()
    assert answer["validation"]["passed"] is stated["shouldValidate"]
    for wanted, given in zip(stated["requests"], answer["results"], strict=True):
        assert (given["decision"], given["reasons"]) == (wanted["decision"], sorted(wanted["reason"]))
        assert len(given["errors"]) == len(wanted["errors"])


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 2**53])
def test_the_whole_range_of_a_long_is_taken(world: World, number: int) -> None:
    policy = f"permit(principal, action, resource) when {{ context.n == {number} }};"
    answer = send(world.owner, policies=policy, requests=[ASKED | {"context": {"n": number}}])
    assert answer.status_code == 200, answer.content
    assert answer.json()["results"][0]["decision"] == "allow"


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**40])
def test_beyond_a_long_is_refused(world: World, number: int) -> None:
    answer = send(world.owner, requests=[ASKED | {"context": {"n": number}}])
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json")


def test_other_routes_keep_to_what_canonical_json_can_carry(world: World) -> None:
    answer = world.owner.post("policy-sets", {"name": "x", "domain": 2**60})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"policies": "permit("}, "policies"),
        ({"policies": "permit(principal == ?principal, action, resource);"}, "policies"),
        ({"schema": "entity"}, "schema"),
        ({"entities": [{"uid": {"type": "Dragon", "id": "a"}, "attrs": {}, "parents": []}]}, "entities"),
    ],
)
def test_a_case_that_cannot_be_judged_is_422_and_names_its_part(
    world: World, changes: dict[str, Any], part: str
) -> None:
    answer = send(world.owner, **changes)
    assert (answer.status_code, answer.json()["code"]) == (422, "policy_invalid")
    assert answer.json()["errors"][0]["pointer"] == f"/{part}"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"policies": 5}, 422),
        ({"entities": {}}, 422),
        ({"entities": ["x"]}, 422),
        ({"requests": [ASKED] * 65}, 422),
        ({"requests": [{"principal": "x"}]}, 422),
        ({"requests": [ASKED | {"more": 1}]}, 422),
        ({"requests": [ASKED | {"context": []}]}, 422),
        ({"requests": ["x"]}, 422),
        ({"validate": "yes"}, 422),
        ({"slicing": 1}, 422),
        ({"unknown": 1}, 400),
    ],
)
def test_a_body_of_another_shape_is_refused(world: World, changes: dict[str, Any], status: int) -> None:
    assert send(world.owner, **changes).status_code == status


def test_sixty_four_requests_are_answered_at_once_with_and_without_slices(world: World) -> None:
    for slicing in (True, False):
        answer = send(world.owner, requests=[ASKED] * 64, slicing=slicing, validate=False).json()
        assert answer["validation"] is None
        assert [one["decision"] for one in answer["results"]] == ["allow"] * 64


def test_a_request_that_cedar_refuses_is_no_decision_and_a_denial(world: World) -> None:
    answer = send(world.owner, requests=[ASKED | {"principal": 'Dragon::"a"'}, ASKED | {"principal": "a"}])
    for result in answer.json()["results"]:
        assert (result["decision"], result["fail_closed_decision"]) == ("no_decision", "deny")
        assert len(result["errors"]) == 1


def doubling(levels: int) -> str:
    types = "".join(f"type T{i} = {{ a: T{i + 1}, b: T{i + 1} }};\n" for i in range(levels))
    last = f"type T{levels} = {{ z: Long }};\n"
    return f"entity U;\n{types}{last}action r appliesTo {{ principal: U, resource: U, context: T0 }};"


def test_a_case_that_would_take_hours_is_killed() -> None:
    with pytest.raises(InvalidError) as caught:
        judge_case(SOUND | {"schema": doubling(60)}, seconds=0.5)
    assert caught.value.code == "policy_too_costly"
    assert judge_case(SOUND)["results"][0]["decision"] == "allow"


def test_text_that_overflows_the_native_stack_ends_its_own_process_only(world: World) -> None:
    deep = "entity U = " + "{ a: " * 100_000 + "Long" + " }" * 100_000 + ";"
    answer = send(world.owner, schema=deep)
    assert (answer.status_code, answer.json()["code"]) == (422, "policy_too_costly")
    assert send(world.owner).status_code == 200


def test_a_policy_that_goes_deeper_than_any_set_may_is_refused(world: World) -> None:
    deep = "permit(principal, action, resource) when {" + "(" * 100_000 + "true" + ")" * 100_000 + "};"
    answer = send(world.owner, policies=deep)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/policies")


def test_while_no_process_is_free_the_answer_is_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conformance, "_BENCH", Bench(Path("/nowhere"), 0))
    with pytest.raises(UnavailableError) as caught:
        judge_case(SOUND, seconds=0.01)
    assert caught.value.retry_after == 1


def test_without_the_permission_nothing_is_judged(world: World) -> None:
    assert send(world.agent).status_code == 403
    assert send(world.nobody).status_code == 401
