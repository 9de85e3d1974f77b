"""What callers see of the limits: how much is left, when to come back, and nothing of why they failed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from pytest_django.fixtures import Settings

from governance.journal.models import JournalEvent
from governance.journal.reading import open_data
from governance.models import Run
from governance.operations import sweeping
from identity import rejections
from identity.models import ApiToken, FeatureFlag, RejectionTally
from identity.networks import parse_networks
from kernel.clock import utc_now
from kernel.errors import UnavailableError
from tests.governance.api.world import Answer, Caller, World
from tests.support_servers import free_port, redis_process

LIMIT = 12


@pytest.fixture(autouse=True)
def still() -> Iterator[None]:
    """Let no time pass but what a test passes itself: waits are of seconds, sums of minutes."""
    with time_machine.travel(utc_now(), tick=False):
        yield


@pytest.fixture
def slow(world: World) -> Caller:
    """The agent, with a token of twelve requests a minute."""
    token_of(world.agent).update(rate_per_minute=LIMIT)
    return world.agent


def token_of(caller: Caller) -> Any:
    return ApiToken.objects.filter(lookup=caller.token.split("_")[2])


def spend(caller: Caller) -> list[Answer]:
    return [caller.get("whoami") for _ in range(LIMIT)]


def left(answer: Answer) -> int:
    found = re.fullmatch(r'"token";r=(\d+);t=(\d+)', answer.headers["RateLimit"])
    assert found is not None, answer.headers["RateLimit"]
    assert 1 <= int(found[2]) <= 61
    return int(found[1])


def bad(world: World, **headers: str) -> Answer:
    return world.nobody.get("whoami", Authorization="Bearer wrong", **headers)


def test_what_is_left_falls_to_nothing_and_then_the_wait_is_named(slow: Caller) -> None:
    answers = spend(slow)
    assert [answer.status_code for answer in answers] == [200] * LIMIT
    assert [left(answer) for answer in answers] == list(range(LIMIT - 1, -1, -1))
    assert {answer.headers["RateLimit-Policy"] for answer in answers} == {f'"token";q={LIMIT};w=60'}
    refused = slow.get("whoami")
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert left(refused) == 0
    seconds, milliseconds = int(refused.headers["Retry-After"]), int(refused.headers["retry-after-ms"])
    assert 1 <= seconds <= 61
    assert (seconds - 1) * 1000 < milliseconds <= seconds * 1000


def test_after_the_wait_there_is_room_again(slow: Caller) -> None:
    now = utc_now()
    with time_machine.travel(now, tick=False) as clock:
        spend(slow)
        wait = int(slow.get("whoami").headers["retry-after-ms"])
        clock.shift(timedelta(milliseconds=wait - 1))
        assert slow.get("whoami").status_code == 429
        clock.shift(timedelta(milliseconds=1))
        assert slow.get("whoami").status_code == 200


def test_requests_that_were_refused_for_another_reason_count(slow: Caller) -> None:
    answers = [slow.post("runs", {"unknown": number}) for number in range(LIMIT)]
    assert {answer.status_code for answer in answers} == {400}
    assert left(answers[-1]) == 0
    assert slow.get("whoami").status_code == 429


def test_the_limit_comes_before_the_feature_and_the_scope(slow: Caller) -> None:
    FeatureFlag.objects.filter(key="api_tokens").update(enabled=False)
    assert slow.get("whoami").json()["code"] == "feature_disabled"
    spend(slow)
    for answer in (slow.get("whoami"), slow.post("runs", {}), slow.get("approvals")):
        assert answer.json()["code"] == "rate_limited"


def test_a_rotation_gives_no_second_allowance(slow: Caller, world: World) -> None:
    token_of(world.other_agent).update(rate_per_minute=LIMIT, family=token_of(slow).get().family)
    spend(slow)
    assert world.other_agent.get("whoami").status_code == 429


def test_other_tokens_are_not_held_up(slow: Caller, world: World) -> None:
    spend(slow)
    assert slow.get("whoami").status_code == 429
    assert world.other_agent.get("whoami").status_code == 200


def test_a_request_without_token_carries_no_limit(world: World) -> None:
    for answer in (world.nobody.get("/healthz"), world.nobody.get("whoami"), bad(world)):
        assert "RateLimit" not in answer.headers
        assert "RateLimit-Policy" not in answer.headers


def test_without_its_limiter_nobody_gets_in(world: World, settings: Settings) -> None:
    settings.PALYRA_REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    for answer in (world.agent.get("whoami"), world.agent.post("runs", {}), bad(world)):
        assert (answer.status_code, answer.json()["code"]) == (503, "rate_limiter_unavailable")
        assert answer.headers["Retry-After"] == "1"
    assert not RejectionTally.objects.exists()


@pytest.mark.redis
def test_a_redis_that_is_lost_in_mid_traffic_lets_nobody_in(world: World, settings: Settings) -> None:
    with redis_process() as url:
        settings.PALYRA_REDIS_URL = url
        assert [world.agent.post("runs", {}).status_code for _ in range(3)] == [201] * 3
    made = Run.objects.count()
    for answer in (world.agent.post("runs", {}), world.agent.get("whoami")):
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json()["code"] == "rate_limiter_unavailable"
    assert Run.objects.count() == made


CAUSES = ("", "Bearer", "Bearer wrong", "Basic x", "Bearer plr_agt_" + "0" * 12 + "_" + "0" * 43 + "4Lw7tR")


def test_ten_failures_are_refused_and_the_rest_is_turned_away_alike(world: World) -> None:
    """An absent credential counts like a bad one, and no cause can be told from another."""
    answers = [world.nobody.get("whoami")]
    answers += [world.nobody.get("whoami", Authorization=CAUSES[number % 5]) for number in range(9)]
    assert {answer.status_code for answer in answers} == {401}
    bodies = set()
    for cause in CAUSES:
        turned = world.nobody.get("whoami", Authorization=cause)
        assert turned.status_code == 429
        assert turned.headers["Retry-After"] == "2"
        bodies.add(str(turned.json() | {"request_id": ""}))
    assert len(bodies) == 1
    assert "authentication_throttled" in bodies.pop()


def test_a_valid_token_passes_from_an_address_that_has_to_wait(world: World) -> None:
    for _ in range(12):
        last = bad(world)
    assert last.status_code == 429
    assert world.agent.get("whoami").status_code == 200
    assert bad(world).status_code == 429


@pytest.mark.parametrize("path", ["/v1/models", "/mcp"])
def test_a_closed_surface_stays_out_of_sight_of_an_address_that_has_to_wait(world: World, path: str) -> None:
    assert {world.nobody.get(path).status_code for _ in range(13)} == {404}
    assert bad(world).status_code == 429


def test_another_address_does_not_wait(world: World, settings: Settings) -> None:
    settings.PALYRA_TRUSTED_PROXIES = parse_networks(["127.0.0.1"])
    for _ in range(12):
        last = bad(world, X_Forwarded_For="203.0.113.9")
    assert last.status_code == 429
    assert bad(world, X_Forwarded_For="203.0.113.10").status_code == 401


def test_the_wait_doubles_and_ends(world: World) -> None:
    with time_machine.travel(utc_now(), tick=False) as clock:
        for _ in range(10):
            assert bad(world).status_code == 401
        for expected in (2, 4, 8):
            answer = bad(world)
            assert (answer.status_code, answer.headers["Retry-After"]) == (429, str(expected))
            clock.shift(timedelta(seconds=expected))
        clock.shift(timedelta(minutes=15))
        assert bad(world).status_code == 401


def test_refusals_are_summed_and_while_an_address_waits_nothing_is_written(world: World) -> None:
    for _ in range(4):
        bad(world)
    for _ in range(6):
        world.nobody.get("whoami", Authorization=f"Bearer {world.agent.token.replace('_agt_', '_usr_')}")
    for _ in range(3):
        bad(world)
    before = tallies()
    for _ in range(20):
        bad(world)
    assert tallies() == before
    assert sum(before.values()) == 11
    assert before[("127.0.0.0/24", "anonymous", "throttled")] == 1


def tallies() -> dict[tuple[str, str, str], int]:
    rows = RejectionTally.objects.all()
    return {(row.network, row.subject, row.reason): row.count for row in rows}


def test_a_revoked_token_is_the_subject_of_its_refusals(world: World) -> None:
    token = token_of(world.agent).get()
    token_of(world.agent).update(revoked_at=utc_now())
    for _ in range(3):
        world.agent.get("whoami")
    assert tallies() == {("127.0.0.0/24", token.pk, "revoked"): 3}


def test_the_sweeper_turns_each_closed_sum_into_one_event(world: World) -> None:
    now = utc_now()
    person = world.auditor.id
    for _ in range(5):
        rejections.note(kind="login", network="203.0.113.0/24", subject=person, reason="refused", now=now)
        bad(world)
    assert sweeping.sweep(now)["rejections_written"] == 0
    later = now + timedelta(minutes=2)
    assert sweeping.sweep(later)["rejections_written"] == RejectionTally.objects.count() + 2
    assert sweeping.sweep(later)["rejections_written"] == 0
    assert written("login.failed") == [
        (person, {"network": "203.0.113.0/24", "reason": "refused", "count": 5})
    ]
    assert written("token.rejected") == [
        ("anonymous", {"network": "127.0.0.0/24", "reason": "malformed", "count": 5})
    ]


def written(name: str) -> list[tuple[str, dict[str, Any]]]:
    events = JournalEvent.objects.filter(type=name).order_by("pk")
    return [(event.subject, open_data(event)) for event in events]


def test_a_sum_that_cannot_be_written_is_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> str:
        raise UnavailableError("journal_unavailable", "The journal cannot be written.")

    bad(world)
    later = utc_now() + timedelta(minutes=2)
    with monkeypatch.context() as patch:
        patch.setattr(sweeping, "record", broken)
        assert sweeping.sweep(later)["rejections_written"] == 0
    assert RejectionTally.objects.get().count == 1
    assert sweeping.sweep(later)["rejections_written"] == 1
