"""Webhooks and subscriptions from the shell."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.shell import Shell, answer, problem

ULID = "01JD2Q8ZV0C3M4N5P6R7S8T9VW"
WHK, WHD = f"whk_{ULID}", f"whd_{ULID}"
TAG = f'"{WHK}:3"'
SECRET = "whsec_" + "c2VjcmV0" * 5
URL = "https://hooks.example.com/palyra"
SUBSCRIPTION = {"object": "notification_subscription", "enabled": True, "minimum_risk": "low"}


def webhook(**changes: Any) -> httpx.Response:
    body = {"id": WHK, "object": "webhook", "url": URL, "event_types": ["*"], "enabled": True}
    return answer({**body, **changes}, ETag=TAG)


def delivery(**changes: Any) -> httpx.Response:
    return answer({"id": WHD, "object": "webhook_delivery", "state": "pending", **changes}, 202)


def test_webhooks_and_their_deliveries_are_listed(shell: Shell) -> None:
    shell.replies = [answer({"object": "list", "data": [webhook().json()], "has_more": False})]
    assert shell("webhooks", "list").out.splitlines()[1].startswith(f"{WHK}\t{URL}\t")
    listed = shell("webhooks", "deliveries", WHK, "--state", "abandoned", "--event", "freeze.set")
    assert listed.sent == [f"GET /api/v1/webhooks/{WHK}/deliveries?state=abandoned&type=freeze.set"]
    shell.replies = [webhook()]
    assert shell("webhooks", "show", WHK).sent == [f"GET /api/v1/webhooks/{WHK}"]


def test_a_secret_is_told_once_and_may_go_to_a_file(shell: Shell, tmp_path: Path) -> None:
    shell.replies = [answer({**webhook().json(), "secret": SECRET, "secret_withheld": False}, 201)]
    made = shell("webhooks", "create", "--to", URL, "--event", "approval.*", "--yes", "-q")
    assert (made.out, made.body()) == (f"{SECRET}\n", {"url": URL, "event_types": ["approval.*"]})
    path = tmp_path / "hook"
    turned = shell("webhooks", "rotate", WHK, "--yes", "--out", str(path))
    assert turned.sent == [f"POST /api/v1/webhooks/{WHK}/rotate"]
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (f"{SECRET}\n", 0o600)
    assert SECRET not in turned.out + turned.err


def test_a_repeat_without_the_secret_says_how_to_get_another(shell: Shell) -> None:
    shell.replies = [answer({**webhook().json(), "secret": None, "secret_withheld": True}, 201)]
    result = shell("webhooks", "create", "--to", URL, "--yes")
    assert (result.code, result.out) == (7, "")
    assert f"hint: palyra webhooks rotate {WHK}" in result.err


def test_a_change_shows_what_it_changes_and_sends_what_it_saw(shell: Shell) -> None:
    shell.replies = [webhook(), webhook(enabled=False)]
    result = shell("webhooks", "update", WHK, "--disabled", "--yes")
    assert result.sent == [f"GET /api/v1/webhooks/{WHK}", f"PATCH /api/v1/webhooks/{WHK}"]
    assert (result.body(), result.requests[1].headers["If-Match"]) == ({"enabled": False}, TAG)
    assert "enabled: true -> false" in result.err
    assert shell("webhooks", "update", WHK, "--yes").code == 2


def test_a_deletion_sends_what_it_saw(shell: Shell) -> None:
    shell.replies = [webhook(), httpx.Response(204)]
    result = shell("webhooks", "delete", WHK, "--yes")
    assert (result.code, result.sent[1], result.out) == (0, f"DELETE /api/v1/webhooks/{WHK}", "")
    assert result.requests[1].headers["If-Match"] == TAG
    shell.replies = [problem(412, "precondition_failed")]
    assert shell("webhooks", "delete", WHK, "--if-match", '"x:1"', "--yes").code == 7


def test_a_test_and_a_second_sending(shell: Shell) -> None:
    shell.replies = [delivery()]
    assert shell("webhooks", "test", WHK, "--yes").sent == [f"POST /api/v1/webhooks/{WHK}/test"]
    again = shell("webhooks", "redeliver", WHD, "--yes", "-q")
    assert (again.sent, again.out) == ([f"POST /api/v1/webhooks/deliveries/{WHD}/replay"], f"{WHD}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "--to", URL),
        ("update", WHK, "--enabled"),
        ("rotate", WHK),
        ("test", WHK),
        ("delete", WHK),
        ("redeliver", WHD),
    ],
)
def test_nothing_is_changed_without_consent(shell: Shell, arguments: tuple[str, ...]) -> None:
    shell.replies = [webhook()]
    result = shell("webhooks", *arguments)
    assert (result.code, [line for line in result.sent if not line.startswith("GET")]) == (2, [])


@pytest.mark.parametrize(
    "arguments",
    [
        ("webhooks", "show", WHD),
        ("webhooks", "redeliver", WHK),
        ("webhooks", "create", "--yes"),
        ("webhooks", "create", "--to", f"https://x/?key={SECRET}", "--yes"),
        ("webhooks", "deliveries", WHK, "--state", "lost"),
        ("notifications", "set", "maybe", "--yes"),
        ("notifications", "set", "on", "--risk", "extreme", "--yes"),
        ("notifications", "set", "on", "--quiet-hours", "22:00", "--yes"),
        ("notifications", "set", "on", "--quiet-hours", "22:00-24:00", "--yes"),
        ("notifications", "set", "on", "--quiet-hours", "2200-0700", "--yes"),
        ("notifications", "set", "on", "--quiet-hours", "-1:00-07:00", "--yes"),
    ],
)
def test_what_cannot_be_meant_reaches_no_server(shell: Shell, arguments: tuple[str, ...]) -> None:
    result = shell(*arguments)
    assert (result.code, result.requests) == (2, [])


def test_what_one_wants_mail_about(shell: Shell) -> None:
    shell.replies = [answer(SUBSCRIPTION)]
    assert shell("notifications", "show").sent == ["GET /api/v1/notifications/subscription"]
    hours = ("--quiet-hours", "22:00-07:30", "--time-zone", "Europe/Berlin")
    wished = ("--risk", "high", "--subject", "tool", *hours)
    result = shell("notifications", "set", "on", *wished, "--yes")
    assert result.sent == ["PUT /api/v1/notifications/subscription"]
    assert result.body() == {
        "enabled": True,
        "minimum_risk": "high",
        "subject_types": ["tool"],
        "quiet_from": 1_320,
        "quiet_to": 450,
        "time_zone": "Europe/Berlin",
    }
    assert shell("notifications", "set", "off", "--yes").body()["enabled"] is False
