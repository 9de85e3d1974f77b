"""The routes about policy sets, simulations, explanations and jobs."""

from __future__ import annotations

from django.urls import URLPattern, path

from governance.api import views_conformance

urlpatterns: list[URLPattern] = [
    path("policy/conformance", views_conformance.PolicyConformance.as_view()),
]
