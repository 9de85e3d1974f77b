"""Tokens over REST: what is asked, what is answered, and that a secret is shown once."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection, transaction

from governance.journal.ledger import record
from governance.models import IdempotencyRecord
from governance.operations import tokens
from identity import rollout
from identity.models import ApiToken, Membership, User
from identity.roles import WorkspaceRole
from identity.rollout import FlagWishes
from identity.tokens import PATTERN
from kernel.clock import utc_now
from tests.governance.api.stepping import fresh
from tests.governance.api.world import SHELL, Answer, Caller, World, add_person, owner_principal

OWN = {"label": "laptop", "kind": "usr", "scopes": ["runs.read"]}


def problem(answer: Answer) -> tuple[int, str]:
    return answer.status_code, str(answer.json()["code"])


def for_agent(world: World, **changes: Any) -> dict[str, Any]:
    return {"label": "ci", "kind": "agt", "agent": world.agent.id, "scopes": ["agent"]} | changes


def minted(caller: Caller, body: dict[str, Any]) -> dict[str, Any]:
    answer = fresh(caller).post("tokens", body)
    assert answer.status_code == 201, answer.content
    made: dict[str, Any] = answer.json()
    return made


def bearer(text: str) -> Caller:
    return Caller(text)


def switch_off_tokens() -> None:
    with transaction.atomic():
        rollout.change_flag(
            key="api_tokens",
            wishes=FlagWishes(reason="a test needs it", enabled=False, cascade=True),
            seen_version=1,
            actor=SHELL,
            now=utc_now(),
            record=record,
        )


def test_a_minted_token_works_and_says_everything_but_its_secret_again(world: World) -> None:
    body = for_agent(world, expires_in_days=30, rate_per_minute=60, allowed_networks=["127.0.0.1/8"])
    answer = fresh(world.owner).post("tokens", body)
    assert answer.status_code == 201, answer.content
    made = answer.json()
    assert answer.headers["Location"] == f"/api/v1/tokens/{made['id']}"
    assert re.fullmatch(PATTERN, made["token"])
    assert made["token"].startswith(made["prefix"] + "_")
    assert (made["state"], made["label"], made["kind"], made["secret_withheld"]) == (
        "active",
        "ci",
        "agt",
        False,
    )
    assert made["principal"] == {"type": "agent", "id": world.agent.id}
    assert (made["rate_per_minute"], made["allowed_networks"]) == (60, ["127.0.0.0/8"])
    assert (made["last_used_at"], made["exposed"]) == (None, False)
    assert bearer(made["token"]).get("whoami").json()["id"] == world.agent.id
    shown = world.owner.get(f"tokens/{made['id']}").json()
    assert set(made) - set(shown) == {"token", "secret_withheld"}
    secret = made["token"].split("_")[3]
    listed = world.owner.get("tokens").content.decode()
    assert made["id"] in listed
    assert secret not in listed + json.dumps(shown)


def test_the_secret_is_in_no_table(world: World) -> None:
    made = minted(world.owner, for_agent(world))
    replayed = fresh(world.owner).post("tokens", for_agent(world), Idempotency_Key="k-1")
    secrets = [made["token"].split("_")[3], replayed.json()["token"].split("_")[3]]
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f'SELECT * FROM "{table}"')  # noqa: S608  # names come from the database itself
            stored = repr(
                [[bytes(one) if isinstance(one, memoryview) else one for one in row] for row in cursor]
            )
            assert not any(secret in stored for secret in secrets), table


def test_a_replay_withholds_the_secret(world: World) -> None:
    for path in ("tokens", f"tokens/{minted(world.owner, for_agent(world))['id']}/rotate"):
        body = for_agent(world) if path == "tokens" else {}
        first = fresh(world.owner).post(path, body, Idempotency_Key=path)
        again = fresh(world.owner).post(path, body, Idempotency_Key=path)
        assert (first.status_code, again.status_code) == (201, 201)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert again.headers["Location"] == first.headers["Location"]
        assert again.json() == first.json() | {"token": None, "secret_withheld": True}
    stored = [bytes(row.response_body or b"") for row in IdempotencyRecord.objects.all()]
    assert stored
    assert not any(re.search(PATTERN.encode(), body) for body in stored)


def test_everybody_mints_and_ends_their_own_token_with_a_fresh_code(world: World) -> None:
    assert problem(world.auditor.post("tokens", OWN)) == (401, "step_up_required")
    made = minted(world.auditor, OWN)
    ended = world.auditor.post(f"tokens/{made['id']}/revoke", {"reason": "done"})
    assert (ended.status_code, ended.json()["state"]) == (200, "revoked")
    assert bearer(made["token"]).get("whoami").status_code == 401
    again = world.auditor.post(f"tokens/{made['id']}/revoke", {"reason": "other"})
    assert again.json() == ended.json()


@pytest.mark.parametrize(
    ("changes", "answer", "pointers"),
    [
        ({"scopes": []}, (422, "scopes_empty"), []),
        ({"scopes": ["runs.read", "no.such"]}, (422, "unknown_scope"), ["/scopes/1"]),
        ({"scopes": ["approvals.decide"]}, (422, "invalid"), ["/scopes/0"]),
        ({"kind": "svc", "agent": None}, (422, "invalid"), ["/agent"]),
        ({"kind": "adm"}, (422, "invalid"), ["/kind"]),
        ({"kind": "usr"}, (422, "invalid"), ["/kind"]),
        ({"label": ""}, (422, "invalid"), ["/label"]),
        ({"label": "x" * 81}, (422, "invalid"), ["/label"]),
        ({"expires_in_days": 0}, (422, "invalid"), ["/expires_in_days"]),
        ({"expires_in_days": 367}, (422, "invalid"), ["/expires_in_days"]),
        ({"expires_in_days": "30"}, (422, "invalid"), ["/expires_in_days"]),
        ({"rate_per_minute": 9}, (422, "invalid"), ["/rate_per_minute"]),
        ({"rate_per_minute": 10_001}, (422, "invalid"), ["/rate_per_minute"]),
        ({"allowed_networks": ["nowhere"]}, (422, "invalid"), ["/allowed_networks/0"]),
        ({"allowed_networks": ["::/0"] * 33}, (422, "invalid"), ["/allowed_networks"]),
        ({"agent": "agt_01JD0000000000000000000000"}, (404, "not_found"), []),
        ({"agent": "usr_01JD0000000000000000000000"}, (400, "invalid_id"), []),
        ({"owner": "x"}, (400, "unknown_field"), ["/owner"]),
    ],
)
def test_a_request_outside_the_rules_is_pointed_at(
    world: World, changes: dict[str, Any], answer: tuple[int, str], pointers: list[str]
) -> None:
    before = ApiToken.objects.count()
    refused = fresh(world.owner).post("tokens", for_agent(world, **changes))
    assert problem(refused) == answer
    assert [item["pointer"] for item in refused.json()["errors"]] == pointers
    assert ApiToken.objects.count() == before


def test_a_service_that_would_decide_is_refused(world: World) -> None:
    body = {"label": "bot", "kind": "svc", "scopes": ["approvals.decide"]}
    assert problem(fresh(world.owner).post("tokens", body)) == (422, "invalid")


def test_a_scope_above_the_role_is_named(world: World) -> None:
    refused = fresh(world.auditor).post("tokens", OWN | {"scopes": ["runs.read", "policy.activate"]})
    assert problem(refused) == (403, "scope_exceeds_minter")
    assert [(item["pointer"], item["detail"]) for item in refused.json()["errors"]] == [
        ("/scopes/1", "policy.activate")
    ]


def test_an_agent_gets_nowhere(world: World) -> None:
    own = ApiToken.objects.get(lookup=world.agent.token.split("_")[2])
    assert problem(world.agent.post("tokens", OWN)) == (403, "role_required")
    assert problem(world.agent.post("tokens", for_agent(world))) == (403, "role_required")
    assert world.agent.get("tokens").json()["data"] == []
    for path in (f"tokens/{own.pk}/rotate", f"tokens/{own.pk}/revoke"):
        assert problem(world.agent.post(path, {})) == (404, "not_found")
    assert problem(world.agent.post("auth/step-up", {"otp": "000000"})) == (403, "role_required")


def test_a_token_of_another_person_is_seen_by_readers_and_ended_by_who_manages_them(world: World) -> None:
    made = minted(world.approver, OWN)
    path = f"tokens/{made['id']}"
    assert world.auditor.get(path).status_code == 200
    assert problem(world.stranger.get(path)) == (404, "not_found")
    assert problem(world.stranger.post(f"{path}/revoke", {})) == (404, "not_found")
    assert problem(fresh(world.auditor).post(f"{path}/revoke", {})) == (403, "role_required")
    assert problem(fresh(world.owner).post(f"{path}/rotate", {})) == (403, "role_required")
    assert world.owner.post(f"{path}/revoke", {"reason": "left"}).status_code == 200


def test_lists_filter_by_state_and_kind(world: World) -> None:
    made = minted(world.owner, for_agent(world))
    fresh(world.owner).post(f"tokens/{made['id']}/rotate", {})
    found = world.owner.get("tokens?state=overlapping&kind=agt").json()["data"]
    assert [row["id"] for row in found] == [made["id"]]
    assert problem(world.owner.get("tokens?state=asleep")) == (400, "invalid_parameter")
    assert problem(world.owner.get("tokens?colour=red")) == (400, "unknown_parameter")
    first = world.owner.get("tokens?limit=1").json()
    assert first["has_more"]
    assert len(world.owner.get(f"tokens?limit=1&cursor={first['next_cursor']}").json()["data"]) == 1


def test_rotation_overlaps_with_a_notice_and_a_second_one_is_refused(world: World) -> None:
    made = minted(world.owner, for_agent(world))
    rotated = fresh(world.owner).post(f"tokens/{made['id']}/rotate", {"overlap_seconds": 2})
    assert rotated.status_code == 201
    heir = rotated.json()
    assert (heir["rotated_from"], heir["scopes"]) == (made["id"], made["scopes"])
    old, new = bearer(made["token"]).get("whoami"), bearer(heir["token"]).get("whoami")
    assert (old.status_code, new.status_code) == (200, 200)
    assert re.fullmatch(r"@\d{10}", old.headers["Deprecation"])
    assert int(old.headers["Deprecation"][1:]) <= utc_now().timestamp()
    assert old.headers["Sunset"].endswith("GMT")
    assert not {"Deprecation", "Sunset"} & set(new.headers)
    assert world.owner.get(f"tokens/{made['id']}").json()["state"] == "overlapping"
    again = fresh(world.owner).post(f"tokens/{made['id']}/rotate", {})
    assert problem(again) == (409, "already_rotated")
    with time_machine.travel(utc_now() + timedelta(seconds=3), tick=False):
        assert bearer(made["token"]).get("whoami").status_code == 401
        assert bearer(heir["token"]).get("whoami").status_code == 200
        assert world.owner.get(f"tokens/{made['id']}").json()["state"] == "expired"


def test_a_run_of_a_rotated_token_belongs_to_its_successor(world: World) -> None:
    made = minted(world.owner, for_agent(world))
    run = bearer(made["token"]).open_run()
    heir = fresh(world.owner).post(f"tokens/{made['id']}/rotate", {"overlap_seconds": 0}).json()
    assert bearer(heir["token"]).get(f"runs/{run}").json()["id"] == run


def test_a_code_counts_for_the_token_that_entered_it_from_there(world: World) -> None:
    twin = Caller(minted(world.approver, OWN)["token"], world.approver.id, world.approver.seed)
    assert problem(twin.post("tokens", OWN)) == (401, "step_up_required")
    answer = twin.post("auth/step-up", {"otp": twin.code()})
    assert (answer.status_code, answer.content) == (204, b"")
    assert twin.post("tokens", OWN).status_code == 201
    with time_machine.travel(utc_now() + timedelta(seconds=301), tick=False):
        assert problem(twin.post("tokens", OWN)) == (401, "step_up_required")


@pytest.mark.parametrize("otp", ["000000", "abc", "1234567"])
def test_a_wrong_code_elevates_nothing(world: World, otp: str) -> None:
    answer = world.approver.post("auth/step-up", {"otp": otp})
    assert problem(answer) == (401, "step_up_required")
    assert "insufficient_user_authentication" in answer.headers["WWW-Authenticate"]
    assert problem(world.approver.post("tokens", OWN)) == (401, "step_up_required")


def test_a_code_is_used_once_even_for_two_elevations(world: World) -> None:
    code = world.second_approver.code()
    assert world.second_approver.post("auth/step-up", {"otp": code}).status_code == 204
    assert problem(world.second_approver.post("auth/step-up", {"otp": code})) == (401, "step_up_required")


def test_an_elevation_ends_with_another_network_a_new_role_a_rotation_and_a_revocation(world: World) -> None:
    def may(caller: Caller) -> bool:
        return caller.post("tokens", OWN).status_code == 201

    caller = fresh(Caller(minted(world.owner, OWN)["token"], world.owner.id))
    row = ApiToken.objects.get(lookup=caller.token.split("_")[2])
    assert may(caller)
    row.elevation.network = "192.0.2.0/24"
    row.elevation.save()
    assert not may(caller)
    fresh(caller)
    User.objects.filter(pk=caller.id).update(authority_epoch=99)
    assert not may(caller)
    assert may(fresh(caller))
    heir = caller.post(f"tokens/{row.pk}/rotate", {}).json()
    assert not may(caller)
    assert not may(bearer(heir["token"]))


def test_while_tokens_are_off_nothing_is_used_but_an_admin_token_that_lists_and_revokes(world: World) -> None:
    made = minted(world.owner, for_agent(world))
    owner = User.objects.get(pk=world.owner.id)
    text = tokens.mint_admin(
        username=owner.username,
        scopes=["tokens.read", "api_tokens.manage", "tokens.mint"],
        days=1,
        now=utc_now(),
    ).text
    switch_off_tokens()
    admin = bearer(text)
    assert problem(world.owner.get("tokens")) == (403, "feature_disabled")
    assert problem(world.agent.get("whoami")) == (403, "feature_disabled")
    assert problem(admin.post("tokens", for_agent(world))) == (403, "feature_disabled")
    assert problem(admin.post("tokens", OWN)) == (403, "feature_disabled")
    assert problem(admin.post(f"tokens/{made['id']}/rotate", {})) == (403, "feature_disabled")
    assert made["id"] in [row["id"] for row in admin.get("tokens").json()["data"]]
    assert admin.post(f"tokens/{made['id']}/revoke", {}).status_code == 200


def test_an_admin_token_cannot_be_stepped_up(world: World) -> None:
    text = tokens.mint_admin(username="owner", scopes=["tokens.read"], days=None, now=utc_now()).text
    refused = bearer(text).post("auth/step-up", {"otp": world.owner.code()})
    assert problem(refused) == (403, "role_required")


def test_an_object_of_another_workspace_is_not_found(world: World) -> None:
    local = add_person(
        "local-admin", world.workspace, owner_principal(world, utc_now()), WorkspaceRole.ADMIN, now=utc_now()
    )
    made = minted(world.owner, OWN)
    elsewhere = Membership.objects.filter(user_id=world.owner.id).exclude(workspace=world.workspace).first()
    assert elsewhere is not None
    ApiToken.objects.filter(pk=made["id"]).update(workspace=elsewhere.workspace)
    for answer in (
        local.get(f"tokens/{made['id']}"),
        fresh(local).post(f"tokens/{made['id']}/rotate", {}),
        local.post(f"tokens/{made['id']}/revoke", {}),
    ):
        assert problem(answer) == (404, "not_found")
    assert made["id"] not in local.get("tokens").content.decode()


def test_the_two_tokens_of_the_first_start_are_known_as_such(world: World) -> None:
    found = ApiToken.objects.filter(from_bootstrap=True).values_list("kind", flat=True)
    assert sorted(found) == ["agt", "usr"]
