"""What becomes of a token that is sent in the wrong place, reported, or used."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine

from governance.journal.models import JournalEvent
from governance.operations import tokens as operations
from identity.models import ApiToken
from identity.tokens import PATTERN, TokenKind, format_token, new_token
from kernel.clock import utc_now
from tests.governance.api.test_authentication import assert_is_the_one_refusal, flipped
from tests.governance.api.world import Caller, World


def row_of(caller: Caller) -> ApiToken:
    return ApiToken.objects.get(lookup=caller.token.split("_")[2])


def exposures(caller: Caller) -> int:
    return JournalEvent.objects.filter(type="token.exposed", subject=row_of(caller).pk).count()


@pytest.mark.parametrize("name", ["token", "access_token", "q", "authorization"])
def test_a_token_in_a_query_is_refused_and_flagged_once(world: World, name: str) -> None:
    for _ in range(2):
        answer = world.owner.get(f"whoami?{name}={world.agent.token}")
        assert_is_the_one_refusal(answer, "/api/v1/whoami")
    assert row_of(world.agent).exposed_at is not None
    assert row_of(world.owner).exposed_at is None
    assert exposures(world.agent) == 1
    shown = world.owner.get(f"tokens/{row_of(world.agent).pk}").json()
    assert shown["exposed"] is True


@pytest.mark.parametrize("body", ['{"token": "%s"}', '{"input": {"deep": ["see %s"]}}', "not JSON: %s"])
def test_a_token_in_a_body_is_refused_and_flagged(world: World, body: str) -> None:
    answer = world.owner.send("POST", "runs", (body % world.agent.token).encode())
    assert_is_the_one_refusal(answer, "/api/v1/runs")
    assert exposures(world.agent) == 1


def test_a_form_with_a_token_is_refused_before_its_type_is_looked_at(world: World) -> None:
    data = f"access_token={world.agent.token}".encode()
    answer = world.nobody.send("POST", "runs", data, kind="application/x-www-form-urlencoded")
    assert_is_the_one_refusal(answer, "/api/v1/runs")
    assert exposures(world.agent) == 1


def test_what_only_resembles_a_token_flags_nothing(world: World) -> None:
    wrong = flipped(world.agent.token, 30)
    made_up = format_token(new_token(TokenKind.AGENT))
    assert world.agent.post("runs", {"purpose": wrong}).status_code == 201
    assert_is_the_one_refusal(world.agent.post("runs", {"purpose": made_up}), "/api/v1/runs")
    assert row_of(world.agent).exposed_at is None


def test_a_use_is_noted_at_most_once_a_minute_with_its_network_alone(world: World) -> None:
    start = utc_now() + timedelta(hours=1)
    seen = []
    for seconds in (0, 30, 59, 60, 90):
        with time_machine.travel(start + timedelta(seconds=seconds), tick=False):
            assert world.other_agent.get("whoami").status_code == 200
        seen.append(row_of(world.other_agent).last_used_at)
    assert seen == [start, start, start, start + timedelta(seconds=60), start + timedelta(seconds=60)]
    assert row_of(world.other_agent).last_used_network == "127.0.0.0/24"


def test_a_use_that_cannot_be_noted_fails_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**facts: object) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr(operations, "note_use", fail)
    ApiToken.objects.update(last_used_at=None)
    assert world.agent.get("whoami").status_code == 200
    assert row_of(world.agent).last_used_at is None


def test_a_refused_credential_leaves_no_use(world: World) -> None:
    ApiToken.objects.update(last_used_at=None)
    assert (
        world.agent.get("whoami", Authorization=f"Bearer {flipped(world.agent.token, 30)}").status_code == 401
    )
    assert row_of(world.agent).last_used_at is None


def test_anybody_ends_a_token_by_showing_its_text(world: World) -> None:
    texts = [world.other_agent.token, format_token(new_token(TokenKind.USER)), flipped(world.agent.token, 20)]
    answer = world.nobody.post("tokens/leaked", {"tokens": texts})
    assert answer.status_code == 202
    assert answer.json() == {"object": "leak_report", "received": 3, "revoked": 1}
    assert world.other_agent.get("whoami").status_code == 401
    assert world.agent.get("whoami").status_code == 200
    assert row_of(world.other_agent).revoked_reason == "leaked"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"tokens": ["x"] * 101}, 422),
        ({"tokens": "x"}, 422),
        ({"tokens": [7]}, 422),
        ({"tokens": ["x" * 513]}, 422),
        ({"tokens": ["\0"]}, 422),
        ({}, 422),
        ({"texts": []}, 400),
        ({"tokens": []}, 202),
        ({"tokens": ["", " ", "plr_"]}, 202),
    ],
)
def test_a_report_is_read_strictly(world: World, body: dict[str, Any], status: int) -> None:
    assert world.nobody.post("tokens/leaked", body).status_code == status


def test_reports_are_limited_for_each_address(world: World) -> None:
    answers = [world.nobody.post("tokens/leaked", {"tokens": []}) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [202] * 10 + [429]
    assert int(answers[-1].headers["Retry-After"]) >= 1


def test_scanners_are_told_how_a_token_reads(world: World) -> None:
    answer = world.nobody.get("/.well-known/palyra-tokens.json")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["regex"], body["prefix"], body["length"]) == (PATTERN, "plr_", len(world.agent.token))
    assert body["report_url"].endswith("/api/v1/tokens/leaked")
    assert "CRC-32" in body["checksum"]["description"]
    assert world.nobody.post("/.well-known/palyra-tokens.json", {}).status_code == 405
