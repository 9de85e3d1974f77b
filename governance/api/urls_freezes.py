"""Routes of freezes."""

from __future__ import annotations

from django.urls import path

from governance.api import views_freezes

urlpatterns = [
    path("freezes", views_freezes.Freezes.as_view()),
    path("freezes/<str:freeze_id>/lift", views_freezes.FreezeLift.as_view()),
]
