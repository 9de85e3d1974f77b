"""The console's own admin site: its URL table, its door and who may pass it."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import URLPattern, URLResolver, path, re_path, register_converter, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django_otp.admin import OTPAdminSite

from governance.admin import approvals, calls, catalog, home, record, switching
from governance.admin.access import Visit
from governance.admin.layout import THEME, THEMES
from governance.admin.pages import NOT_FOUND, Page, page, refused
from governance.operations import signing_in
from identity.forms import LoginForm
from identity.selectors import user_by_name
from identity.sessions import mark_code_entered
from kernel.clock import utc_now


class IdConverter:
    """A prefixed ULID in a path; anything else is no page."""

    regex = "[a-z]{2,4}_[0-7][0-9A-HJKMNP-TV-Z]{25}"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(IdConverter, "palyra_id")


class ConsoleLogin(LoginView):
    """Name, password and code on one page. Every attempt is a journal event."""

    authentication_form = LoginForm  # type: ignore[assignment]  # an own form with get_user()
    template_name = "console/login.html"

    def get_default_redirect_url(self) -> str:
        return reverse("admin:index")

    def form_valid(self, form: Any) -> HttpResponse:
        now, user = utc_now(), form.get_user()
        signing_in.record_login(user_id=user.pk, succeeded=True, now=now)
        response = super().form_valid(form)
        mark_code_entered(self.request.session, now)
        return response

    def form_invalid(self, form: Any) -> HttpResponse:
        user = user_by_name(str(form.data.get("username", ""))[:150].replace("\0", ""))
        signing_in.record_login(user_id=user.pk if user else None, succeeded=False, now=utc_now())
        return super().form_invalid(form)


class PalyraAdminSite(OTPAdminSite):
    """Staff with a verified second factor see the pages of the table; everybody else the door."""

    site_title = site_header = index_title = "Palyra"
    site_url = None
    login_form = LoginForm

    def get_urls(self) -> list[URLPattern | URLResolver]:
        pages = [path(route, self.admin_view(view), name=name) for route, view, name in PAGES]
        doors = [
            path("login/", self.login, name="login"),
            path("logout/", self.admin_view(LogoutView.as_view(next_page="/admin/login/")), name="logout"),
        ]
        return [*pages, *doors, re_path(r"", self.admin_view(missing))]

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponseBase:
        """Show the door, or pass somebody on who is in already."""
        if request.method == "GET" and self.has_permission(request):
            return HttpResponseRedirect(reverse("admin:index"))
        return ConsoleLogin.as_view()(request)


@page(None)
def missing(visit: Visit, **kwargs: str) -> HttpResponse:
    return refused(visit, NOT_FOUND, status=404)


@page(None)
def theme(visit: Visit) -> HttpResponse:
    """Remember the colours this person wants for this session."""
    request = visit.request
    if request.method == "POST":
        wanted = request.POST.get("theme", "")
        request.session[THEME] = wanted if wanted in THEMES else ""
    target = request.POST.get(REDIRECT_FIELD_NAME, "")
    inside = target.startswith("/admin/") and url_has_allowed_host_and_scheme(target, allowed_hosts=None)
    return redirect(target if inside else "admin:index")


PAGES: tuple[tuple[str, Page, str], ...] = (
    ("", home.index, "index"),
    ("approvals/", approvals.inbox, "approvals"),
    ("approvals/<palyra_id:request_id>/", approvals.detail, "approval"),
    ("calls/", calls.call_list, "calls"),
    ("calls/<palyra_id:call_id>/", calls.call_page, "call"),
    ("calls/<palyra_id:call_id>/cancel/", calls.cancel_call, "cancel_call"),
    ("runs/", calls.run_list, "runs"),
    ("runs/<palyra_id:run_id>/", calls.run_page, "run"),
    ("runs/<palyra_id:run_id>/cancel/", calls.cancel_run, "cancel_run"),
    ("tools/", catalog.tools, "tools"),
    ("policy/", catalog.policy, "policy"),
    ("agents/", catalog.agents, "agents"),
    ("journal/", record.journal, "journal"),
    ("executions/", record.executions, "executions"),
    ("theme/", theme, "theme"),
    ("switch/", switching.switch, "switch"),
)

site = PalyraAdminSite(name="admin")
