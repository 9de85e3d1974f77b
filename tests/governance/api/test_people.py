"""People over HTTP: owners of the instance create, change, stop and help them."""

from __future__ import annotations

import json

import pytest
from django.db import connection

from governance.models import IdempotencyRecord
from identity.models import SetupLink, TotpFactor, User
from identity.passwords import redeem_setup_link
from kernel.clock import utc_now
from tests.builders import RecordedEvents
from tests.governance.api.stepping import fresh
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.world import Answer, Caller, World

REASON = {"reason": "a test"}
NEWCOMER = {"username": "newcomer", "email": "new@example.com", "display_name": "New Comer"}


def patch(caller: Caller, path: str, body: object, **headers: str) -> Answer:
    return caller.send("PATCH", path, json.dumps(body).encode(), **headers)


def test_people_are_for_owners_of_the_instance_with_a_fresh_code(world: World) -> None:
    person = f"users/{world.stranger.id}"
    assert_problem(world.owner.get("users"), 401, "step_up_required")
    assert_problem(world.owner.post("users", NEWCOMER), 401, "step_up_required")
    for caller in (world.approver, world.auditor, world.agent_owner):
        for answer in (
            fresh(caller).get("users"),
            caller.get(person),
            caller.post("users", NEWCOMER),
            caller.post(f"{person}/disable", REASON),
            caller.post(f"{person}/reset-factor", REASON),
            patch(caller, person, {}, If_Match="x"),
        ):
            assert_problem(answer, 403, "role_required")
    assert not User.objects.filter(username="newcomer").exists()


def test_a_newcomer_gets_one_link_and_no_role(world: World) -> None:
    made = fresh(world.owner).post("users", NEWCOMER)
    assert made.status_code == 201
    body = made.json()
    assert (body["state"], body["has_factor"], body["secret_withheld"]) == ("no_login", False, False)
    text = body["setup_link"].rstrip("/").rsplit("/", 1)[1]
    redeem_setup_link(text=text, password="a very long sentence", now=utc_now(), record=RecordedEvents())
    shown = world.owner.get(f"users/{body['id']}")
    assert shown.json() == {key: value for key, value in body.items() if key in shown.json()} | {
        "state": "active"
    }
    assert text not in shown.content.decode()
    assert_problem(world.owner.post("users", NEWCOMER), 409, "conflict")


def test_a_repeated_answer_withholds_the_link(world: World) -> None:
    first = fresh(world.owner).post("users", NEWCOMER, Idempotency_Key="one")
    again = world.owner.post("users", NEWCOMER, Idempotency_Key="one")
    assert again.status_code == first.status_code == 201
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json() == first.json() | {"setup_link": None, "secret_withheld": True}
    text = first.json()["setup_link"].rstrip("/").rsplit("/", 1)[1]
    stored = bytes(IdempotencyRecord.objects.get(key="one").response_body or b"")
    assert text.encode() not in stored
    assert User.objects.filter(username="newcomer").count() == 1


def test_the_link_is_in_no_table(world: World) -> None:
    made = fresh(world.owner).post("users", NEWCOMER, Idempotency_Key="one").json()
    text = made["setup_link"].rstrip("/").rsplit("/", 1)[1]
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')  # noqa: S608  # names of our own tables
            assert text not in str(cursor.fetchall()), table


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"username": "Upper"}, "/username"),
        ({"username": 5}, "/username"),
        ({"email": "nobody"}, "/email"),
        ({"display_name": "a\u202eb"}, "/display_name"),
        ({"display_name": "x" * 121}, "/display_name"),
    ],
)
def test_bad_values_are_named(world: World, change: dict[str, object], pointer: str) -> None:
    answer = fresh(world.owner).post("users", NEWCOMER | change)
    assert_problem(answer, 422, "invalid")
    assert answer.json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("field", ["password", "is_active", "can_log_in", "is_superuser", "authority_epoch"])
def test_no_other_field_is_taken(world: World, field: str) -> None:
    fresh(world.owner)
    assert_problem(world.owner.post("users", NEWCOMER | {field: "x"}), 400, "unknown_field")
    tag = world.owner.get(f"users/{world.stranger.id}").headers["ETag"]
    answer = patch(world.owner, f"users/{world.stranger.id}", {field: "x"}, If_Match=tag)
    assert_problem(answer, 400, "unknown_field")


def test_a_person_is_changed_as_seen(world: World) -> None:
    path = f"users/{world.stranger.id}"
    tag = fresh(world.owner).get(path).headers["ETag"]
    assert_problem(patch(world.owner, path, {"email": "s@example.com"}), 428, "precondition_required")
    for bad in ("*", '"usr_x:1"', tag + ', "x:1"', "W/" + tag):
        assert_problem(patch(world.owner, path, {}, If_Match=bad), 400, "invalid_if_match")
    changed = patch(world.owner, path, {"email": "s@example.com"}, If_Match=tag)
    assert (changed.status_code, changed.json()["email"]) == (200, "s@example.com")
    assert changed.headers["ETag"] == f'"{world.stranger.id}:2"'
    assert_problem(patch(world.owner, path, {"email": ""}, If_Match=tag), 412, "precondition_failed")


def test_disabling_stops_a_person_and_their_agents_at_the_next_call(world: World) -> None:
    path = f"users/{world.agent_owner.id}"
    queued = world.other_agent.propose("echo", {"text": "x"})
    assert queued["state"] == "queued"
    answer = fresh(world.owner).post(f"{path}/disable", REASON)
    assert (answer.status_code, answer.json()["state"]) == (200, "disabled")
    assert_problem(world.other_agent.get("whoami"), 401, "unauthenticated")
    assert_problem(world.agent_owner.get("whoami"), 401, "unauthenticated")
    assert_problem(world.owner.post(f"{path}/disable", REASON), 409, "state_changed")
    assert world.owner.post(f"{path}/enable", REASON).json()["state"] == "active"
    assert world.other_agent.get("whoami").status_code == 200


def test_the_last_owner_of_the_instance_stays(world: World) -> None:
    me = f"users/{world.owner.id}"
    for verb in ("disable", "reset-factor"):
        assert_problem(fresh(world.owner).post(f"{me}/{verb}", REASON), 409, "last_owner")


def test_a_reset_takes_factor_and_password_and_gives_one_link(world: World) -> None:
    path = f"users/{world.approver.id}/reset-factor"
    first = fresh(world.owner).post(path, REASON, Idempotency_Key="r")
    assert first.status_code == 200
    assert first.json()["setup_link"].startswith("http")
    assert first.json()["has_factor"] is False
    again = world.owner.post(path, REASON, Idempotency_Key="r").json()
    assert again == first.json() | {"setup_link": None, "secret_withheld": True}
    assert not TotpFactor.objects.filter(user_id=world.approver.id).exists()
    assert SetupLink.objects.filter(user_id=world.approver.id).count() == 1
    assert_problem(world.approver.get("whoami"), 401, "unauthenticated")


def test_a_stepped_up_token_is_no_longer_after_a_change_of_its_person(world: World) -> None:
    person = User.objects.get(pk=world.owner.id)
    fresh(world.owner)
    User.objects.filter(pk=person.pk).update(authority_epoch=person.authority_epoch + 1)
    assert_problem(world.owner.get("users"), 401, "step_up_required")


@pytest.mark.parametrize("path", ["users/nonsense", "users/agt_01JD0000000000000000000000"])
def test_a_malformed_id_is_refused(world: World, path: str) -> None:
    assert_problem(fresh(world.owner).get(path), 400, "invalid_id")
    assert_problem(world.owner.post(f"{path}/disable", REASON), 400, "invalid_id")


def test_an_unknown_person_is_not_found(world: World) -> None:
    path = "users/usr_01JD0000000000000000000000"
    assert_problem(fresh(world.owner).get(path), 404, "not_found")
    for verb in ("disable", "enable", "reset-factor"):
        assert_problem(world.owner.post(f"{path}/{verb}", REASON), 404, "not_found")
    assert_problem(
        patch(world.owner, path, {}, If_Match='"usr_01JD0000000000000000000000:1"'), 404, "not_found"
    )


def test_people_are_listed_by_name(world: World) -> None:
    page = fresh(world.owner).get("users?username=APPROVER&username=auditor").json()
    assert {row["username"] for row in page["data"]} == {"approver", "auditor"}
    assert all(row["has_factor"] for row in page["data"])
    first = world.owner.get("users?limit=2").json()
    assert (first["has_more"], len(first["data"])) == (True, 2)
    assert_problem(world.owner.get("users?name=x"), 400, "unknown_parameter")
