"""The door: signing in, signing out, and setting a first password."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.debug import sensitive_post_parameters

from governance.admin.entering import Stage, browser_of, enter, leave, page_of, stage_of
from governance.operations import passwords, signing_in
from governance.operations.signing_in import LONGEST_NAME, Claim
from identity.forms import LoginForm
from kernel.clock import utc_now
from kernel.errors import AuthenticationError, InvalidError, NotFoundError, RateLimitedError

NEXT = "next"


@sensitive_post_parameters("password", "code")
def login(request: HttpRequest) -> HttpResponse:
    """Show the door, or pass somebody on who is in already. Every failure is answered the same."""
    if request.method == "POST":
        return _attempt(request)
    if stage_of(request) is not Stage.OUT:
        return redirect(page_of(request))
    return _door(request, LoginForm())


def _attempt(request: HttpRequest) -> HttpResponse:
    post = request.POST
    claim = Claim(post.get("username", ""), post.get("password", ""), post.get("code", ""))
    try:
        key = signing_in.log_in(claim=claim, browser=browser_of(request), now=utc_now())
    except AuthenticationError as refusal:
        return _door(request, _emptied(claim), refusal.detail)
    except RateLimitedError as refusal:
        minutes = (refusal.retry_after or 60) // 60 + 1
        sentence = f"{refusal.detail} Try again in {minutes} minutes."
        answer = _door(request, _emptied(claim), sentence, status=429)
        answer["Retry-After"] = str(refusal.retry_after or 60)
        return answer
    enter(request, key)
    return redirect(_inside(post.get(NEXT, "")))


def _door(request: HttpRequest, form: LoginForm, sentence: str = "", *, status: int = 200) -> HttpResponse:
    wanted = request.POST.get(NEXT, request.GET.get(NEXT, ""))
    context = {"form": form, "sentence": sentence, "next": wanted}
    return render(request, "console/login.html", context, status=status)


def _emptied(claim: Claim) -> LoginForm:
    """The form after a failure: the name stays, what proves it is typed again."""
    return LoginForm(initial={"username": claim.username[:LONGEST_NAME]})


def _inside(target: str) -> str:
    """Return where to go after the door: never out of the console."""
    inside = target.startswith("/admin/") and url_has_allowed_host_and_scheme(target, allowed_hosts=None)
    return target if inside else "/admin/"


def logout(request: HttpRequest) -> HttpResponse:
    """End this session and show the door."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    leave(request)
    request.session.flush()
    return redirect("admin:login")


@sensitive_post_parameters()
def setup(request: HttpRequest, text: str) -> HttpResponse:
    """Let the holder of a link set a password. Looking at the page does not use the link up."""
    now = utc_now()
    user = passwords.setup_owner(text=text, now=now)
    if user is None:
        return render(request, "console/setup_over.html", status=404)
    context: dict[str, object] = {"username": user.username}
    if request.method != "POST":
        return render(request, "console/setup.html", context)
    new = request.POST.get("password", "")
    if new != request.POST.get("again", ""):
        return render(request, "console/setup.html", context | {"again_error": MISTYPED}, status=422)
    try:
        user = passwords.redeem(text=text, password=new, now=now)
    except InvalidError as refusal:
        error = " ".join(one.detail for one in refusal.errors) or refusal.detail
        return render(request, "console/setup.html", context | {"error": error}, status=422)
    except NotFoundError:
        return render(request, "console/setup_over.html", status=404)
    return render(request, "console/setup_done.html", context | {"has_role": user.is_staff})


MISTYPED = "The two passwords are not the same."
