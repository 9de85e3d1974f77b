"""The door: one form, one answer to every failure, an event for every attempt."""

from __future__ import annotations

import pytest
from django.test import Client

from governance.journal.models import JournalEvent
from tests.cast import PASSWORD
from tests.governance.admin.world import World, code_now

PATH = "/admin/login/"


def attempts() -> list[tuple[str, str]]:
    rows = JournalEvent.objects.filter(type__startswith="login.").order_by("pk")
    return list(rows.values_list("type", "subject"))


def test_password_and_code_open_the_console(world: World) -> None:
    client = Client()
    values = {"username": "approver", "password": PASSWORD, "code": code_now(), "next": "/admin/calls/"}
    answer = client.post(PATH, values)
    assert (answer.status_code, answer["Location"]) == (302, "/admin/calls/")
    assert client.get("/admin/calls/").status_code == 200
    assert client.get(PATH)["Location"] == "/admin/"
    assert attempts()[-1] == ("login.succeeded", world.approver.pk)


@pytest.mark.parametrize(
    ("username", "password", "code"),
    [
        ("approver", "wrong password here", None),
        ("approver", PASSWORD, "000000"),
        ("approver", PASSWORD, ""),
        ("nobody", PASSWORD, None),
        ("stranger", PASSWORD, None),
        ("demo-owner", PASSWORD, None),
        ("", "", ""),
        ("app\x00rover", PASSWORD, None),
    ],
)
def test_every_failure_reads_the_same_and_is_recorded(
    world: World, username: str, password: str, code: str | None
) -> None:
    before, client = len(attempts()), Client()
    right = code_now()
    values = {"username": username, "password": password, "code": right if code is None else code}
    answer = client.post(PATH, values)
    assert answer.status_code == 200
    assert b"User name, password or code is not right" in answer.content
    assert client.get("/admin/")["Location"].startswith(PATH)
    assert len(attempts()) == before + 1
    assert attempts()[-1][0] == "login.failed"
    assert password.encode() not in answer.content or not password


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "javascript:alert(1)"])
def test_the_door_leads_only_inside(world: World, target: str) -> None:
    values = {"username": "approver", "password": PASSWORD, "code": code_now(), "next": target}
    assert Client().post(PATH, values)["Location"] == "/admin/"


def test_signing_out_ends_the_session_and_needs_a_post(world: World) -> None:
    client = Client()
    client.post(PATH, {"username": "approver", "password": PASSWORD, "code": code_now()})
    assert client.get("/admin/logout/").status_code == 405
    assert client.post("/admin/logout/")["Location"] == PATH
    assert client.get("/admin/")["Location"].startswith(PATH)
