"""The routes about policy sets, simulations, explanations and jobs."""

from __future__ import annotations

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
