"""Routes of streams. They stand before those of single objects, so that `events` is no id."""

from __future__ import annotations

from django.urls import path

from governance.api import views_streams

urlpatterns = [
    path("runs/<str:run_id>/events", views_streams.RunEvents.as_view()),
    path("approvals/events", views_streams.ApprovalEvents.as_view()),
]
