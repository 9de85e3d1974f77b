"""The routes of the AuthZEN API, at the root of the server and below `/pdp/<domain>`."""

from __future__ import annotations

from django.urls import URLPattern, path

from governance.api import views_authzen as views

_PLACES = ("", "pdp/<str:domain>/")
_VIEWS = {
    "evaluation": views.Evaluation,
    "evaluations": views.Evaluations,
    "search/subject": views.SubjectSearch,
    "search/resource": views.ResourceSearch,
    "search/action": views.ActionSearch,
}

urlpatterns: list[URLPattern] = [
    *(path(f"{place}access/v1/{name}", view.as_view()) for place in _PLACES for name, view in _VIEWS.items()),
    path(".well-known/authzen-configuration", views.metadata),
    path(".well-known/authzen-configuration/pdp/<str:domain>", views.metadata),
]
