"""Routes of approvals, grants and remembered denials."""

from __future__ import annotations

from django.urls import path

from governance.api import views_approvals, views_edit, views_export

urlpatterns = [
    path("approvals", views_approvals.Approvals.as_view()),
    path("approvals/export", views_export.ApprovalExport.as_view()),
    path("approvals/<str:approval_id>", views_approvals.ApprovalDetail.as_view()),
    path("approvals/<str:approval_id>/decision", views_approvals.ApprovalDecision.as_view()),
    path("approvals/<str:approval_id>/cancel", views_approvals.ApprovalCancel.as_view()),
    path("approvals/<str:approval_id>/edit", views_edit.ApprovalEdit.as_view()),
]
