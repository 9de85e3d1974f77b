"""Routes of approvals, grants and remembered denials."""

from __future__ import annotations

from django.urls import path

from governance.api import views_approval_acts, views_approvals, views_edit, views_export, views_grants

urlpatterns = [
    path("approvals", views_approvals.Approvals.as_view()),
    path("approvals/export", views_export.ApprovalExport.as_view()),
    path("approvals/bulk-decision", views_approval_acts.ApprovalBulkDecision.as_view()),
    path("approvals/<str:approval_id>", views_approvals.ApprovalDetail.as_view()),
    path("approvals/<str:approval_id>/decision", views_approval_acts.ApprovalDecision.as_view()),
    path("approvals/<str:approval_id>/cancel", views_approval_acts.ApprovalCancel.as_view()),
    path("approvals/<str:approval_id>/break-glass", views_approval_acts.ApprovalBreakGlass.as_view()),
    path("approvals/<str:approval_id>/patterns", views_grants.ApprovalPatterns.as_view()),
    path("grants", views_grants.Grants.as_view()),
    path("grants/<str:grant_id>", views_grants.GrantDetail.as_view()),
    path("grants/<str:grant_id>/revoke", views_grants.GrantRevoke.as_view()),
    path("denials", views_grants.Denials.as_view()),
    path("denials/<str:denial_id>", views_grants.DenialDetail.as_view()),
    path("break-glass-reviews", views_approval_acts.BreakGlassReviews.as_view()),
    path("break-glass-reviews/<str:review_id>", views_approval_acts.BreakGlassReviewDetail.as_view()),
    path("approvals/<str:approval_id>/edit", views_edit.ApprovalEdit.as_view()),
]
