"""The first look at a request: who may speak for a client's certificate or address."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from django.test import Client
from pytest_django.fixtures import Settings

from governance.journal.models import JournalEvent
from governance.journal.reading import open_data
from governance.operations import edge, sweeping
from identity import sightings
from identity.models import ApiToken, SpoofSighting
from identity.networks import parse_networks
from identity.proxy_headers import CERTIFICATE, PROXY_ONLY, SECRET
from kernel.clock import utc_now
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.world import World

KNOWN = "a proxy secret of some length"
PROXY = "10.1.2.3"


def ask(peer: str = "203.0.113.7", path: str = "/healthz", **headers: str) -> Any:
    return Client(REMOTE_ADDR=peer).get(path, headers=headers)


def spoofs() -> list[dict[str, Any]]:
    rows = JournalEvent.objects.filter(type="auth.spoof_attempt").order_by("pk")
    return [open_data(row) for row in rows]


@pytest.fixture
def behind_proxy(settings: Settings) -> Settings:
    settings.PALYRA_TRUSTED_PROXIES = parse_networks(["10.0.0.0/8"])
    settings.PALYRA_PROXY_SECRET = KNOWN
    return settings


@pytest.mark.parametrize("name", PROXY_ONLY)
@pytest.mark.parametrize(
    "path", ["/healthz", "/admin/login/", "/api/v1/whoami", "/nowhere", "/auth/callback/oidc"]
)
def test_a_header_of_proxies_from_anybody_else_is_refused_on_every_path(
    world: World, name: str, path: str
) -> None:
    answer = ask(path=path, **{name: "x"})
    assert_problem(answer, 400, "untrusted_proxy_header")
    assert name in answer.json()["detail"]
    assert spoofs() == [{"header": name, "network": "203.0.113.0/24"}]


def test_an_empty_header_is_a_header(world: World) -> None:
    assert_problem(ask(**{CERTIFICATE: ""}), 400, "untrusted_proxy_header")


def test_a_valid_token_beside_a_forged_header_does_not_help(world: World) -> None:
    answer = world.agent.get("whoami", X_Palyra_Client_Cert="x")
    assert_problem(answer, 400, "untrusted_proxy_header")


def test_a_proxy_proves_itself_by_the_secret(world: World, behind_proxy: Settings) -> None:
    right = {CERTIFICATE: "x", SECRET: KNOWN}
    assert ask(PROXY, **right).status_code == 200
    assert_problem(ask(PROXY, **{CERTIFICATE: "x"}), 400, "untrusted_proxy_header")
    assert_problem(ask(PROXY, **right | {SECRET: KNOWN + "x"}), 400, "untrusted_proxy_header")
    assert_problem(ask("192.0.2.1", **right), 400, "untrusted_proxy_header")
    assert_problem(ask("::ffff:192.0.2.1", **right), 400, "untrusted_proxy_header")
    assert ask(f"::ffff:{PROXY}", **right).status_code == 200


def test_the_secret_stands_in_no_answer_and_no_event(
    world: World, behind_proxy: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    answer = ask("192.0.2.1", **{SECRET: KNOWN})
    assert KNOWN not in answer.content.decode() + caplog.text + str(spoofs())


def test_one_event_stands_for_a_network_and_minute(world: World) -> None:
    for last in range(1, 6):
        ask(f"203.0.113.{last}", **{CERTIFICATE: "x"})
    ask("198.51.100.1", **{SECRET: "x"})
    assert [one["network"] for one in spoofs()] == ["203.0.113.0/24", "198.51.100.0/24"]


def test_the_next_minute_has_its_own_event(world: World) -> None:
    now = utc_now()
    for moment in (now, now, now + timedelta(minutes=1)):
        edge.note_spoof(header=CERTIFICATE, network="203.0.113.0/24", now=moment)
    assert len(spoofs()) == 2


def test_many_networks_together_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sightings, "MOST_NETWORKS", 3)
    now = utc_now()
    for number in range(9):
        edge.note_spoof(header=CERTIFICATE, network=f"203.0.{number}.0/24", now=now)
    assert [one["network"] for one in spoofs()][3:] == ["many"]


def test_sightings_are_swept(world: World) -> None:
    now = utc_now()
    edge.note_spoof(header=CERTIFICATE, network="203.0.113.0/24", now=now)
    assert sweeping.sweep(now + timedelta(minutes=30))["sightings_forgotten"] == 0
    assert sweeping.sweep(now + timedelta(minutes=62))["sightings_forgotten"] == 1
    assert SpoofSighting.objects.count() == 0


def test_a_journal_that_cannot_be_written_changes_nothing_about_the_refusal(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: object) -> str:
        raise DatabaseError

    monkeypatch.setattr(edge, "first_sighting", broken)
    assert_problem(ask(**{CERTIFICATE: "x"}), 400, "untrusted_proxy_header")


def test_a_forwarded_address_counts_from_a_proxy_only(world: World, behind_proxy: Settings) -> None:
    forged = {"X-Forwarded-For": "198.51.100.9", CERTIFICATE: "x"}
    ask("203.0.113.7", **forged)
    assert spoofs()[-1]["network"] == "203.0.113.0/24"


@pytest.mark.parametrize(
    ("peer", "forwarded", "seen"),
    [
        ("203.0.113.7", "198.51.100.9", "203.0.113.7"),
        (PROXY, "198.51.100.9", "198.51.100.9"),
        (PROXY, "127.0.0.1, 198.51.100.9", "198.51.100.9"),
        (PROXY, "198.51.100.9, 10.9.9.9", "198.51.100.9"),
        (PROXY, "198.51.100.9, nonsense", ""),
        (PROXY, "x" * 3000 + ", 198.51.100.9", "198.51.100.9"),
        (PROXY, "", PROXY),
    ],
)
def test_the_client_is_who_stands_next_to_our_proxies(
    world: World, behind_proxy: Settings, peer: str, forwarded: str, seen: str
) -> None:
    sent = {"headers": {"X-Forwarded-For": forwarded}} if forwarded else {}
    answer = Client(REMOTE_ADDR=peer, **sent).get("/healthz")  # type: ignore[arg-type]  # one of two shapes
    assert answer.wsgi_request.palyra_client_ip == seen  # type: ignore[attr-defined]  # the middleware's


@pytest.mark.parametrize("claimed", ["x" * 3000 + ", 198.51.100.9", "198.51.100.9, nonsense"])
def test_a_token_bound_to_the_proxys_network_is_not_used_through_the_proxy(
    world: World, behind_proxy: Settings, claimed: str
) -> None:
    row = ApiToken.objects.get(lookup=world.owner.token.split("_")[2])
    ApiToken.objects.filter(pk=row.pk).update(allowed_networks=["10.0.0.0/8"])
    sent = {"Authorization": f"Bearer {world.owner.token}"}
    assert ask(PROXY, "/api/v1/whoami", **sent).status_code == 200
    answer = ask(PROXY, "/api/v1/whoami", **sent, **{"X-Forwarded-For": claimed})
    assert_problem(answer, 401, "unauthenticated")


def test_under_a_public_https_url_every_answer_speaks_of_it(world: World, settings: Settings) -> None:
    assert "Strict-Transport-Security" not in ask().headers
    settings.SECURE_HSTS_SECONDS = 31_536_000
    for path in ("/healthz", "/admin/login/", "/nowhere", "/auth/callback/oidc"):
        assert ask(path=path)["Strict-Transport-Security"] == "max-age=31536000"
    assert ask(**{CERTIFICATE: "x"})["Strict-Transport-Security"] == "max-age=31536000"
