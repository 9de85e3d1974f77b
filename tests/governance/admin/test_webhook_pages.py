"""Webhooks in the console: made, tried, changed and ended; the secret is seen once and kept nowhere."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from governance.journal.models import JournalEvent
from governance.notifications.models import WebhookDelivery, WebhookEndpoint
from kernel.clock import utc_now
from tests.governance.admin.posting import form_on, keeps, page, post, revealed, text_of
from tests.governance.admin.world import World, sign_in

PAGE, NEW = "/admin/webhooks/", "/admin/webhooks/new/"
URL = "https://hooks.example.com/palyra?key=hunter2"
HOSTILE = "<script>alert(1)</script> \u202ereversed"


def made(client: Client, **values: Any) -> WebhookEndpoint:
    typed = {"url": URL, "description": "the pager", "events": ["approval.*", "freeze.set"]}
    answer = form_on(client, NEW, NEW).send(**typed | values)
    assert answer.status_code == 200, text_of(answer)
    assert revealed(text_of(answer)).startswith("whsec_")
    return WebhookEndpoint.objects.latest("pk")


def path_of(endpoint: WebhookEndpoint) -> str:
    return f"{PAGE}{endpoint.pk}/"


def test_the_secret_is_shown_to_the_first_post_and_kept_nowhere(world: World) -> None:
    client = sign_in(world.admin)
    form = form_on(client, NEW, NEW)
    typed = {"url": URL, "events": ["approval.*", "approval.decided"], "description": HOSTILE}
    first = form.send(**typed)
    secret = revealed(text_of(first))
    assert first["Cache-Control"] == "no-store"
    again = form.send(**typed)
    assert again.status_code == 302
    assert WebhookEndpoint.objects.count() == 1
    endpoint = WebhookEndpoint.objects.get()
    assert endpoint.event_types == ["approval.*"]  # the name is in the family
    assert keeps(secret) == []
    for path in (PAGE, path_of(endpoint), NEW):
        html = page(client, path)
        assert secret not in html
        assert "<script>alert" not in html
    assert "hunter2" not in page(client, PAGE)
    assert "https://hooks.example.com" in page(client, PAGE)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"url": "http://hooks.example.com/"}, "Use https and a public host"),
        ({"url": "https://169.254.169.254/latest"}, "Use https and a public host"),
        ({"url": "https://user:pw@hooks.example.com/"}, "Use https and a public host"),
        ({"url": "javascript:alert(1)"}, "Use https and a public host"),
        ({"url": "https://a.example/" + "x" * 2000}, "At most"),
        ({"events": []}, "Use *, a family"),
        ({"events": ["tool_call.proposed"]}, "Use *, a family"),
        ({"description": "x" * 501}, "At most 500 characters."),
    ],
)
def test_a_mistake_makes_nothing_and_keeps_what_was_typed(
    world: World, values: dict[str, Any], sentence: str
) -> None:
    typed = {"url": URL, "description": "the pager", "events": ["freeze.*"]} | values
    answer = form_on(sign_in(world.admin), NEW, NEW).send(**typed)
    html = text_of(answer)
    assert (answer.status_code, sentence in html) == (422, True)
    assert ('value="freeze.*" checked' in html) is ("freeze.*" in typed["events"])
    assert not WebhookEndpoint.objects.exists()


def test_a_test_is_listed_and_an_ended_delivery_is_sent_again(world: World) -> None:
    client = sign_in(world.admin)
    path = path_of(made(client))
    assert "Nothing was sent yet" in page(client, path)
    assert form_on(client, path, f"{path}test/").send().status_code == 302
    delivery = WebhookDelivery.objects.get()
    again = f"{path}deliveries/{delivery.pk}/"
    assert again not in page(client, path)
    assert post(client, again).status_code == 409
    WebhookDelivery.objects.filter(pk=delivery.pk).update(
        state="failed",
        next_attempt_at=None,
        attempt=1,
        status_code=500,
        duration_ms=12,
        response_excerpt=HOSTILE,
    )
    html = page(client, path)
    for words in ("webhook.test", "Failed", "500 in 12 ms", "&lt;script&gt;", "⟦U+202E⟧"):
        assert words in html, words
    assert "No delivery is in this state" in page(client, f"{path}?state=delivered")
    form = form_on(client, path, again)
    assert [form.send().status_code for _ in range(2)] == [302, 302]
    delivery.refresh_from_db()
    assert delivery.state == "pending"


def test_it_is_changed_as_it_stood_on_the_page(world: World) -> None:
    client = sign_in(world.admin)
    endpoint = made(client)
    path = path_of(endpoint)
    old = form_on(client, path, f"{path}change/")
    typed = {"url": "https://other.example.com/", "description": "a chat", "events": ["*", "freeze.set"]}
    assert form_on(client, path, f"{path}change/").send(**typed).status_code == 302
    endpoint.refresh_from_db()
    assert (endpoint.url, endpoint.event_types) == ("https://other.example.com/", ["*"])
    late = old.send(**typed | {"description": "too late"})
    assert (late.status_code, "changed while this page was open" in text_of(late)) == (412, True)
    endpoint.refresh_from_db()
    assert endpoint.description == "a chat"


def test_it_is_switched_off_and_on(world: World) -> None:
    client = sign_in(world.admin)
    endpoint = made(client)
    path = path_of(endpoint)
    assert post(client, f"{path}switch/", to="sideways", version=1).status_code == 422
    assert form_on(client, path, f"{path}switch/").send().status_code == 302
    html = page(client, path)
    assert "Somebody switched it off." in html
    assert f'action="{path}test/"' not in html
    assert post(client, f"{path}test/").status_code == 409
    assert form_on(client, path, f"{path}switch/").send().status_code == 302
    endpoint.refresh_from_db()
    assert endpoint.enabled


def test_a_new_secret_is_shown_once_beside_the_old_one(world: World) -> None:
    client = sign_in(world.admin)
    endpoint = made(client)
    path = path_of(endpoint)
    form = form_on(client, path, f"{path}rotate/")
    secret = revealed(text_of(form.send()))
    assert form.send().status_code == 302
    assert keeps(secret) == []
    assert JournalEvent.objects.filter(type="webhook.rotated").count() == 1
    assert "two: the old one signs until" in page(client, path)
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(previous_until=utc_now() - timedelta(seconds=1))
    assert "one, never shown again" in page(client, path)


def test_a_deleted_one_is_gone(world: World) -> None:
    client = sign_in(world.admin)
    path = path_of(made(client))
    assert post(client, f"{path}delete/", version=7).status_code == 412
    assert form_on(client, path, f"{path}delete/").send().status_code == 302
    assert "No webhook here" in page(client, PAGE)
    assert client.get(path).status_code == 404
    assert post(client, f"{path}rotate/").status_code == 404


def test_who_manages_no_webhooks_learns_nothing_of_them(world: World) -> None:
    path = path_of(made(sign_in(world.admin)))
    before = WebhookEndpoint.objects.values().get()
    for person in (world.approver, world.operator, world.auditor, world.viewer):
        client = sign_in(person)
        assert [client.get(one).status_code for one in (PAGE, NEW, path)] == [403, 403, 403]
        for verb in ("change", "switch", "rotate", "test", "delete"):
            assert post(client, f"{path}{verb}/", to="off", version=1).status_code == 403
        assert post(client, NEW, url=URL, events=["*"]).status_code == 403
    assert PAGE not in page(sign_in(world.viewer), "/admin/")
    assert WebhookEndpoint.objects.values().get() == before
    assert not WebhookDelivery.objects.exists()


def test_one_of_another_workspace_does_not_exist(world: World) -> None:
    client = sign_in(world.admin)
    endpoint = made(client)
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(workspace_id="wsp_elsewhere")
    path = path_of(endpoint)
    assert client.get(path).status_code == 404
    for verb in ("change", "switch", "rotate", "test", "delete"):
        assert post(client, f"{path}{verb}/", to="off", version=1).status_code == 404
    assert WebhookEndpoint.objects.get().version == 1
