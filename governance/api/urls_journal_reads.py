"""Routes of the journal that only read: events, proofs, and the log as mirrors fetch it."""

from __future__ import annotations

from django.urls import path

from governance.api import views_journal, views_tiles

urlpatterns = [
    path("journal/events", views_journal.JournalEvents.as_view()),
    path("journal/events/<str:event_id>", views_journal.JournalEventDetail.as_view()),
    path("journal/events/<str:event_id>/proof", views_journal.JournalEventProof.as_view()),
    path("journal/consistency", views_journal.JournalConsistency.as_view()),
    path("journal/checkpoint", views_tiles.NewestCheckpoint.as_view()),
    path("journal/checkpoints", views_tiles.Checkpoints.as_view()),
    path("journal/tile/entries/<path:place>", views_tiles.Entries.as_view()),
    path("journal/tile/<str:level>/<path:place>", views_tiles.Tile.as_view()),
]
