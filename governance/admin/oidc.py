"""Pages of the sign-in through a provider, outside `/admin`: leave, come back, confirm.

The session cookie is SameSite=Strict, so a request that another site caused does not carry it. The way
back is therefore a page that goes on by itself, and the login happens in a form of our own origin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps

from django.conf import settings
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import path
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from governance.admin.entering import browser_of, enter
from governance.admin.oidc_tags import oidc_host
from governance.operations import oidc
from governance.operations.oidc import Callback
from governance.safety.visible import visible
from identity.oidc_attempts import LIFE
from kernel.clock import utc_now
from kernel.errors import AuthenticationError, PalyraError, RateLimitedError

View = Callable[[HttpRequest], HttpResponse]
LONGEST_DESCRIPTION = 200
LONGEST_CODE = 20
_ONCE = ("state", "code", "iss", "error", "error_description")
TITLES = {403: "Not admitted", 404: "Not found", 409: "Used already", 429: "Too early", 503: "Not available"}


def cookie_name() -> str:
    """Return the name of the one-time cookie; under https it is bound to this host by its prefix."""
    return "__Host-palyra-oidc" if settings.SESSION_COOKIE_SECURE else "palyra-oidc"


def calm(view: View) -> View:
    """Answer every expected failure with a plain page that says what to do."""

    @wraps(view)
    def answering(request: HttpRequest) -> HttpResponse:
        try:
            return view(request)
        except PalyraError as refusal:
            return _failed(request, refusal)

    return answering


@require_http_methods(["POST"])
@calm
def start(request: HttpRequest) -> HttpResponse:
    """Send the browser to the provider.

    By a page and not by a redirect, because the login page's policy lets forms lead to this origin only.
    """
    begun = oidc.begin(client_ip=_client_ip(request), now=utc_now())
    response = _page(request, "leave", {"url": begun.url})
    response.set_cookie(
        cookie_name(),
        begun.browser,
        max_age=LIFE,
        path="/",
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
    return response


@require_http_methods(["GET"])
@calm
def callback(request: HttpRequest) -> HttpResponse:
    """Take the provider's answer and go on to the confirmation."""
    oidc.receive(
        callback=_callback(request.GET),
        browser=request.COOKIES.get(cookie_name(), ""),
        client_ip=_client_ip(request),
        now=utc_now(),
    )
    return _page(request, "back", {})


@sensitive_post_parameters("code")
@require_http_methods(["GET", "POST"])
@calm
def confirm(request: HttpRequest) -> HttpResponse:
    """Ask for the code that is still needed, and log the person in."""
    now, browser = utc_now(), request.COOKIES.get(cookie_name(), "")
    if request.method == "GET":
        return _form(request, {"waiting": oidc.waiting(browser=browser, now=now)})
    try:
        code = request.POST.get("code", "")[:LONGEST_CODE]
        key = oidc.confirm(browser=browser, code=code, origin=browser_of(request), now=now)
    except (AuthenticationError, RateLimitedError) as refusal:
        context = {"waiting": oidc.waiting(browser=browser, now=now), "wrong": refusal.detail}
        return _form(request, context, status=refusal.status)
    enter(request, key)
    response = redirect("admin:index")
    response.delete_cookie(cookie_name(), path="/", samesite="Lax")
    return response


def _callback(sent: QueryDict) -> Callback:
    """Read the parameters; one that comes twice is as wrong as one that is missing."""
    once = {name: sent.getlist(name)[0] for name in _ONCE if len(sent.getlist(name)) == 1}
    doubled = any(len(sent.getlist(name)) > 1 for name in _ONCE)
    return Callback(
        state="" if doubled else once.get("state", ""),
        code=once.get("code"),
        issuer=once.get("iss"),
        error=once.get("error"),
        description=visible(once.get("error_description", "")[:LONGEST_DESCRIPTION]),
    )


def _failed(request: HttpRequest, refusal: PalyraError) -> HttpResponse:
    title = TITLES.get(refusal.status, "Not signed in")
    context = {"title": title, "sentence": refusal.detail, "code": refusal.code}
    response = _page(request, "failed", context, status=refusal.status)
    if refusal.retry_after is not None:
        response["Retry-After"] = str(refusal.retry_after)
    return response


def _page(
    request: HttpRequest, name: str, context: Mapping[str, object], *, status: int = 200
) -> HttpResponse:
    return render(request, f"console/oidc_{name}.html", {"host": oidc_host(), **context}, status=status)


def _form(request: HttpRequest, context: Mapping[str, object], *, status: int = 200) -> HttpResponse:
    """Return the page whose form comes back here: without a referrer its Origin would be `null`."""
    response = _page(request, "confirm", context, status=status)
    response["Referrer-Policy"] = "same-origin"
    return response


def _client_ip(request: HttpRequest) -> str:
    return str(getattr(request, "palyra_client_ip", ""))


urlpatterns = [
    path("oidc/start", start, name="oidc_start"),
    path("oidc/confirm", confirm, name="oidc_confirm"),
    path("callback/oidc", callback, name="oidc_callback"),
]
