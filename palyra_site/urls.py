"""The URL table of the main listener."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView

from governance.admin.site import site
from governance.api.problems import plain
from governance.api.views_system import healthz, readyz

urlpatterns: list[URLPattern | URLResolver] = [
    path("", RedirectView.as_view(url="/admin/", permanent=False)),
    path("admin/", site.urls),
    path("api/v1/", include("governance.api.urls")),
    path("api/schema/", SpectacularAPIView.as_view(api_version="v1")),
    path("healthz", healthz),
    path("readyz", readyz),
]


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return plain(request, 404, "not_found")


def server_error(request: HttpRequest) -> HttpResponse:
    return plain(request, 500, "internal")


handler404 = not_found
handler500 = server_error
