"""Verbs on policy sets up to their validation, as the pages post them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpResponse
from django.shortcuts import redirect

from governance.admin.access import Visit
from governance.admin.once import Told, sentence_of
from governance.admin.policy_sets import EDIT, READ, shown, shown_list
from governance.admin.verbs import Answered, do, notify, seen_version, text, verb
from governance.idempotency import Ticket
from governance.operations import policy_sets as operations
from identity.inserting import invalid
from kernel.canonical import digest_bytes
from kernel.errors import PalyraError
from policy.compilation import MAX_TEXT_BYTES
from policy.set_selectors import require_set
from policy.shipped import pack_file, pack_names

Work = Callable[[Visit, Ticket], Told]
CHANGED = "The set changed while this page was open. Look at it again."


@verb(EDIT, sees=READ)
def draft(visit: Visit) -> HttpResponse:
    """Start a draft from the rules in force, another set or nothing."""
    fields = {field: text(visit, field) for field in ("name", "note", "source")}

    def work(stepped: Visit, _: Ticket) -> Told:
        made = operations.draft(
            principal=stepped.principal,
            name=fields["name"],
            note=fields["note"],
            source=fields["source"] or None,
            now=stepped.now,
        )
        return Told(f"Version {made.version} is a draft now. Nothing is decided by it.", object_id=made.pk)

    return _made(visit, "draft", fields, work)


@verb(EDIT, sees=READ)
def upload(visit: Visit) -> HttpResponse:
    """Make a draft of an exported zip or Cedar file."""
    given = visit.request.FILES.get("file")
    name, data = _read(given)
    fields = {"name": text(visit, "name"), "note": text(visit, "note"), "file": digest_bytes(data)}

    def work(stepped: Visit, _: Ticket) -> Told:
        if not data:
            raise invalid("/file", "required", "Choose a file.")
        if len(data) > MAX_TEXT_BYTES:
            raise invalid("/file", "too_large", "The file is larger than 8 MiB.")
        made = operations.import_set(
            principal=stepped.principal,
            name=fields["name"],
            note=fields["note"],
            data=data,
            file_name=name,
            now=stepped.now,
        )
        return Told(f"{name} is version {made.version}, a draft.", object_id=made.pk)

    return _made(visit, "import", fields, work)


@verb(EDIT, sees=READ)
def draft_again(visit: Visit, set_id: str) -> HttpResponse:
    """Start a draft from the text of this set."""
    fields = {field: text(visit, field) for field in ("name", "note")}

    def work(stepped: Visit, _: Ticket) -> Told:
        source = require_set(set_id)
        made = operations.draft(
            principal=stepped.principal,
            name=fields["name"],
            note=fields["note"],
            source=set_id,
            domain=source.domain,
            now=stepped.now,
        )
        return Told(f"Version {made.version} is a draft with the same text.", object_id=made.pk)

    told = do(visit, route="policy again", subject=set_id, fields=fields, work=work)
    if not told.is_done:
        return shown(visit, set_id, Answered("again", told))
    notify(visit, told)
    return redirect("admin:policy_set", set_id=told.object_id or set_id)


@verb(EDIT, sees=READ)
def validate(visit: Visit, set_id: str) -> HttpResponse:
    """Check a draft: every finding is kept, and without an error it is validated."""

    def work(stepped: Visit, _: Ticket) -> Told:
        checked = operations.validate(principal=stepped.principal, set_id=set_id, now=stepped.now)
        return Told(f"Version {checked.version} is validated and does not change any more.")

    return _post(visit, set_id, "validate", {}, work, say=_say_check)


@verb(EDIT, sees=READ)
def describe(visit: Visit, set_id: str) -> HttpResponse:
    """Change the name and the note of a draft."""
    fields = {field: text(visit, field) for field in ("name", "note", "version")}

    def work(stepped: Visit, _: Ticket) -> Told:
        operations.change(
            principal=stepped.principal,
            set_id=set_id,
            changes={"title": fields["name"], "note": fields["note"]},
            seen_version=seen_version(stepped),
            now=stepped.now,
        )
        return Told("The draft is named anew.")

    return _post(visit, set_id, "describe", fields, work)


@verb(EDIT, sees=READ)
def discard(visit: Visit, set_id: str) -> HttpResponse:
    """Give a draft up; it stays readable."""
    fields = {"version": text(visit, "version")}

    def work(stepped: Visit, _: Ticket) -> Told:
        row = operations.discard(
            principal=stepped.principal, set_id=set_id, seen_version=seen_version(stepped), now=stepped.now
        )
        return Told(f"Version {row.version} is discarded.")

    return _post(visit, set_id, "discard", fields, work)


@verb(EDIT, sees=READ)
def add(visit: Visit, set_id: str) -> HttpResponse:
    """Add a shipped pack to a draft, or an empty file of a name, and lead to its text."""
    fields = {field: text(visit, field) for field in ("pack", "file", "version")}

    def work(stepped: Visit, _: Ticket) -> Told:
        name, body = _addition(fields["pack"], fields["file"])
        if require_set(set_id).files.filter(name=name).exists():
            raise invalid("/file", "taken", "The set has a file of this name.")
        operations.put_file(
            principal=stepped.principal,
            set_id=set_id,
            file_name=name,
            text=body,
            seen_version=seen_version(stepped),
            now=stepped.now,
        )
        return Told(f"{name} is added.", object_id=name)

    told = do(visit, route="policy add", subject=set_id, fields=fields, work=work, say=_say)
    if not told.is_done or told.object_id is None:
        return shown(visit, set_id, Answered("add", told))
    notify(visit, told)
    return redirect("admin:edit_policy", set_id=set_id, file=told.object_id)


def _addition(pack: str, file: str) -> tuple[str, str]:
    if pack in pack_names():
        shipped = pack_file(pack)
        return shipped.name, shipped.text
    if pack:
        raise invalid("/pack", "unknown", "There is no such pack.")
    if not file:
        raise invalid("/file", "required", "Name a file like rules.cedar, or choose a pack.")
    return file, ""


def _read(given: object) -> tuple[str, bytes]:
    """Return name and content of an upload, one byte more than is allowed at most."""
    if not isinstance(given, UploadedFile):
        return "", b""
    return given.name or "", given.read(MAX_TEXT_BYTES + 1)


def _made(visit: Visit, name: str, fields: Mapping[str, object], work: Work) -> HttpResponse:
    told = do(visit, route=f"policy {name}", subject="policy", fields=fields, work=work, say=_say)
    if not told.is_done or told.object_id is None:
        return shown_list(visit, Answered(name, told))
    notify(visit, told)
    return redirect("admin:policy_set", set_id=told.object_id)


def _post(
    visit: Visit,
    set_id: str,
    name: str,
    fields: Mapping[str, object],
    work: Work,
    say: Callable[[PalyraError], str] | None = None,
) -> HttpResponse:
    told = do(visit, route=f"policy {name}", subject=set_id, fields=fields, work=work, say=say or _say)
    if not told.is_done:
        return shown(visit, set_id, Answered(name, told))
    notify(visit, told)
    return redirect("admin:policy_set", set_id=set_id)


def _say(refusal: PalyraError) -> str:
    return CHANGED if refusal.code == "precondition_failed" else sentence_of(refusal)


def _say_check(refusal: PalyraError) -> str:
    if refusal.code != "policy_invalid":
        return _say(refusal)
    count = len(refusal.errors)
    return f"{count} {'finding keeps' if count == 1 else 'findings keep'} it from being valid."
