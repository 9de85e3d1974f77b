"""Routes of runs and calls."""

from __future__ import annotations

from django.urls import path

from governance.api import views_calls, views_raise, views_runs

urlpatterns = [
    path("runs", views_runs.Runs.as_view()),
    path("runs/<str:run_id>", views_runs.RunDetail.as_view()),
    path("runs/<str:run_id>/cancel", views_runs.RunCancel.as_view()),
    path("runs/<str:run_id>/complete", views_runs.RunComplete.as_view()),
    path("runs/<str:run_id>/raise-requests", views_raise.RunRaise.as_view()),
    path("tool-calls", views_calls.ToolCalls.as_view()),
    path("tool-calls/<str:call_id>", views_calls.ToolCallDetail.as_view()),
    path("tool-calls/<str:call_id>/cancel", views_calls.ToolCallCancel.as_view()),
    path("tool-calls/<str:call_id>/resolve", views_calls.ToolCallResolve.as_view()),
]
