"""Every case of the AuthZEN 1.0 certification scenario: Basic, Batch, Search and Discovery.

The numbers in the names are those of the scenario's sections.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from pytest_django.plugin import DjangoDbBlocker

from tests.governance.api.domains import put_certification_in_force
from tests.governance.api.world import Answer, Caller, World
from tests.policy.authzen_fixture import DOMAIN

BASE = f"/pdp/{DOMAIN}"
ALICE = {"type": "user", "id": "alice"}
BOB = {"type": "user", "id": "bob"}
ADMIN = {**BOB, "properties": {"role": "admin"}}
ONE = {"type": "record", "id": "record-1"}
TWO = {"type": "record", "id": "record-2"}
LIVE = {**ONE, "properties": {"status": "active"}}
ARCHIVED = {**TWO, "properties": {"status": "archived"}}
READ, WRITE = {"name": "read"}, {"name": "write"}
CONTEXT = {"time": "2025-06-27T18:03-07:00", "ip": "192.168.1.1"}
Json = dict[str, Any]


@pytest.fixture(scope="module")
def certified(founded: World, django_db_blocker: DjangoDbBlocker) -> World:
    """The installation of this module with the domain of the scenario in force."""
    with django_db_blocker.unblock():
        put_certification_in_force(founded)
    return founded


@pytest.fixture
def pep(certified: World, world: World) -> Caller:
    """Somebody with `policy.read`, as a program that enforces policy would be."""
    return world.owner


def ask(pep: Caller, endpoint: str, body: Json, **headers: str) -> Answer:
    return pep.post(f"{BASE}/access/v1/{endpoint}", body, **headers)


def answered(pep: Caller, endpoint: str, body: Json) -> Json:
    """Return the body of a 200 of the right type."""
    answer = ask(pep, endpoint, body)
    assert answer.status_code == 200, answer.content
    assert answer.headers["Content-Type"].split(";")[0] == "application/json"
    found: Json = answer.json()
    return found


def question(subject: Json = ALICE, action: Json = READ, resource: Json = ONE, **more: object) -> Json:
    return {"subject": subject, "action": action, "resource": resource, **more}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param(question(), True, id="2.2.1"),
        pytest.param(question(BOB, WRITE), False, id="2.2.2"),
        pytest.param(question(context=CONTEXT), True, id="2.2.3"),
        pytest.param(question(action=WRITE, resource=ARCHIVED), False, id="2.2.4"),
        pytest.param(question(ADMIN, WRITE, ARCHIVED), True, id="2.2.5"),
        pytest.param(question(action={"name": "delete", "properties": {"soft": True}}), True, id="2.2.6"),
        pytest.param(question(action={"name": "delete", "properties": {"soft": False}}), False, id="2.2.7"),
        pytest.param(
            question(
                {**ALICE, "properties": {"department": "Sales", "role": "manager"}},
                {"name": "read", "properties": {"method": "GET"}},
                {**ONE, "properties": {"status": "active", "owner": "bob"}},
            ),
            True,
            id="2.2.8",
        ),
        pytest.param(question(foo="bar", futureField={"nested": True}), True, id="2.2.9"),
        pytest.param(question(action=WRITE), True, id="rule 2"),
        pytest.param(question(BOB), True, id="rule 3"),
    ],
)
def test_basic_2_2_and_2_3(pep: Caller, asked: Json, expected: bool) -> None:
    found = answered(pep, "evaluation", asked)
    assert found["decision"] is expected
    assert isinstance(found["context"], dict)


@pytest.mark.parametrize(
    "body",
    [
        {"action": READ, "resource": ONE},
        {"subject": ALICE, "resource": ONE},
        {"subject": ALICE, "action": READ},
        question({"id": "alice"}),
        question({"type": "user"}),
        question(action={}),
        question(resource={"id": "record-1"}),
        question(resource={"type": "record"}),
        question("alice"),  # type: ignore[arg-type]  # a wrong type is the matter
        question(action={"name": 123}),
        question({"type": "user", "id": 5}),
        question({"type": None, "id": "alice"}),
        question(resource=[ONE]),  # type: ignore[arg-type]  # as above
        question({**ALICE, "properties": "x"}),
        question(context=[]),
    ],
)
def test_basic_2_4_1_2_4_2_and_2_4_6(pep: Caller, body: Json) -> None:
    answer = ask(pep, "evaluation", body)
    assert answer.status_code == 400, answer.content
    assert answer.json()["code"] == "authzen_invalid"


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_basic_2_4_3_invalid_content_type(pep: Caller, kind: str) -> None:
    data = json.dumps(question()).encode()
    answer = pep.send("POST", f"{BASE}/access/v1/evaluation", data, kind=kind)
    assert answer.status_code == 400


@pytest.mark.parametrize("data", [b"{", b"\xff", b'{"a":1,"a":2}', b"[]", b'"x"', b"NaN", b"", b"{}"])
def test_basic_2_4_4_and_2_4_5_malformed_and_empty(pep: Caller, data: bytes) -> None:
    assert pep.send("POST", f"{BASE}/access/v1/evaluation", data).status_code == 400


@pytest.mark.parametrize(
    "given", ["bfe9eb29-ab87-4ca3-be83-a1d5d8305716", "any text: (at) all; {1}", "x" * 300]
)
@pytest.mark.parametrize("body", [question(), {}])
def test_basic_2_5_1_request_id_is_echoed_as_sent(pep: Caller, given: str, body: Json) -> None:
    assert ask(pep, "evaluation", body, X_Request_ID=given).headers["X-Request-ID"] == given


def test_basic_2_5_2_request_id_may_be_absent(pep: Caller) -> None:
    answer = ask(pep, "evaluation", question())
    assert answer.status_code == 200
    assert answer.headers["X-Request-ID"].startswith("req_")


def test_basic_2_6_same_question_same_decision(pep: Caller) -> None:
    assert {answered(pep, "evaluation", question())["decision"] for _ in range(5)} == {True}


def decisions(pep: Caller, body: Json) -> list[bool]:
    found = answered(pep, "evaluations", body)
    assert "decision" not in found
    return [item["decision"] for item in found["evaluations"]]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            {"subject": ALICE, "action": READ, "evaluations": [{"resource": ONE}, {"resource": TWO}]},
            [True, True],
            id="3.2.1",
        ),
        pytest.param(
            {"subject": BOB, "resource": ONE, "evaluations": [{"action": READ}, {"action": WRITE}]},
            [True, False],
            id="3.2.2",
        ),
        pytest.param(
            {"subject": ALICE, "action": WRITE, "evaluations": [{"resource": LIVE}, {"resource": ARCHIVED}]},
            [True, False],
            id="3.2.3",
        ),
        pytest.param(
            {"action": WRITE, "resource": ARCHIVED, "evaluations": [{"subject": ALICE}, {"subject": ADMIN}]},
            [False, True],
            id="3.2.4",
        ),
        pytest.param({"evaluations": [question(), question(BOB, WRITE)]}, [True, False], id="3.2.5"),
        pytest.param(
            {
                "subject": ALICE,
                "action": READ,
                "context": CONTEXT,
                "evaluations": [
                    {"resource": ONE},
                    {"resource": TWO, "context": {"time": "2025-06-27T19:00-07:00", "source": "override"}},
                ],
            },
            [True, True],
            id="3.2.6",
        ),
        pytest.param(
            {
                "subject": ALICE,
                "action": WRITE,
                "resource": LIVE,
                "evaluations": [{}, {"resource": ARCHIVED}],
            },
            [True, False],
            id="3.2.7",
        ),
    ],
)
def test_batch_3_2_and_3_3(pep: Caller, body: Json, expected: list[bool]) -> None:
    assert decisions(pep, body) == expected


def test_batch_3_4_1_a_bad_item_is_denied_and_the_rest_unaffected(pep: Caller) -> None:
    body = {
        "subject": ALICE,
        "action": READ,
        "options": {"evaluations_semantic": "execute_all"},
        "evaluations": [{"resource": ONE}, {}, {"resource": ONE}],
    }
    found = answered(pep, "evaluations", body)["evaluations"]
    assert [item["decision"] for item in found] == [True, False, True]
    assert found[1]["context"]["error"]["status"] == 400


@pytest.mark.parametrize("more", [{}, {"evaluations": []}])
def test_batch_3_4_2_and_3_4_3_without_evaluations_it_is_a_single_one(pep: Caller, more: Json) -> None:
    assert answered(pep, "evaluations", question(**more))["decision"] is True
    assert ask(pep, "evaluations", {"action": READ, **more}).status_code == 400


def results(pep: Caller, kind: str, body: Json) -> list[Json]:
    found: list[Json] = answered(pep, f"search/{kind}", body)["results"]
    return found


USERS = {"type": "user"}
RECORDS = {"type": "record"}
FOR_SUBJECTS = {"subject": USERS, "action": READ, "resource": ONE}


@pytest.mark.parametrize("more", [{}, {"context": CONTEXT}, {"subject": ALICE}])
def test_search_4_2_1_to_4_2_3_subjects(pep: Caller, more: Json) -> None:
    assert results(pep, "subject", FOR_SUBJECTS | more) == [ALICE, BOB]


def test_search_4_2_4_subjects_by_properties_of_the_resource(pep: Caller) -> None:
    assert results(pep, "subject", {"subject": USERS, "action": WRITE, "resource": ARCHIVED}) == [BOB]


@pytest.mark.parametrize("more", [{}, {"context": CONTEXT}, {"resource": ONE}])
def test_search_4_3_1_to_4_3_3_resources(pep: Caller, more: Json) -> None:
    assert results(pep, "resource", {"subject": ALICE, "action": READ, "resource": RECORDS} | more) == [
        ONE,
        TWO,
    ]


def test_search_4_3_4_resources_by_properties_of_the_subject(pep: Caller) -> None:
    assert results(pep, "resource", {"subject": ADMIN, "action": WRITE, "resource": RECORDS}) == [TWO]


@pytest.mark.parametrize("more", [{}, {"context": CONTEXT}, {"action": WRITE}])
def test_search_4_4_1_and_4_4_2_actions(pep: Caller, more: Json) -> None:
    assert results(pep, "action", {"subject": ALICE, "resource": ONE} | more) == [READ, WRITE]


def test_search_4_4_3_actions_by_properties(pep: Caller) -> None:
    assert results(pep, "action", {"subject": ADMIN, "resource": ARCHIVED}) == [READ, WRITE]


def test_search_4_5_pages(pep: Caller) -> None:
    body = FOR_SUBJECTS | {"page": {"limit": 1}}
    first = answered(pep, "search/subject", body)
    assert first["results"] == [ALICE]
    assert first["page"]["count"] == 1
    token = first["page"]["next_token"]
    second = answered(pep, "search/subject", FOR_SUBJECTS | {"page": {"token": token}})
    assert second["results"] == [BOB]
    assert second["page"] == {"next_token": "", "count": 1}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("action", {"subject": {"type": "user", "id": "nonexistent-user"}, "resource": ONE}),
        ("resource", {"subject": {"type": "user", "id": "nobody"}, "action": READ, "resource": RECORDS}),
        ("subject", {"subject": USERS, "action": READ, "resource": {"type": "record", "id": "nothing"}}),
        ("subject", {"subject": {"type": "spaceship"}, "action": READ, "resource": ONE}),
        ("resource", {"subject": ALICE, "action": READ, "resource": {"type": "spaceship"}}),
        ("action", {"subject": {"type": "spaceship", "id": "x"}, "resource": ONE}),
        ("subject", {"subject": USERS, "action": {"name": "fly"}, "resource": ONE}),
    ],
)
def test_search_4_6_nothing_is_an_empty_list(pep: Caller, kind: str, body: Json) -> None:
    assert results(pep, kind, body) == []


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("subject", {"subject": USERS, "resource": ONE}),
        ("resource", {"action": READ, "resource": RECORDS}),
        ("action", {"subject": ALICE}),
        ("subject", {"subject": USERS, "action": READ, "resource": RECORDS}),
        ("resource", {"subject": USERS, "action": READ, "resource": RECORDS}),
        ("action", {"subject": USERS, "resource": ONE}),
        ("subject", {"subject": {}, "action": READ, "resource": ONE}),
        ("subject", FOR_SUBJECTS | {"page": {"limit": -1}}),
        ("subject", FOR_SUBJECTS | {"page": {"limit": True}}),
        ("subject", FOR_SUBJECTS | {"page": {"token": 5}}),
        ("subject", FOR_SUBJECTS | {"page": 1}),
    ],
)
def test_search_4_7_errors(pep: Caller, kind: str, body: Json) -> None:
    assert ask(pep, f"search/{kind}", body).status_code == 400


@pytest.mark.usefixtures("pep")
def test_discovery_6_1_to_6_5_metadata(settings: Any) -> None:
    settings.PALYRA_PUBLIC_URL = "https://pdp.example.com"
    answer = Client().get(f"/.well-known/authzen-configuration{BASE}")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    base = f"https://pdp.example.com{BASE}"
    assert answer.json() == {
        "policy_decision_point": base,
        "access_evaluation_endpoint": f"{base}/access/v1/evaluation",
        "access_evaluations_endpoint": f"{base}/access/v1/evaluations",
        "search_subject_endpoint": f"{base}/access/v1/search/subject",
        "search_resource_endpoint": f"{base}/access/v1/search/resource",
        "search_action_endpoint": f"{base}/access/v1/search/action",
    }


def test_discovery_6_5_the_endpoints_are_those_that_answer(pep: Caller) -> None:
    listed = Client().get(f"/.well-known/authzen-configuration{BASE}").json()
    path = listed["access_evaluation_endpoint"].removeprefix(settings.PALYRA_PUBLIC_URL)
    assert pep.post(path, question()).json()["decision"] is True
