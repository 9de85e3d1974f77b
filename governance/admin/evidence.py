"""Taking the evidence of a call away, as the file that a stranger checks without Palyra."""

from __future__ import annotations

from django.http import HttpResponse

from governance.admin import calls
from governance.admin.access import Visit
from governance.admin.once import Told, sentence_of
from governance.admin.stepping_up import stepped_up
from governance.admin.verbs import Answered, verb
from governance.operations.evidence import take_evidence
from governance.operations.refusals import record_refusal
from governance.selectors import require_call
from identity.roles import Permission
from kernel.errors import PalyraError

ZIP = "application/zip"


@verb(Permission.JOURNAL_EXPORT, sees=Permission.CALLS_READ)
def download(visit: Visit, call_id: str) -> HttpResponse:
    """Hand out the bundle; each time leaves `record.viewed`, so pressing twice is no harm and no secret."""
    require_call(visit.principal, call_id)
    try:
        stepped = stepped_up(visit)
        taken = take_evidence(
            principal=stepped.principal,
            call_id=call_id,
            reveal=visit.request.POST.get("reveal") == "yes",
            now=stepped.now,
        )
    except PalyraError as refusal:
        if refusal.status == 403:
            record_refusal(visit.principal, call_id, refusal, visit.now)
        told = Told(sentence_of(refusal), refusal.status, refusal=refusal)
        return calls.shown(visit, call_id, Answered("evidence", told))
    headers = {"Content-Disposition": f'attachment; filename="{taken.name}"'}
    return HttpResponse(taken.content, content_type=ZIP, headers=headers)
