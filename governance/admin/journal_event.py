"""One event of the journal: its envelope, its place in the log, its data for who may open it. Read only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect

from governance.admin.access import Visit
from governance.admin.event_lines import lines_of
from governance.admin.layout import show
from governance.admin.names import names_of
from governance.admin.once import Told, sentence_of
from governance.admin.pages import page
from governance.admin.stepping_up import stepped_up
from governance.admin.verbs import Answered, form_of, offer, verb
from governance.evidence_checks import event_checks, leaf_checks
from governance.journal import envelope
from governance.journal.lookup import ARCHIVED, Found, found_events, require_event, reveal_reason, sees_all
from governance.journal.models import JournalArchive, JournalCheckpoint, JournalEvent, JournalLeaf
from governance.journal.proving import proof_of
from governance.operations.refusals import record_refusal
from governance.operations.viewing import note_view
from identity.roles import Permission
from kernel.errors import AuthenticationError, NotFoundError, PalyraError, RefusedError

READ = Permission.JOURNAL_READ
VIEWED = "journal.events"
NOW = "now"
_WITHHELD = {
    ARCHIVED: "It lies in an archive.",
    "vault.integrity_failed": "What is stored is not what the envelope says, or does not open.",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where an event stands in the log: its leaf, and the first checkpoint over it."""

    leaf: JournalLeaf
    checkpoint: JournalCheckpoint | None


@page(READ)
def event_page(visit: Visit, event_id: str) -> HttpResponse:
    """Show one event; with `verify=now` what hangs on it is recomputed."""
    try:
        event = require_event(visit.principal, event_id, visit.now)
    except NotFoundError as refusal:
        if refusal.code != ARCHIVED:
            raise
        return _archived(visit, event_id)
    return shown(visit, event)


@page(READ)
def event_proof(visit: Visit, event_id: str) -> HttpResponse:
    """Hand out the proof of an event to the newest checkpoint, as a file."""
    event = require_event(visit.principal, event_id, visit.now)
    try:
        text = proof_of(event, None)
    except PalyraError as refusal:
        messages.warning(visit.request, sentence_of(refusal))
        return redirect("admin:journal_event", event_id=event_id)
    name = f'attachment; filename="{event.pk}.tlog-proof"'
    return HttpResponse(text, content_type="text/plain; charset=utf-8", headers={"Content-Disposition": name})


@verb(Permission.JOURNAL_REVEAL, sees=READ)
def reveal(visit: Visit, event_id: str) -> HttpResponse:
    """Open the data of an event, each time with a `record.viewed` before it; nothing of it is kept."""
    event = require_event(visit.principal, event_id, visit.now)
    try:
        opened = _opened(stepped_up(visit), event)
    except PalyraError as refusal:
        if refusal.status == 403:
            record_refusal(visit.principal, event.pk, refusal, visit.now)
        told = Told(sentence_of(refusal), refusal.status, refusal=refusal)
        return shown(visit, event, answered=Answered("reveal", told))
    return shown(visit, event, opened=opened)


def shown(
    visit: Visit, event: JournalEvent, *, opened: Found | None = None, answered: Answered | None = None
) -> HttpResponse:
    """Return the page of an event, with its data when it was opened for this very answer."""
    line = lines_of(visit, [event])[0]
    is_erased = "erased" in line.chips
    # What is erased tells nobody anything but when, so it needs no opening.
    found = found_events([event], withheld=None)[0] if is_erased else opened
    gone = "Its key was destroyed; nobody can open it." if is_erased else ""
    answer = show(
        visit,
        "console/journal_event.html",
        {
            "title": "Event",
            "event": event,
            "line": line,
            "fields": _fields(event),
            "place": _place(event.pk),
            "subject_name": names_of([event.subject]).get(event.subject, ""),
            "data": found.data if found else None,
            "withheld": _WITHHELD.get(found.withheld or "", found.withheld) if found else None,
            "is_erased": is_erased,
            "reveal": form_of(
                visit, "reveal", offer(visit, Permission.JOURNAL_REVEAL, blocked=gone), answered
            ),
            "checks": event_checks(event) if visit.request.GET.get("verify") == NOW else None,
        },
        status=answered.told.status if answered else 200,
    )
    if opened is not None:
        answer["Cache-Control"] = "no-store"
    return answer


def _opened(visit: Visit, event: JournalEvent) -> Found:
    withheld = reveal_reason(visit.principal, visit.now)
    if withheld == "step_up_required":
        raise AuthenticationError(withheld, "Type a fresh one-time code.")
    if withheld is not None:
        raise RefusedError(withheld, "These records belong to the whole installation, or to another role.")
    note_view(principal=visit.principal, what=VIEWED, ids=[event.pk], now=visit.now)
    return found_events([event], withheld=None)[0]


def _archived(visit: Visit, event_id: str) -> HttpResponse:
    """Return the page of an event of which only the leaf is here."""
    leaf = JournalLeaf.objects.filter(event_id=event_id).first()
    if leaf is None or not sees_all(visit.principal, visit.now):
        raise NotFoundError("not_found", "There is no such event.")
    archives = JournalArchive.objects.filter(
        first_seq__lte=leaf.seq, end_seq__gt=leaf.seq, verified_at__isnull=False
    )
    return show(
        visit,
        "console/journal_archived.html",
        {
            "title": "Event",
            "event_id": event_id,
            "place": _place(event_id),
            "archive": archives.first(),
            "checks": leaf_checks(leaf) if visit.request.GET.get("verify") == NOW else None,
        },
    )


def _place(event_id: str) -> Place | None:
    leaf = JournalLeaf.objects.filter(event_id=event_id).first()
    if leaf is None:
        return None
    return Place(leaf, JournalCheckpoint.objects.filter(pk=leaf.checkpoint).first())


def _fields(event: JournalEvent) -> dict[str, Any] | None:
    try:
        return envelope.parse(bytes(event.envelope))
    except ValueError:
        return None
