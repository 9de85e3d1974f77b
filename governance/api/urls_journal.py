"""Routes of the journal, its proofs, attestations and evidence."""

from __future__ import annotations

from django.urls import URLPattern, path

from governance.api import views_journal_erase, views_journal_export

urlpatterns: list[URLPattern] = [
    path("journal/erase", views_journal_erase.JournalErase.as_view()),
    path("journal/export", views_journal_export.JournalExport.as_view()),
]
