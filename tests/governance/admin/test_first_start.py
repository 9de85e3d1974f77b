"""A fresh installation: one person, no call yet, credentials still lying about."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import Client
from django_otp.oath import TOTP

from governance.journal.models import JournalEvent
from governance.journal.reading import open_data
from governance.operations import installation
from identity.models import TotpFactor, User, Workspace
from identity.roles import WorkspaceRole
from kernel.clock import utc_now
from palyra_site.welcome import welcome
from tests.cast import SEED, enrol, make_user
from tests.governance.admin.posting import post
from tests.governance.admin.world import sign_in

ALONE = "One person decides alone"
LEFT_BEHIND = "The first start&#x27;s credentials still work"
NEW = "an entirely different phrase"
OWN_SEED = b"another seed of bytes"


def code_of(seed: bytes) -> str:
    totp = TOTP(seed)
    totp.time = utc_now().timestamp()
    return f"{totp.token():06d}"


@dataclass(frozen=True, slots=True)
class Started:
    """The file of the first start, and what stood in it."""

    file: Path
    made: dict[str, str]

    @property
    def secret(self) -> str:
        return parse_qs(urlsplit(self.made["totp_uri"]).query)["secret"][0]

    def code(self) -> str:
        return code_of(base64.b32decode(self.secret))

    def log_in(self, client: Client, code: str, **how: Any) -> Any:
        values = {"username": self.made["username"], "password": self.made["password"], "code": code}
        return client.post("/admin/login/", values, **how)

    def sign_in(self) -> Client:
        client = Client()
        assert self.log_in(client, self.code())["Location"] == "/admin/"
        return client


@pytest.fixture(autouse=True)
def clock() -> Iterator[time_machine.Traveller]:
    """The clock stands, so that a code does not age while a test runs."""
    with time_machine.travel(utc_now(), tick=False) as traveller:
        yield traveller


@pytest.fixture
def owner(db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(settings, "PALYRA_HOME", tmp_path)
    installation.bootstrap(now=utc_now())
    person = User.objects.get(username="owner")
    enrol(person)
    return sign_in(person)


def test_home_shows_a_checklist_whose_marks_come_from_the_data(owner: Client) -> None:
    html = owner.get("/admin/").content.decode()
    assert "Getting started" in html
    assert html.count('<li class="done">') == 2
    assert "Nothing was denied." in html


def test_the_standing_warning_ends_by_itself_with_a_second_person(owner: Client) -> None:
    assert all(ALONE in owner.get(path).content.decode() for path in ("/admin/", "/admin/tools/"))
    make_user("second", WorkspaceRole.APPROVER, workspace=Workspace.objects.get(slug="default"))
    assert ALONE not in owner.get("/admin/").content.decode()


@pytest.fixture
def started(db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Started:
    """What `make run` leaves behind: an installation and its bootstrap.json."""
    monkeypatch.setattr(settings, "PALYRA_HOME", tmp_path)
    call_command("bootstrap", stdout=StringIO())
    return Started(tmp_path / "bootstrap.json", json.loads((tmp_path / "bootstrap.json").read_text()))


def test_a_script_signs_in_with_the_first_starts_values_and_nothing_is_forced(started: Started) -> None:
    client = started.sign_in()
    assert client.get("/admin/").status_code == 200
    assert started.log_in(Client(), started.code()).status_code == 200, "the same code opens once"
    assert LEFT_BEHIND in client.get("/admin/calls/").content.decode()


def test_the_credentials_end_with_an_own_authenticator_and_one_form(
    started: Started, clock: time_machine.Traveller
) -> None:
    client = started.sign_in()
    early = _clear(client, "000000")
    assert early.status_code == 409
    assert b"Enrol an authenticator of your own first." in early.content
    seed = _enrol(client)
    clock.shift(timedelta(seconds=30))
    elsewhere = started.log_in(Client(), code_of(seed), follow=True).client
    assert LEFT_BEHIND in client.get("/admin/").content.decode()
    clock.shift(timedelta(seconds=30))
    assert _clear(client, "000000").status_code == 401
    assert _clear(client, code_of(seed), password="short").status_code == 422, "the code is not used up"
    assert _clear(client, code_of(seed), password=started.made["password"]).status_code == 422
    clock.shift(timedelta(seconds=30))
    assert _clear(client, code_of(seed), again="x").status_code == 422
    assert started.file.exists()
    assert _clear(client, code_of(seed))["Location"] == "/admin/"
    assert LEFT_BEHIND not in client.get("/admin/").content.decode()
    assert not started.file.exists()
    assert elsewhere.get("/admin/").status_code == 302
    clock.shift(timedelta(seconds=30))
    assert started.log_in(Client(), code_of(seed)).status_code == 200, "the old password is over"
    assert _whoami(started) == 401
    new = {"username": "owner", "password": NEW, "code": code_of(seed)}
    assert Client().post("/admin/login/", new).status_code == 302
    event = JournalEvent.objects.get(type="system.bootstrap_cleared")
    assert open_data(event) == {"tokens_revoked": 1}
    assert b"Nothing is left of them" in client.get("/admin/account/bootstrap/").content
    assert _clear(client, "").status_code == 302, "a second time changes nothing"
    assert JournalEvent.objects.filter(type="system.bootstrap_cleared").count() == 1


def test_the_shells_code_is_there_until_the_owner_has_another_authenticator(
    started: Started, clock: time_machine.Traveller
) -> None:
    printed = StringIO()
    call_command("totp", stdout=printed)
    assert printed.getvalue().strip() == started.code()
    assert "manage.py totp" in welcome(started.made)
    _enrol(started.sign_in())
    with pytest.raises(CommandError, match="another authenticator"):
        call_command("totp", stdout=StringIO())
    assert started.secret not in welcome(started.made)
    started.file.unlink()
    with pytest.raises(CommandError, match="use your authenticator"):
        call_command("totp", stdout=StringIO())


def test_somebody_else_ends_them_only_with_a_code_of_the_owner(started: Started) -> None:
    instance = Workspace.objects.get(slug="instance")
    other = make_user("second-owner", WorkspaceRole.OWNER, workspace=instance)
    enrol(other)
    TotpFactor.objects.filter(from_bootstrap=True).delete()
    enrol(User.objects.get(username="owner"), OWN_SEED)
    client = sign_in(other, code_age=None)
    assert _clear(client, code_of(OWN_SEED)).status_code == 401, "trust.operate asks for freshness"
    fresh = sign_in(other, code_age=timedelta())
    assert _clear(fresh, code_of(SEED)).status_code == 401
    failed = JournalEvent.objects.filter(type="step_up.failed").latest("pk")
    assert other.pk in failed.actor
    assert failed.subject == User.objects.get(username="owner").pk
    assert _clear(fresh, code_of(OWN_SEED)).status_code == 302
    assert fresh.get("/admin/").status_code == 200
    viewer = make_user("looker", WorkspaceRole.VIEWER, workspace=Workspace.objects.get(slug="default"))
    enrol(viewer)
    started.file.write_text("{}")
    assert _clear(sign_in(viewer, code_age=timedelta()), code_of(OWN_SEED)).status_code == 403
    assert started.file.exists()


def _enrol(client: Client) -> bytes:
    html = client.get("/admin/account/authenticator/").content.decode()
    shown = re.search(r'class="seed"><code>([A-Z2-7 ]+)</code>', html)
    offer = re.search(r'name="offer" value="([^"]+)"', html)
    assert shown is not None
    assert offer is not None
    seed = base64.b32decode(shown[1].replace(" ", ""))
    answer = post(client, "/admin/account/authenticator/", offer=offer[1], new_code=code_of(seed))
    assert b"Your recovery codes" in answer.content
    return seed


def _clear(client: Client, code: str, *, password: str = NEW, again: str | None = None) -> Any:
    values = {"password": password, "again": password if again is None else again, "code": code}
    return post(client, "/admin/account/bootstrap/", **values)


def _whoami(started: Started) -> int:
    headers = {"Authorization": f"Bearer {started.made['owner_token']}"}
    return Client(headers=headers).get("/api/v1/whoami").status_code
