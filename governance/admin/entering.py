"""How far somebody has come through the door, and the step from being let in to having a session."""

from __future__ import annotations

from enum import StrEnum

from django.http import HttpRequest
from django.middleware.csrf import rotate_token
from django.shortcuts import resolve_url

from governance.operations import sessions
from identity.models import User
from identity.selectors import has_factor
from identity.session_store import SessionStore
from identity.sessions import Browser
from kernel.clock import utc_now


class Stage(StrEnum):
    """Where a person stands. Everything but `in` opens one page, and the way out."""

    OUT = "out"
    PASSWORD = "password"  # the page that opens, not a password
    FACTOR = "factor"
    IN = "in"


PAGE_OF = {
    Stage.OUT: "admin:login",
    Stage.PASSWORD: "admin:password",
    Stage.FACTOR: "admin:authenticator",
    Stage.IN: "admin:index",
}


def stage_of(request: HttpRequest) -> Stage:
    """Return how far the person of this request has come.

    Who has an authenticator and did not pass it in this session is out, whatever else they proved.
    """
    user = request.user
    if not isinstance(user, User) or not user.is_active or not user.can_log_in or not user.is_staff:
        return Stage.OUT
    verified = bool(user.is_verified())  # type: ignore[attr-defined]  # put there by django-otp
    if not verified and has_factor(user.pk):
        return Stage.OUT
    if user.must_change_password:
        return Stage.PASSWORD
    return Stage.IN if verified else Stage.FACTOR


def page_of(request: HttpRequest) -> str:
    """Return the address of the page that is open to the person of this request."""
    return resolve_url(PAGE_OF[stage_of(request)])


def browser_of(request: HttpRequest) -> Browser:
    """Return what a session remembers of the browser that opened it."""
    return Browser(
        ip=getattr(request, "palyra_client_ip", ""), user_agent=request.headers.get("User-Agent", "")
    )


def enter(request: HttpRequest, session_key: str) -> None:
    """Give the browser the session that an operation opened; the one it came with ends."""
    leave(request)
    request.session = SessionStore(session_key)
    rotate_token(request)


def leave(request: HttpRequest) -> None:
    """End the session of this request, if somebody is signed in by it."""
    row = request.session.row if isinstance(request.session, SessionStore) else None
    if row is not None:
        sessions.sign_out(user=row.user, key_digest=row.pk, now=utc_now())


def moved_session(request: HttpRequest, session_key: str) -> None:
    """Send the browser the new key to which an operation moved its session."""
    store = request.session
    if not isinstance(store, SessionStore):
        raise TypeError("the console runs on its own session engine")
    store.moved_to(session_key)
