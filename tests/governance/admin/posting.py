"""Forms of the console as a browser finds and posts them."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from html import unescape
from typing import Any

from django.db.models import Model
from django.test import Client

from governance.journal.models import JournalEvent
from governance.journal.reading import open_data
from governance.models import IdempotencyRecord
from identity.models import (
    Agent,
    ApiToken,
    ConsoleSession,
    FeatureFlag,
    Invitation,
    Membership,
    ResourceShare,
    SetupLink,
    Team,
    TeamMember,
    User,
    Workspace,
)
from identity.session_store import SessionStore
from kernel.clock import utc_now

WRITTEN: tuple[type[Model], ...] = (
    Agent,
    ApiToken,
    Invitation,
    Membership,
    ResourceShare,
    SetupLink,
    Team,
    TeamMember,
    User,
    Workspace,
)


def post(client: Client, path: str, **values: Any) -> Any:
    """Post a form with an intent of its own, as a page just rendered would carry it."""
    return client.post(path, {"intent": secrets.token_hex(16)} | values)


FRESH = timedelta(minutes=1)
"""The age of a code that still counts."""


@dataclass
class Found:
    """One form of a page: where it posts to, and the fields it came with."""

    client: Client
    action: str
    html: str
    hidden: dict[str, str] = field(default_factory=dict)

    def send(self, **values: Any) -> Any:
        return self.client.post(self.action, self.hidden | values)


def form_on(client: Client, page: str, action: str) -> Found:
    """Return the form of a page that posts to `action`, with its hidden fields."""
    html = client.get(page).content.decode()
    match = re.search(rf'<form[^>]*action="{re.escape(action)}"[^>]*>(.*?)</form>', html, re.DOTALL)
    assert match is not None, f"no form on {page} posts to {action}"
    hidden = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', match[1])
    return Found(client, action, match[1], {name: unescape(value) for name, value in hidden})


def stored() -> dict[str, list[Any]]:
    """Return every row of identity that a verb of these pages can write, for comparison."""
    return {
        model.__name__: [_lasting(row) for row in model._default_manager.order_by("pk").values()]
        for model in WRITTEN
    }


def _lasting(row: dict[str, Any]) -> dict[str, Any]:
    """The moment of the last sign-in belongs to the door, through which every test goes."""
    return {name: value for name, value in row.items() if name != "last_login"}


def event_ids() -> frozenset[str]:
    return frozenset(JournalEvent.objects.values_list("pk", flat=True))


def events_since(before: frozenset[str]) -> list[str]:
    """Return the names of the events that were not there before, in their order."""
    rows = JournalEvent.objects.exclude(pk__in=before).order_by("pk")
    return list(rows.values_list("type", flat=True))


def switch_on(key: str) -> None:
    """Put a feature on for everybody, as its own page would."""
    FeatureFlag.objects.update_or_create(
        key=key, defaults={"enabled": True, "stage": "general", "changed_at": utc_now()}
    )


def keeps(text: str) -> list[str]:
    """Return where a text is kept that nothing may keep: sessions, stored answers, the journal."""
    sessions = [str(SessionStore().decode(row.data)) for row in ConsoleSession.objects.all()]
    answers = [bytes(row.response_body or b"").decode() for row in IdempotencyRecord.objects.all()]
    journal = [str(open_data(event)) for event in JournalEvent.objects.all()]
    places = {"session": sessions, "answer": answers, "journal": journal}
    return [place for place, texts in places.items() if any(text in one for one in texts)]


def text_of(answer: Any) -> str:
    text: str = answer.content.decode()
    return text


def page(client: Client, path: str) -> str:
    return text_of(client.get(path))


def revealed(html: str) -> str:
    """Return the secret of a reveal page, which stands there once."""
    found = re.search(r'<code id="secret"[^>]*>([^<]+)</code>', html)
    assert found is not None, "nothing is revealed here"
    assert html.count(found[1]) == 1
    return found[1]
