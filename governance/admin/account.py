"""My account: the sessions somebody is signed in with, and how they sign in."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect

from governance.admin.access import Visit
from governance.admin.layout import show
from governance.admin.once import new_intent
from governance.admin.pages import page
from governance.admin.stepping_up import needs_code
from governance.admin.verbs import text, verb
from governance.operations import sessions as operations
from identity.factors import unused_recovery_codes
from identity.models import ConsoleSession, TotpFactor
from identity.sessions import live_sessions, own_digest
from kernel.errors import NotFoundError


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session as listed; `browser` is what its user agent says, in two words."""

    session: ConsoleSession
    browser: str
    is_this: bool


@page(None)
def overview(visit: Visit) -> HttpResponse:
    return show(visit, "console/account.html", account_context(visit))


def account_context(visit: Visit) -> dict[str, object]:
    """Return what the page shows; `code_error` and `sentence` come from a verb that was not done."""
    own, rows = own_digest(visit.principal), live_sessions(visit.user, visit.now)
    return {
        "title": "My account",
        "person": visit.user,
        "rows": [
            SessionRow(row, browser_name(row.user_agent), row.pk == own)
            for row in rows.order_by("-seen_at", "-created_at")
        ],
        "factor": TotpFactor.objects.filter(user=visit.user, confirmed=True).first(),
        "codes_left": unused_recovery_codes(visit.user),
        "needs_code": needs_code(visit),
        "intent": new_intent(),
    }


@verb(None, sees=None)
def end_session(visit: Visit) -> HttpResponse:
    """End one session of one's own; this one too, which signs out."""
    try:
        operations.end_one(principal=visit.principal, ref=text(visit, "ref"), now=visit.now)
    except NotFoundError:
        messages.info(visit.request, "That session had ended already.")
    else:
        messages.success(visit.request, "The session has ended.")
    return redirect("admin:account")


@verb(None, sees=None)
def end_others(visit: Visit) -> HttpResponse:
    """End every session of one's own but this one."""
    ended = operations.end_others(principal=visit.principal, now=visit.now)
    words = {0: "There was no other session.", 1: "One other session has ended."}
    messages.success(visit.request, words.get(ended, f"{ended} other sessions have ended."))
    return redirect("admin:account")


_BROWSERS = (
    ("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"),
    ("Safari/", "Safari"), ("curl/", "curl"), ("python-httpx", "Python"),
)  # fmt: skip
_SYSTEMS = (
    ("Android", "Android"), ("iPhone", "iOS"), ("iPad", "iPadOS"), ("Windows", "Windows"),
    ("Mac OS X", "macOS"), ("CrOS", "ChromeOS"), ("Linux", "Linux"),
)  # fmt: skip


def browser_name(user_agent: str) -> str:
    """Return "Firefox on Linux" of a user agent; a claim of the browser, never a fact."""
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), "Another browser")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    return f"{browser} on {system}" if system else browser
