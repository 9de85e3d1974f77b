"""Routes of the journal, its proofs, attestations and evidence."""

from __future__ import annotations

from django.urls import URLPattern, path

from governance.api import (
    views_journal_erase,
    views_journal_evidence,
    views_journal_export,
    views_journal_verify,
)

urlpatterns: list[URLPattern] = [
    path("tool-calls/<str:call_id>/attestation", views_journal_evidence.ToolCallAttestation.as_view()),
    path("tool-calls/<str:call_id>/evidence", views_journal_evidence.ToolCallEvidence.as_view()),
    path("attestations/verify", views_journal_evidence.AttestationVerify.as_view()),
    path("journal/erase", views_journal_erase.JournalErase.as_view()),
    path("journal/verify", views_journal_verify.JournalVerify.as_view()),
    path("journal/export", views_journal_export.JournalExport.as_view()),
]
