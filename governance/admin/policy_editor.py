"""The editor of one file of a draft: the text left, what was found in it right, the read view below."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import redirect

from governance.admin.access import Visit
from governance.admin.layout import show
from governance.admin.once import Told, sentence_of
from governance.admin.pages import page
from governance.admin.policy_reading import file_view
from governance.admin.policy_sets import EDIT, READ, barred_offer
from governance.admin.verbs import Answered, do, form_of, notify, seen_version, text, verb
from governance.idempotency import Ticket
from governance.operations import policy_sets as operations, simulations
from identity.inserting import invalid
from kernel.canonical import digest_bytes
from kernel.errors import NotFoundError, PalyraError
from policy.lifecycle import SetState
from policy.models import PolicySet
from policy.set_selectors import findings_of, require_set, source_files
from policy.simulation import DEFAULT_RECORDS, Wishes

STALE = (
    "Somebody saved this draft since you opened it. What you typed is kept in the field; the text as it is "
    "now stands below it. Bring them together and save: that replaces the newer text."
)
UNREADABLE = "\N{REPLACEMENT CHARACTER}"
"""What stands in place of bytes that are not UTF-8 once a form is decoded."""
FEWEST_ROWS, MOST_ROWS = 14, 32


@dataclass(frozen=True, slots=True)
class Typed:
    """What was typed and not saved: it comes back, with the newer text below it when that differs."""

    text: str
    is_stale: bool


@page(READ)
def edit(visit: Visit, set_id: str, file: str) -> HttpResponse:
    """Show the editor of one file, or the file alone where it cannot be edited."""
    return editor(visit, set_id, file)


def editor(
    visit: Visit, set_id: str, name: str, answered: Answered | None = None, typed: Typed | None = None
) -> HttpResponse:
    """Return the editor, with what was typed when it was not saved."""
    row = require_set(set_id)
    stored = next((one for one in source_files(row) if one.name == name), None)
    if stored is None:
        raise NotFoundError("not_found", "The set has no such file.")
    findings = findings_of(row)
    blocked = "" if row.state == SetState.DRAFT else _why_not(row)
    offered = barred_offer(visit, EDIT, blocked=blocked)
    return show(
        visit,
        "console/policy_editor.html",
        {
            "title": f"{name}, version {row.version}",
            "set": row,
            "file": file_view(stored, findings, start=_start(visit)),
            "text": typed.text if typed else stored.text,
            "typed": typed,
            "rows": min(MOST_ROWS, max(FEWEST_ROWS, stored.text.count("\n") + 3)),
            "elsewhere": sum(one.file != name for one in findings),
            "save": form_of(visit, "save", offered, answered),
            "remove": form_of(visit, "remove", offered, answered),
        },
        status=answered.told.status if answered else 200,
    )


@verb(EDIT, sees=READ)
def save(visit: Visit, set_id: str, file: str) -> HttpResponse:
    """Write the file as typed; the button may also ask for a validation or a simulation of the set."""
    body, then = _typed(visit), text(visit, "then")
    fields = {
        "file": file,
        "version": text(visit, "version"),
        "then": then,
        "text": digest_bytes(body.encode()),
    }

    def work(stepped: Visit, _: Ticket) -> Told:
        row = operations.put_file(
            principal=stepped.principal,
            set_id=set_id,
            file_name=file,
            text=_readable(body, set_id, file),
            seen_version=seen_version(stepped),
            now=stepped.now,
        )
        return Told(f"{file} is saved in version {row.version}.")

    told = do(visit, route="policy save", subject=set_id, fields=fields, work=work, say=_say)
    if not told.is_done:
        stale = told.refusal is not None and told.refusal.code == "precondition_failed"
        return editor(visit, set_id, file, Answered("save", told), Typed(body, stale))
    notify(visit, told)
    return _go_on(visit, set_id, file, then)


@verb(EDIT, sees=READ)
def remove(visit: Visit, set_id: str, file: str) -> HttpResponse:
    """Take the file out of the draft."""
    fields = {"file": file, "version": text(visit, "version")}

    def work(stepped: Visit, _: Ticket) -> Told:
        operations.remove_file(
            principal=stepped.principal,
            set_id=set_id,
            file_name=file,
            seen_version=seen_version(stepped),
            now=stepped.now,
        )
        return Told(f"{file} is taken out of the draft.")

    told = do(visit, route="policy remove", subject=set_id, fields=fields, work=work, say=_say)
    if not told.is_done:
        return editor(visit, set_id, file, Answered("remove", told))
    notify(visit, told)
    return redirect("admin:policy_set", set_id=set_id)


def _go_on(visit: Visit, set_id: str, file: str, then: str) -> HttpResponse:
    """Do what the button asked for beside saving, and lead to where its outcome is."""
    if then == "validate":
        notify(visit, _validated(visit, set_id))
        if require_set(set_id).state == SetState.VALIDATED:
            return redirect("admin:policy_set", set_id=set_id)
    if then == "simulate":
        try:
            made = simulations.simulate(
                principal=visit.principal, set_id=set_id, wishes=Wishes(DEFAULT_RECORDS), now=visit.now
            )
        except PalyraError as refusal:
            notify(visit, _told_of(refusal))
        else:
            return redirect("admin:simulation", set_id=set_id, number=str(made.run.number))
    return redirect("admin:edit_policy", set_id=set_id, file=file)


def _validated(visit: Visit, set_id: str) -> Told:
    """Check the set that was just saved; what was found is kept and shown beside the lines."""
    try:
        operations.validate(principal=visit.principal, set_id=set_id, now=visit.now)
    except PalyraError as refusal:
        return _told_of(refusal)
    return Told("The set is validated and does not change any more.")


def _told_of(refusal: PalyraError) -> Told:
    if refusal.code != "policy_invalid" or not refusal.errors:
        return Told(sentence_of(refusal), refusal.status)
    count = len(refusal.errors)
    words = f"{count} {'finding keeps' if count == 1 else 'findings keep'} the set from being valid."
    return Told(words, refusal.status)


def _typed(visit: Visit) -> str:
    """Return the text area as Cedar reads it: browsers send line ends as CR LF."""
    posted: Mapping[str, str] = visit.request.POST
    return posted.get("text", "").replace("\r\n", "\n")


def _readable(body: str, set_id: str, name: str) -> str:
    """Return the text, or raise InvalidError when bytes of it were no UTF-8 and are gone."""
    if UNREADABLE in body:
        stored = require_set(set_id).files.filter(name=name).values_list("text", flat=True).first()
        if UNREADABLE not in (stored or ""):
            raise invalid("/text", "not_utf8", f"The text is not UTF-8: look for {UNREADABLE} in it.")
    return body


def _start(visit: Visit) -> int:
    typed = visit.request.GET.get("from", "")
    return int(typed) if typed.isascii() and typed.isdigit() and len(typed) < 8 else 1


def _why_not(row: PolicySet) -> str:
    return f"This set is {row.state} and stays as it is; make a new draft from it to change the text."


def _say(refusal: PalyraError) -> str:
    return STALE if refusal.code == "precondition_failed" else sentence_of(refusal)
