"""Routes of runs and calls."""

from __future__ import annotations

from django.urls import path

from governance.api import views_calls

urlpatterns = [
    path("runs", views_calls.Runs.as_view()),
    path("runs/<str:run_id>", views_calls.RunDetail.as_view()),
    path("runs/<str:run_id>/cancel", views_calls.RunCancel.as_view()),
    path("tool-calls", views_calls.ToolCalls.as_view()),
    path("tool-calls/<str:call_id>", views_calls.ToolCallDetail.as_view()),
    path("tool-calls/<str:call_id>/cancel", views_calls.ToolCallCancel.as_view()),
    path("tool-calls/<str:call_id>/attestation", views_calls.ToolCallAttestation.as_view()),
]
