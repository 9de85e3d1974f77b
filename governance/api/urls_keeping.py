"""Routes that keep the journal over the years: keys, witnesses, legal holds, archives."""

from __future__ import annotations

from django.urls import path

from governance.api import views_keeping as keeping

urlpatterns = [
    path("journal/keys", keeping.JournalKeys.as_view()),
    path("journal/keys/<str:key_id>/revoke", keeping.JournalKeyRevoke.as_view()),
    path("journal/rotate-key", keeping.JournalRotateKey.as_view()),
    path("journal/checkpoints/<str:size>/cosignatures", keeping.CheckpointCosignatures.as_view()),
    path("journal/holds", keeping.LegalHolds.as_view()),
    path("journal/holds/<str:hold_id>/lift", keeping.LegalHoldLift.as_view()),
    path("journal/archives", keeping.JournalArchives.as_view()),
    path("journal/archives/<str:first_seq>/restore", keeping.JournalArchiveRestore.as_view()),
    path("journal/archive", keeping.JournalArchiving.as_view()),
]
