"""Whether the journal holds: sealing, the last verification, keys, witnesses, archives and holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db.models import F
from django.http import HttpResponse
from django.shortcuts import redirect

from governance.admin.access import Visit
from governance.admin.health import journal_state
from governance.admin.layout import show
from governance.admin.names import names_of
from governance.admin.once import Told
from governance.admin.pages import page
from governance.admin.verbs import Answered, Offer, do, form_of, notify, offer, text, verb
from governance.idempotency import Ticket
from governance.jobs.journal_verifying import VERIFY, VerifyWish
from governance.jobs.lifecycle import OPEN
from governance.journal import checkpoint_log, note, witnesses
from governance.journal.keys import origin
from governance.journal.lookup import sees_all
from governance.journal.models import (
    JournalArchive,
    JournalCheckpoint,
    JournalCosignature,
    JournalKey,
    LegalHold,
)
from governance.models import Job
from governance.operations import journal_verifying
from identity.roles import Permission
from kernel.errors import InvalidError, UnavailableError

READ, VERIFY_IT = Permission.JOURNAL_READ, Permission.JOURNAL_VERIFY
MOST_SHOWN = 20
STARTED = "The verification runs in the background."
BUSY = "A verification waits or runs already."
NOT_ALL = "The journal is one for the whole installation; this needs a role in all of it."
EVERYTHING, QUICK = "everything", "quick"
SCOPES = ((EVERYTHING, "Everything, and compare it with the state"), (QUICK, "The last 10,000 events"))


@dataclass(frozen=True, slots=True)
class KeyRow:
    key: JournalKey
    state: str
    vkey: str


@dataclass(frozen=True, slots=True)
class WitnessRow:
    """A configured witness, the largest checkpoint it has signed, and whether that is the newest."""

    name: str
    url: str
    size: int | None
    is_newest: bool


@dataclass(frozen=True, slots=True)
class LogFile:
    """The file of checkpoints beside the database: present, behind, ahead, missing or unreadable."""

    state: str
    tone: str
    size: int | None


@page(READ)
def integrity(visit: Visit) -> HttpResponse:
    """Show whether the journal holds."""
    return shown(visit)


@verb(VERIFY_IT, sees=READ)
def verify(visit: Visit) -> HttpResponse:
    """Start the job that verifies the journal."""
    fields = {"scope": text(visit, "scope")}

    def work(stepped: Visit, ticket: Ticket) -> Told:
        quick = fields["scope"] == QUICK
        job = journal_verifying.start_verifying(
            principal=stepped.principal,
            wish=VerifyWish(quick=quick, cross_check=not quick),
            now=stepped.now,
            ticket=ticket,
            render=lambda made: {"sentence": STARTED},
        )
        return Told(STARTED, object_id=job.pk)

    told = do(visit, route="journal/verify", subject="journal", fields=fields, work=work)
    if not told.is_done:
        return shown(visit, Answered("verify", told))
    notify(visit, told)
    return redirect("admin:integrity")


def shown(visit: Visit, answered: Answered | None = None) -> HttpResponse:
    """Return the page, with the form that came back open."""
    everything = sees_all(visit.principal, visit.now)
    newest, last = _jobs() if everything else (None, None)
    holds = _holds() if everything else []
    sealing = journal_state(visit.now)
    return show(
        visit,
        "console/integrity.html",
        {
            "title": "Integrity",
            "sealing": sealing,
            "checkpoint": sealing.checkpoint,
            "origin": origin(visit.now) if sealing.checkpoint else "",
            "everything": everything,
            "job": newest,
            "last": last,
            "is_moving": newest is not None and newest.state in OPEN,
            "verify": form_of(visit, "verify", _verify_offer(visit, newest), answered),
            "scopes": SCOPES,
            "keys": _keys(visit.now),
            "witnesses": _witnesses(sealing.checkpoint),
            "needed": settings.PALYRA_JOURNAL_REQUIRE_WITNESS,
            "log": _log_file(sealing.checkpoint, visit.now),
            "archives": _archives() if everything else [],
            "retention": settings.PALYRA_JOURNAL_RETENTION_DAYS,
            "holds": holds,
            "names": names_of(one for row in holds for one in (row.subject, row.set_by, row.lifted_by)),
            "most": MOST_SHOWN,
        },
        status=answered.told.status if answered else 200,
    )


def _jobs() -> tuple[Job | None, Job | None]:
    """Return the newest verification, and the newest that came to an end with a report."""
    rows = Job.objects.filter(kind=VERIFY).order_by("-pk")
    newest = rows.first()
    if newest is None or newest.state == "succeeded":
        return newest, newest
    return newest, rows.filter(state="succeeded").first()


def _verify_offer(visit: Visit, newest: Job | None) -> Offer:
    blocked = ""
    if not visit.principal.instance_roles:
        blocked = NOT_ALL
    elif newest is not None and newest.state in OPEN:
        blocked = BUSY
    return offer(visit, VERIFY_IT, blocked=blocked)


def _keys(now: datetime) -> Sequence[KeyRow]:
    name = origin(now)
    rows = JournalKey.objects.order_by("purpose", "-not_before", "key_id")
    return [KeyRow(row, _key_state(row), _vkey(row, name)) for row in rows]


def _key_state(row: JournalKey) -> str:
    if row.revoked_at is not None:
        return "revoked"
    return "active" if row.retired_at is None else "retired"


def _vkey(row: JournalKey, name: str) -> str:
    return note.verifier_key(name, bytes(row.public_key)) if row.purpose == "checkpoint" else ""


def _witnesses(newest: JournalCheckpoint | None) -> list[WitnessRow] | None:
    """Return the configured witnesses; None when the settings name none that can be read."""
    try:
        configured = witnesses.configured()
    except ValueError:
        return None
    found = []
    for one in configured:
        rows = JournalCosignature.objects.filter(witness=one.name).order_by("-checkpoint_id")
        size = rows.values_list("checkpoint_id", flat=True).first()
        found.append(WitnessRow(one.name, one.url, size, newest is not None and size == newest.pk))
    return found


def _log_file(newest: JournalCheckpoint | None, now: datetime) -> LogFile:
    """Compare the end of the file with the newest checkpoint; a page makes no file."""
    if not checkpoint_log.path().exists():
        return LogFile("Missing", "warn" if newest else "off", None)
    try:
        last = checkpoint_log.last(origin(now))
    except (OSError, UnavailableError, InvalidError):
        return LogFile("Unreadable", "bad", None)
    size, sealed = last.size if last else 0, newest.tree_size if newest else 0
    if size > sealed:
        return LogFile("Ahead of the database", "bad", size)
    same = last is not None and newest is not None and last.root == bytes(newest.root)
    if size == sealed and not same and size:
        return LogFile("Another history", "bad", size)
    return LogFile("Present", "ok", size) if size == sealed else LogFile("Behind", "warn", size)


def _archives() -> list[JournalArchive]:
    return list(JournalArchive.objects.order_by("-first_seq")[:MOST_SHOWN])


def _holds() -> list[LegalHold]:
    """Return those that stand first."""
    return list(LegalHold.objects.order_by(F("lifted_at").desc(nulls_first=True), "-set_at")[:MOST_SHOWN])
