"""The routes about tools, allowlists, limits, postures and session labels."""

from __future__ import annotations

from django.urls import URLPattern, path

from governance.api import views_labels, views_limits, views_posture, views_posture_acts

urlpatterns: list[URLPattern] = [
    path("tool-call-config", views_limits.ToolCallLimits.as_view()),
    path("allowlist", views_limits.Allowlist.as_view()),
    path("sensitive-rules", views_limits.SensitiveRules.as_view()),
    path("posture", views_posture.Postures.as_view()),
    path("posture/reset", views_posture_acts.PostureReset.as_view()),
    path("posture/presets", views_posture_acts.PosturePresets.as_view()),
    path("posture/presets/<str:preset_id>/preview", views_posture_acts.PosturePresetPreview.as_view()),
    path("posture/presets/<str:preset_id>/apply", views_posture_acts.PosturePresetApply.as_view()),
    path("posture/undo/<str:event_id>", views_posture_acts.PostureUndo.as_view()),
    path("posture/recommendations", views_posture_acts.PostureRecommendations.as_view()),
    path(
        "posture/recommendations/<str:recommendation_id>/answer",
        views_posture_acts.PostureRecommendationAnswer.as_view(),
    ),
    path("posture/events", views_posture_acts.PostureEvents.as_view()),
    path("posture/<str:tool>", views_posture.PostureDetail.as_view()),
    path("sessions/<str:session_id>/labels", views_labels.SessionLabels.as_view()),
    path(
        "sessions/<str:session_id>/labels/<str:label>/declassify",
        views_labels.SessionLabelDeclassify.as_view(),
    ),
]
