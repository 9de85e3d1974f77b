"""Walking through a sign-in at the provider, as a browser does it step by step."""

from __future__ import annotations

import html
import re
import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from django.test import Client

from governance.journal.models import JournalEvent
from governance.operations import flags
from identity.models import ConsoleSession, FeatureFlag, RejectionTally, User
from identity.rollout import FlagWishes
from identity.selectors import workspace_by_slug
from kernel.clock import utc_now
from tests.cast import principal

START, CALLBACK, CONFIRM = "/auth/oidc/start", "/auth/callback/oidc", "/auth/oidc/confirm"
COOKIE = "palyra-oidc"


@dataclass(frozen=True, slots=True)
class Idp:
    """The provider's process, and what a test tells it."""

    url: str

    def knows(self, subject: str, **claims: Any) -> str:
        """Give an account these claims; they are put into its id token, over the honest ones."""
        httpx.put(f"{self.url}/users/{subject}", json=claims, trust_env=False).raise_for_status()
        return subject

    def signs_in(self, url: str, subject: str) -> str:
        """Sign the account in at the authorization request; return where the browser is sent."""
        answer = httpx.post(url, data={"sub": subject}, trust_env=False)
        assert answer.status_code == 302, answer.text
        return answer.headers["Location"]

    def denies(self, url: str) -> str:
        return str(httpx.post(url, data={"action": "deny"}, trust_env=False).headers["Location"])


def switch(key: str, **wishes: Any) -> None:
    """Change a feature flag as the owner would."""
    owner, now = User.objects.get(username="owner"), utc_now()
    row = FeatureFlag.objects.filter(key=key).first()
    flags.change(
        principal=principal(owner, workspace_by_slug("default"), now=now),
        key=key,
        wishes=FlagWishes(reason="a test of the sign-in", **wishes),
        seen_version=row.version if row else 0,
        now=now,
    )


def new_subject() -> str:
    return f"sub-{secrets.token_hex(6)}"


def leave(browser: Client) -> str:
    """Press the button; return the address at the provider that the page goes on to."""
    answer = browser.post(START)
    assert answer.status_code == 200, answer.content
    found = re.search(r'http-equiv="refresh" content="0;url=([^"]+)"', answer.content.decode())
    assert found is not None
    return html.unescape(found[1])


def path_of(location: str) -> str:
    """Return the callback as the test client asks for it."""
    parts = urlsplit(location)
    return f"{parts.path}?{parts.query}"


def state_of(url: str) -> str:
    return parse_qs(urlsplit(url).query)["state"][0]


def come_back(browser: Client, idp: Idp, subject: str) -> Any:
    """Leave, sign in there, and return the answer to the callback."""
    return browser.get(path_of(idp.signs_in(leave(browser), subject)))


def text_of(answer: Any) -> str:
    """Return what a person reads on a page."""
    return html.unescape(re.sub(r"<[^>]+>", " ", answer.content.decode()))


def last_event(name: str) -> JournalEvent:
    return JournalEvent.objects.filter(type=name).latest("pk")


def sessions_of(user: User) -> int:
    return ConsoleSession.objects.filter(user=user, ended_at__isnull=True).count()


def reasons() -> set[str]:
    return set(RejectionTally.objects.filter(kind="login").values_list("reason", flat=True))


def refused(answer: Any, status: int, code: str) -> str:
    """Require a calm page of this status; return what it says."""
    assert (answer.status_code, answer["Content-Type"]) == (status, "text/html; charset=utf-8")
    text = text_of(answer)
    assert f"Reason {code}" in " ".join(text.split())
    assert "nobody was signed in" in text
    return text
