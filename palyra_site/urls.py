"""The URL table of the main listener."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView

from governance.admin.site import site
from governance.api.problems import plain
from governance.api.views_facades import CompatFacade, McpFacade
from governance.api.views_keys import public_keys
from governance.api.views_system import error_page, healthz, readyz
from governance.api.views_tokens import token_format

urlpatterns: list[URLPattern | URLResolver] = [
    path("", RedirectView.as_view(url="/admin/", permanent=False)),
    path("admin", RedirectView.as_view(url="/admin/", permanent=False)),
    path("admin/", site.urls),
    path("auth/", include("governance.admin.oidc")),
    path("api/v1/", include("governance.api.urls")),
    path("api/schema/", SpectacularAPIView.as_view()),
    path("docs/errors/<str:code>", error_page),
    re_path(r"^v1(?:/.*)?$", CompatFacade.as_view()),
    re_path(r"^mcp(?:/.*)?$", McpFacade.as_view()),
    path(".well-known/palyra-tokens.json", token_format),
    path(".well-known/palyra-keys.json", public_keys),
    path("", include("governance.api.urls_authzen")),
    path("healthz", healthz),
    path("readyz", readyz),
]


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return plain(request, 400, "malformed_request")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return plain(request, 404, "not_found")


def server_error(request: HttpRequest) -> HttpResponse:
    return plain(request, 500, "internal")


handler400 = bad_request
handler404 = not_found
handler500 = server_error
