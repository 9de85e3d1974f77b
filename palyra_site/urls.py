"""The URL table of the main listener."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView

from governance.admin.site import site
from governance.api.problems import plain
from governance.api.views_system import error_page, healthz, readyz

urlpatterns: list[URLPattern | URLResolver] = [
    path("", RedirectView.as_view(url="/admin/", permanent=False)),
    path("admin/", site.urls),
    path("api/v1/", include("governance.api.urls")),
    path("api/schema/", SpectacularAPIView.as_view()),
    path("docs/errors/<str:code>", error_page),
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
