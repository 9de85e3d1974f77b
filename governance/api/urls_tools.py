"""The routes about tools, allowlists, limits, postures and session labels."""

from __future__ import annotations

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
