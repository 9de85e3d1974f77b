"""What may be reached from outside, as `up`, `check --deploy` and the ASGI application see it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings as configured
from django.core.management import call_command
from django.core.management.base import CommandError, SystemCheckError
from pytest_django.fixtures import Settings

from identity.networks import parse_networks
from palyra_site import checks
from palyra_site.exposure import Exposure, faults, is_local_bind, plain_faults
from palyra_site.management.commands import up
from palyra_site.plain_guard import guarded

ROOT = Path(__file__).resolve().parents[2]
SAFE = Exposure(
    bind="127.0.0.1:8470",
    public_url="https://palyra.example.com",
    allowed_hosts=("palyra.example.com",),
    cookie_secure=True,
    cookie_name="__Host-palyra",
    trusted_proxies=parse_networks(["10.0.0.0/8"]),
)
LOCAL_BINDS = ["127.0.0.1:8470", "localhost:8470", "[::1]:8470", "127.9.9.9:1"]
REMOTE_BINDS = [
    "0.0.0.0:8470",
    "[::]:8470",
    ":8470",
    "10.0.0.1:80",
    "palyra.example.com:80",
    "*:80",
    "8470",
    "",
]


def ids(exposure: Exposure) -> list[str]:
    return [finding.id for finding in faults(exposure)]


def changed(**values: Any) -> Exposure:
    kept = {name: getattr(SAFE, name) for name in Exposure.__dataclass_fields__}
    return Exposure(**kept | values)


def test_no_server_we_start_or_tell_how_to_start_judges_forwarded_addresses_itself() -> None:
    web = dict(up.commands())["web"]
    assert "--no-proxy-headers" in web
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *ROOT.glob("docs/**/*.md"))]
    told = [line for text in texts for line in text.splitlines() if "uvicorn palyra_site" in line]
    assert told
    assert all("--no-proxy-headers --no-access-log" in line for line in told)


@pytest.mark.parametrize("bind", LOCAL_BINDS)
def test_plain_http_on_this_machine_is_fine(bind: str) -> None:
    assert is_local_bind(bind)
    assert plain_faults(bind, "http://127.0.0.1:8470") == []


@pytest.mark.parametrize("bind", REMOTE_BINDS)
def test_a_bind_that_others_reach_needs_a_public_https_url(bind: str) -> None:
    assert not is_local_bind(bind)
    assert [one.id for one in plain_faults(bind, "http://127.0.0.1:8470")] == ["palyra.E002"]
    assert plain_faults(bind, "https://palyra.example.com") == []


@pytest.mark.parametrize(
    "url",
    ["http://palyra.example.com", "http://10.0.0.1:8470", "http://0.0.0.0:8470", "http://127.0.0.1.nip.io"],
)
def test_a_plain_public_url_of_another_place_is_refused_behind_any_bind(url: str) -> None:
    assert [one.id for one in plain_faults("127.0.0.1:8470", url)] == ["palyra.E003"]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "palyra.example.com",
        "ftp://palyra.example.com",
        "https://",
        "https://palyra.example.com/console",
        "https://palyra.example.com?x",
        "https://user@palyra.example.com",
        "https://palyra.example.com:nine",
        "https://[::1",
    ],
)
def test_a_public_url_is_an_origin_and_nothing_more(url: str) -> None:
    assert "palyra.E001" in [one.id for one in plain_faults("127.0.0.1:8470", url)]


def test_a_server_set_up_well_has_no_fault() -> None:
    assert ids(SAFE) == []
    local = changed(public_url="http://127.0.0.1:8470", cookie_secure=False, cookie_name="palyra")
    assert ids(local) == []


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"cookie_secure": False}, "palyra.E004"),
        ({"cookie_name": "palyra"}, "palyra.E004"),
        ({"public_url": "http://127.0.0.1:8470"}, "palyra.E004"),
        ({"allowed_hosts": ("*",)}, "palyra.E005"),
        ({"allowed_hosts": ("palyra.example.com", "*")}, "palyra.E005"),
        ({"debug": True}, "palyra.E006"),
        ({"trusted_proxies": parse_networks(["0.0.0.0/0"])}, "palyra.E007"),
        ({"trusted_proxies": parse_networks(["10.0.0.0/8", "::/0"])}, "palyra.E007"),
    ],
)
def test_each_fault_is_named(values: dict[str, Any], fault: str) -> None:
    assert ids(changed(**values)) == [fault]


def test_check_deploy_asks_the_same_rule(settings: Settings) -> None:
    settings.PALYRA_BIND = "0.0.0.0:8470"  # the fault that is looked for
    with pytest.raises(SystemCheckError, match=r"palyra\.E002"):
        call_command("check", deploy=True, fail_level="ERROR")


@pytest.mark.parametrize(
    ("issuer", "client_id", "fault"),
    [
        ("", "", None),
        ("https://login.example.com", "palyra", None),
        ("http://127.0.0.1:9400", "palyra", None),
        ("https://login.example.com", "", "palyra.E008"),
        ("", "palyra", "palyra.E008"),
        ("http://login.example.com", "palyra", "palyra.E009"),
        ("https://login.example.com?x=1", "palyra", "palyra.E009"),
        ("login.example.com", "palyra", "palyra.E009"),
    ],
)
def test_a_sign_in_provider_is_set_up_whole_or_not_at_all(
    settings: Settings, issuer: str, client_id: str, fault: str | None
) -> None:
    settings.PALYRA_OIDC_ISSUER, settings.PALYRA_OIDC_CLIENT_ID = issuer, client_id
    assert [one.id for one in checks.provider(None)] == ([fault] if fault else [])


def test_up_refuses_before_it_touches_anything(settings: Settings) -> None:
    settings.PALYRA_BIND = "0.0.0.0:8470"  # as above
    settings.PALYRA_PUBLIC_URL = "http://0.0.0.0:8470"
    with pytest.raises(CommandError, match="not loopback"):
        up._refuse_plain_public_bind()


def test_a_server_started_by_hand_with_unsafe_settings_does_not_start(tmp_path: Path) -> None:
    unsafe = {"PALYRA_HOME": str(tmp_path / "home"), "PALYRA_BIND": "0.0.0.0:8470"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PALYRA_")}
    log = tmp_path / "log"
    with log.open("w") as output:
        done = subprocess.run(
            [sys.executable, "-c", "import palyra_site.asgi"],
            cwd=ROOT,
            env=kept | unsafe,
            stderr=output,
            check=False,
        )
    assert done.returncode != 0
    assert "is not loopback" in log.read_text()


class Reached(Exception):  # noqa: N818  # no error: the request came through
    pass


def answered(server: object, *, public_url: str = "http://127.0.0.1:8470", kind: str = "http") -> Any:
    """Send one request that arrives at `server`; return the status and body of a refusal."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise Reached

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {"type": kind, "path": "/admin/login/", "headers": [], "server": server}
    async_to_sync(guarded(application, public_url))(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.mark.parametrize("server", [("10.0.0.5", 8470), ("203.0.113.1", 80), ("2001:db8::1", 80), ("?", 80)])
def test_plain_http_that_arrives_from_outside_is_refused_however_it_was_started(
    server: object,
) -> None:
    status, body = answered(server)
    assert (status, body["code"]) == (400, "malformed_request")
    assert "PALYRA_PUBLIC_URL" in body["detail"]


@pytest.mark.parametrize(
    "server", [("127.0.0.1", 8470), ("::1", 8470), ("::ffff:127.0.0.1", 1), ("/run/palyra.sock", None), None]
)
def test_what_arrives_on_this_machine_comes_through(server: object) -> None:
    with pytest.raises(Reached):
        answered(server)


def test_behind_a_public_https_url_the_proxy_answers_for_the_way() -> None:
    with pytest.raises(Reached):
        answered(("10.0.0.5", 8470), public_url="https://palyra.example.com")


def test_the_tests_run_on_a_server_set_up_well() -> None:
    assert plain_faults(configured.PALYRA_BIND, configured.PALYRA_PUBLIC_URL) == []
