"""Who gets in, and what the others are told: the same to all of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.conf import settings
from django.db import transaction
from django.test import Client

from governance.journal.ledger import record
from governance.operations import signing_in
from governance.operations.signing_in import Claim
from identity.models import Agent, ApiToken
from identity.revocation import revoke_token
from identity.roles import AGENT_PERMISSIBLE
from identity.sessions import Browser
from kernel.clock import utc_now
from tests.governance.api.routes import PRIVATE_ROUTES, Route
from tests.governance.api.world import PASSWORD, Answer, World, mint_for_agent, owner_principal

CHALLENGE = 'Bearer realm="palyra", error="invalid_token"'


def without_own_marks(answer: Answer) -> dict[str, Any]:
    """Return a problem without what differs from request to request."""
    body: dict[str, Any] = answer.json()
    del body["request_id"]
    return body


def assert_is_the_one_refusal(answer: Answer, path: str) -> None:
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == CHALLENGE
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert without_own_marks(answer) == {
        "type": "https://palyra.dev/errors/unauthenticated",
        "title": "Authentication is required",
        "status": 401,
        "detail": "A valid bearer token is required.",
        "instance": path,
        "code": "unauthenticated",
        "errors": [],
        "trace_id": None,
    }


@pytest.mark.parametrize("route", PRIVATE_ROUTES, ids=str)
def test_no_route_answers_without_a_token(world: World, route: Route) -> None:
    answer = world.nobody.send(route.method, route.path, b"{}")
    assert_is_the_one_refusal(answer, route.path)


def revoked(world: World) -> str:
    with transaction.atomic():
        now = utc_now()
        agent = Agent.objects.get(pk=world.agent.id)
        made = mint_for_agent(agent, world.workspace, owner_principal(world, now), now=now)
        token = ApiToken.objects.get(lookup=made.token.split("_")[2])
        actor = owner_principal(world, now).actor()
        revoke_token(token_id=token.pk, reason="test", actor=actor, now=now, record=record)
    return f"Bearer {made.token}"


def expired(world: World) -> str:
    now = utc_now() - timedelta(hours=2)
    agent = Agent.objects.get(pk=world.agent.id)
    with transaction.atomic(), time_machine.travel(now, tick=False):
        minter = owner_principal(world, now)
        made = mint_for_agent(agent, world.workspace, minter, now=now, life=timedelta(hours=1))
    return f"Bearer {made.token}"


def flipped(text: str, at: int) -> str:
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]


BAD_HEADERS: dict[str, Callable[[World], str]] = {
    "an unknown token": lambda world: f"Bearer plr_agt_{'0' * 12}_{'0' * 43}4Lw7tR",
    "a revoked token": revoked,
    "an expired token": expired,
    "one character changed": lambda world: f"Bearer {flipped(world.agent.token, 30)}",
    "another kind": lambda world: f"Bearer {world.agent.token.replace('_agt_', '_usr_')}",
    "no scheme": lambda world: world.agent.token,
    "another scheme": lambda world: f"Basic {world.agent.token}",
    "only the scheme": lambda world: "Bearer",
    "an empty value": lambda world: "",
    "a trailing word": lambda world: f"Bearer {world.agent.token} x",
    "two values": lambda world: f"Bearer {world.agent.token}, Bearer {world.agent.token}",
    "513 bytes": lambda world: "Bearer " + " " * 436 + world.agent.token,
    "a NUL": lambda world: f"Bearer {world.agent.token}\0",
    "letters beyond ASCII": lambda world: "Bearer plr_agt_äöü",
}


@pytest.mark.parametrize("cause", BAD_HEADERS)
def test_every_bad_credential_gets_the_same_answer(world: World, cause: str) -> None:
    answer = world.nobody.get("whoami", Authorization=BAD_HEADERS[cause](world))
    assert_is_the_one_refusal(answer, "/api/v1/whoami")


@pytest.mark.parametrize("name", ["token", "access_token"])
def test_a_token_in_the_query_is_refused_even_beside_a_good_one(world: World, name: str) -> None:
    for caller in (world.nobody, world.agent):
        answer = caller.get(f"whoami?{name}={world.agent.token}")
        assert_is_the_one_refusal(answer, "/api/v1/whoami")
        assert world.agent.token not in answer.content.decode()


def test_a_token_in_the_body_is_no_credential(world: World) -> None:
    body = {"token": world.agent.token, "authorization": f"Bearer {world.agent.token}"}
    assert_is_the_one_refusal(world.nobody.post("runs", body), "/api/v1/runs")


def test_the_scheme_is_read_in_any_case(world: World) -> None:
    answer = world.nobody.get("whoami", Authorization=f"bEARER {world.agent.token}")
    assert answer.status_code == 200


def test_a_console_session_opens_no_route_of_the_api(world: World) -> None:
    client = Client()
    claim = Claim("approver", PASSWORD, world.approver.code())
    key = signing_in.log_in(claim=claim, browser=Browser("127.0.0.1"), now=utc_now())
    client.cookies[settings.SESSION_COOKIE_NAME] = key
    assert client.get("/admin/").status_code == 200
    assert_is_the_one_refusal(client.get("/api/v1/whoami"), "/api/v1/whoami")


def test_an_archived_agent_and_a_disabled_owner_lose_every_token(world: World) -> None:
    Agent.objects.filter(pk=world.other_agent.id).update(state="archived")
    assert_is_the_one_refusal(world.other_agent.get("whoami"), "/api/v1/whoami")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/api/schema/"])
def test_public_routes_need_no_token(world: World, path: str) -> None:
    assert world.nobody.get(path).status_code == 200


@pytest.mark.parametrize(
    "route", [item for item in PRIVATE_ROUTES if item.permission in AGENT_PERMISSIBLE], ids=str
)
def test_a_token_without_the_scope_is_refused(world: World, route: Route) -> None:
    now = utc_now()
    agent = Agent.objects.get(pk=world.agent.id)
    other = "usage.read"
    with transaction.atomic():
        minter = owner_principal(world, now)
        poor = mint_for_agent(agent, world.workspace, minter, now=now, scopes=(other,))
    answer = poor.send(route.method, route.path, b"{}")
    assert answer.status_code == 403
    assert answer.json()["code"] == "insufficient_scope"
    assert answer.json()["detail"] == f"This credential does not hold {route.permission}."


@pytest.mark.parametrize(
    "route",
    [item for item in PRIVATE_ROUTES if item.permission and item.permission not in AGENT_PERMISSIBLE],
    ids=str,
)
def test_what_is_for_people_is_closed_to_every_agent(world: World, route: Route) -> None:
    """A workspace that a path names is unknown to an agent before anything is asked about it."""
    answer = world.agent.send(route.method, route.path, b"{}")
    if answer.status_code == 404:
        assert "{workspace_id}" in route.template
        return
    assert answer.status_code == 403
    assert answer.json()["code"] in ("insufficient_scope", "role_required", "feature_disabled")
