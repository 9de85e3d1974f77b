"""The route table of `/api/v1`. Every view names its permission."""

from __future__ import annotations

from django.urls import path

from governance.api import (
    urls_approvals,
    urls_freezes,
    urls_identity,
    urls_journal,
    urls_journal_reads,
    urls_keeping,
    urls_notifications,
    urls_policy,
    urls_runs,
    urls_streams,
    urls_tools,
    views_access,
    views_bootstrap,
    views_tokens,
    views_tools,
)

urlpatterns = [
    *urls_streams.urlpatterns,
    *urls_runs.urlpatterns,
    *urls_approvals.urlpatterns,
    *urls_freezes.urlpatterns,
    path("tools", views_tools.Tools.as_view()),
    path("tools/catalog", views_tools.ToolCatalog.as_view()),
    path("tools/<str:name>", views_tools.ToolDetail.as_view()),
    path("tools/<str:name>/versions", views_tools.ToolVersions.as_view()),
    path("access/flags", views_access.AccessFlags.as_view()),
    path("access/flags/<str:key>", views_access.AccessFlagDetail.as_view()),
    path("access/flags/<str:key>/history", views_access.AccessFlagHistory.as_view()),
    path("access/roles", views_access.AccessRoles.as_view()),
    path("tokens", views_tokens.Tokens.as_view()),
    path("tokens/leaked", views_tokens.TokensLeaked.as_view()),
    path("tokens/<str:token_id>", views_tokens.TokenDetail.as_view()),
    path("tokens/<str:token_id>/rotate", views_tokens.TokenRotate.as_view()),
    path("tokens/<str:token_id>/revoke", views_tokens.TokenRevoke.as_view()),
    path("auth/step-up", views_tokens.StepUp.as_view()),
    path("system/bootstrap/clear", views_bootstrap.BootstrapClear.as_view()),
    path("whoami", views_tools.Whoami.as_view()),
    *urls_identity.urlpatterns,
    *urls_policy.urlpatterns,
    *urls_tools.urlpatterns,
    *urls_notifications.urlpatterns,
    *urls_journal.urlpatterns,
    *urls_journal_reads.urlpatterns,
    *urls_keeping.urlpatterns,
]
