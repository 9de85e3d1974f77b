"""Webhooks and subscriptions over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import transaction
from pytest_django.fixtures import Settings

from governance.journal.models import JournalPayload
from governance.models import IdempotencyRecord
from governance.notifications.models import WebhookDelivery, WebhookEndpoint
from governance.notifications.webhooks import MOST_ENDPOINTS
from identity.models import Workspace
from identity.roles import WorkspaceRole
from kernel.clock import utc_now
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.world import Answer, Caller, World, add_person, owner_principal

URL = "https://hooks.example.com/palyra?key=hunter2"
BODY = {"url": URL, "event_types": ["approval.*", "freeze.set"], "description": "the pager"}


def create(world: World, **changes: Any) -> dict[str, Any]:
    """Make a webhook as the owner and return it with its secret."""
    answer = world.owner.post("webhooks", BODY | changes)
    assert answer.status_code == 201, answer.content
    made: dict[str, Any] = answer.json()
    return made


def send(caller: Caller, method: str, path: str, body: object, **headers: str) -> Answer:
    return caller.send(method, path, json.dumps(body).encode(), **headers)


def tag(made: dict[str, Any], version: int = 1) -> str:
    return f'"{made["id"]}:{version}"'


def test_a_webhook_is_made_and_its_secret_told_once(world: World) -> None:
    first = world.owner.post("webhooks", BODY, Idempotency_Key="k")
    made = first.json()
    assert first.headers["Location"] == f"/api/v1/webhooks/{made['id']}"
    assert (made["secret"][:6], made["secret_withheld"]) == ("whsec_", False)
    again = world.owner.post("webhooks", BODY, Idempotency_Key="k")
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (201, "true")
    assert again.json() == made | {"secret": None, "secret_withheld": True}
    shown = world.owner.get(f"webhooks/{made['id']}")
    told = {name: value for name, value in made.items() if not name.startswith("secret")}
    assert (shown.json(), shown.headers["ETag"]) == (told, tag(made))
    assert world.owner.get(f"webhooks/{made['id']}", If_None_Match=tag(made)).status_code == 304
    assert world.owner.get("webhooks").json()["data"] == [told]
    assert told == {
        "id": made["id"],
        "object": "webhook",
        "workspace": world.workspace.pk,
        "url": URL,
        "description": "the pager",
        "event_types": ["approval.*", "freeze.set"],
        "enabled": True,
        "disabled_reason": None,
        "failing_since": None,
        "previous_secret_until": None,
        "created_by": world.owner.id,
        "created_at": told["created_at"],
        "version": 1,
    }


def test_a_secret_lies_nowhere_in_plain_text(world: World) -> None:
    made = create(world)
    world.owner.post("webhooks", BODY, Idempotency_Key="k")
    stored = [
        str(row)
        for model in (WebhookEndpoint, IdempotencyRecord, JournalPayload)
        for row in model.objects.values()
    ]
    assert not any(made["secret"] in text or made["secret"][6:30] in text for text in stored)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "http://169.254.169.254/",
        "https://169.254.169.254/latest/meta-data",
        "https://127.0.0.1:8470/",
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://user:secret@hooks.example.com/",
        "gopher://hooks.example.com/",
        "https://hooks.example.com/\u0000",
        "hooks.example.com",
    ],
)
def test_an_address_inside_is_refused(world: World, url: str) -> None:
    refused = world.owner.post("webhooks", BODY | {"url": url})
    assert_problem(refused, 422, "invalid")
    assert refused.json()["errors"][0]["pointer"] == "/url"
    made = create(world)
    changed = send(world.owner, "PATCH", f"webhooks/{made['id']}", {"url": url}, If_Match=tag(made))
    assert_problem(changed, 422, "invalid")


def test_what_is_inside_is_opened_by_the_operator(world: World, settings: Settings) -> None:
    settings.PALYRA_WEBHOOK_ALLOW_PRIVATE = True
    create(world, url="https://10.0.0.1/")
    assert_problem(world.owner.post("webhooks", BODY | {"url": "http://127.0.0.1/"}), 422, "invalid")
    assert_problem(world.owner.post("webhooks", BODY | {"url": "https://169.254.169.254/"}), 422, "invalid")
    settings.DEBUG = True
    create(world, url="http://127.0.0.1:9000/")
    assert_problem(world.owner.post("webhooks", BODY | {"url": "http://10.0.0.1/"}), 422, "invalid")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "invalid"),
        ({"url": URL}, 422, "invalid"),
        ({"url": URL, "event_types": []}, 422, "invalid"),
        ({"url": URL, "event_types": ["login.failed"]}, 422, "invalid"),
        ({"url": URL, "event_types": ["approval"]}, 422, "invalid"),
        ({"url": URL, "event_types": "*"}, 422, "invalid"),
        ({"url": URL, "event_types": [1]}, 422, "invalid"),
        ({"url": URL, "event_types": ["*"] * 21}, 422, "invalid"),
        ({"url": 7, "event_types": ["*"]}, 422, "invalid"),
        ({"url": URL, "event_types": ["*"], "description": "x" * 501}, 422, "invalid"),
        ({"url": URL, "event_types": ["*"], "secret": "whsec_mine"}, 400, "unknown_field"),
        ({"url": URL, "event_types": ["*"], "workspace": "wsp_1"}, 400, "unknown_field"),
    ],
)
def test_what_is_no_webhook(world: World, body: dict[str, Any], status: int, code: str) -> None:
    assert_problem(world.owner.post("webhooks", body), status, code)
    assert not WebhookEndpoint.objects.exists()


def test_a_webhook_is_changed_as_seen(world: World) -> None:
    made = create(world)
    path = f"webhooks/{made['id']}"
    assert_problem(send(world.owner, "PATCH", path, {"enabled": False}), 428, "precondition_required")
    assert_problem(
        send(world.owner, "PATCH", path, {"enabled": False}, If_Match=tag(made, 2)),
        412,
        "precondition_failed",
    )
    off = send(world.owner, "PATCH", path, {"enabled": False}, If_Match=tag(made))
    assert (off.json()["disabled_reason"], off.headers["ETag"]) == ("person", tag(made, 2))
    on = send(world.owner, "PATCH", path, {"enabled": True, "event_types": ["*"]}, If_Match=tag(made, 2))
    assert (on.json()["disabled_reason"], on.json()["event_types"]) == (None, ["*"])
    same = send(world.owner, "PATCH", path, {}, If_Match=tag(made, 3))
    assert same.headers["ETag"] == tag(made, 3)
    assert_problem(
        send(world.owner, "PATCH", path, {"version": 9}, If_Match=tag(made, 3)), 400, "unknown_field"
    )


def test_a_webhook_is_deleted_as_seen_and_gone_for_good(world: World) -> None:
    made = create(world)
    path = f"webhooks/{made['id']}"
    assert_problem(send(world.owner, "DELETE", path, {}), 428, "precondition_required")
    assert_problem(send(world.owner, "DELETE", path, {}, If_Match=tag(made, 7)), 412, "precondition_failed")
    assert send(world.owner, "DELETE", path, {}, If_Match=tag(made)).status_code == 204
    assert_problem(send(world.owner, "DELETE", path, {}, If_Match=tag(made)), 404, "not_found")
    for verb in ("rotate", "test"):
        assert_problem(world.owner.post(f"{path}/{verb}"), 404, "not_found")
    assert_problem(world.owner.get(f"{path}/deliveries"), 404, "not_found")
    assert world.owner.get("webhooks").json()["data"] == []


def test_a_rotation_tells_another_secret_once(world: World) -> None:
    made = create(world)
    path = f"webhooks/{made['id']}/rotate"
    turned = world.owner.post(path, Idempotency_Key="k")
    assert turned.status_code == 200
    assert turned.json()["secret"] != made["secret"]
    assert turned.json()["previous_secret_until"] is not None
    again = world.owner.post(path, Idempotency_Key="k")
    assert (again.json()["secret"], again.json()["secret_withheld"]) == (None, True)
    assert WebhookEndpoint.objects.get().version == 2


def test_a_test_is_listed_and_sent_again_when_it_ended(world: World) -> None:
    made = create(world)
    sent = world.owner.post(f"webhooks/{made['id']}/test", Idempotency_Key="k")
    assert (sent.status_code, sent.json()["type"], sent.json()["state"]) == (202, "webhook.test", "pending")
    assert world.owner.post(f"webhooks/{made['id']}/test", Idempotency_Key="k").json() == sent.json()
    replay = f"webhooks/deliveries/{sent.json()['id']}/replay"
    assert_problem(world.owner.post(replay), 409, "state_changed")
    WebhookDelivery.objects.update(state="failed", next_attempt_at=None)
    assert world.owner.post(replay).json()["state"] == "pending"
    listed = world.owner.get(f"webhooks/{made['id']}/deliveries?state=pending&type=webhook.test").json()
    assert [row["id"] for row in listed["data"]] == [sent.json()["id"]]
    assert world.owner.get(f"webhooks/{made['id']}/deliveries?state=failed").json()["data"] == []
    assert_problem(world.owner.get(f"webhooks/{made['id']}/deliveries?state=lost"), 400, "invalid_parameter")


def test_a_workspace_has_twenty_at_most(world: World) -> None:
    made = create(world)
    row = WebhookEndpoint.objects.get()
    for number in range(MOST_ENDPOINTS - 1):
        row.pk = f"whk_{number}"
        row.save(force_insert=True)
    assert_problem(world.owner.post("webhooks", BODY), 409, "conflict")
    send(world.owner, "DELETE", f"webhooks/{made['id']}", {}, If_Match=tag(made))
    create(world)


def test_only_those_who_manage_webhooks_know_of_them(world: World) -> None:
    made = create(world)
    for caller in (world.approver, world.auditor, world.agent_owner, world.stranger):
        assert_problem(caller.get("webhooks"), 403, "role_required")
        assert_problem(caller.get(f"webhooks/{made['id']}"), 403, "role_required")
        assert_problem(caller.post("webhooks", BODY), 403, "role_required")
    assert_problem(world.agent.get("webhooks"), 403, "role_required")
    assert world.nobody.get("webhooks").status_code == 401


def test_one_of_another_workspace_is_not_there(world: World) -> None:
    """An administrator of one workspace finds, changes and replays nothing of another."""
    made = create(world)
    sent = world.owner.post(f"webhooks/{made['id']}/test").json()
    now = utc_now()
    with transaction.atomic():
        elsewhere = Workspace.objects.create(
            id="wsp_01JD0000000000000000000001", slug="other", name="Other", created_at=now
        )
        admin = add_person(
            "other-admin", elsewhere, owner_principal(world, now), WorkspaceRole.ADMIN, now=now
        )
    assert admin.get("webhooks").json()["data"] == []
    assert_problem(admin.get(f"webhooks/{made['id']}"), 404, "not_found")
    assert_problem(admin.post(f"webhooks/{made['id']}/rotate"), 404, "not_found")
    assert_problem(admin.post(f"webhooks/deliveries/{sent['id']}/replay"), 404, "not_found")
    own = admin.post("webhooks", BODY).json()
    assert own["workspace"] == elsewhere.pk


def test_everybody_sets_what_they_want_mail_about(world: World) -> None:
    default = world.approver.get("notifications/subscription").json()
    assert (default["enabled"], default["minimum_risk"], default["subject_types"]) == (False, "low", [])
    wished = {
        "enabled": True,
        "minimum_risk": "high",
        "subject_types": ["skill", "tool"],
        "quiet_from": 1_320,
        "quiet_to": 420,
        "time_zone": "Europe/Berlin",
    }
    kept = send(world.approver, "PUT", "notifications/subscription", wished)
    assert kept.status_code == 200
    assert world.approver.get("notifications/subscription").json() == default | wished
    less = send(world.approver, "PUT", "notifications/subscription", {"enabled": True})
    assert less.json() == default | {"enabled": True}, "what is not given has its default"
    assert world.second_approver.get("notifications/subscription").json() == default


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"enabled": "yes"},
        {"enabled": True, "minimum_risk": "extreme"},
        {"enabled": True, "subject_types": ["everything"]},
        {"enabled": True, "quiet_from": 60},
        {"enabled": True, "quiet_from": 60, "quiet_to": 1_440},
        {"enabled": True, "time_zone": "../../etc/passwd"},
        {"enabled": True, "time_zone": "Europe"},
    ],
)
def test_wishes_that_cannot_be_meant(world: World, body: dict[str, Any]) -> None:
    assert_problem(send(world.approver, "PUT", "notifications/subscription", body), 422, "invalid")


def test_mail_is_for_people_with_a_role(world: World) -> None:
    for caller in (world.agent, world.stranger):
        assert_problem(caller.get("notifications/subscription"), 403, "role_required")
        refused = send(caller, "PUT", "notifications/subscription", {"enabled": True})
        assert_problem(refused, 403, "role_required")
