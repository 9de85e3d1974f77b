"""Emptying what runs and calls hold of somebody's words. Ids, times, states and codes stay.

What is left is what the signed envelopes and attestations say too: who did what when, and how it ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import F, Q

from governance.models import (
    IdempotencyRecord,
    JournalEvent,
    MailDelivery,
    NotificationSubscription,
    Run,
    Session,
    ToolCall,
    WebhookDelivery,
)

CHUNK = 500
Mark = Mapping[str, object]
"""What stands where something was: `{"_erased": true, "at": …}`."""


def erase_calls(calls: Sequence[str], mark: Mark) -> int:
    """Empty these calls: what was asked for, what came out, the salt, and digests without one."""
    rows = list(ToolCall.objects.filter(pk__in=calls))
    for call in rows:
        _empty(call, mark)
    ToolCall.objects.bulk_update(rows, _EMPTIED, batch_size=CHUNK)
    return len(rows)


def erase_runs(runs: Sequence[str]) -> int:
    """Empty what was said about these runs, and what receivers answered to messages about them."""
    events = JournalEvent.objects.filter(run_id__in=runs).values("pk")
    WebhookDelivery.objects.filter(event_id__in=events).update(response_excerpt="", error="")
    return Run.objects.filter(pk__in=runs).update(purpose="", labels={}, channel="")


def erase_answers(ids: Sequence[str], principal_id: str = "") -> int:
    """Empty the answers kept for retries: those about these objects, and all of one principal.

    The rows stay until they expire by themselves, so that a late retry does nothing twice.
    """
    about = Q(object_id__in=ids)
    if principal_id:
        about |= Q(principal_id=principal_id)
    rows = IdempotencyRecord.objects.filter(about)
    return rows.update(response_body=None, response_headers={}, request_digest="")


def erase_conversations(principal_id: str) -> list[str]:
    """Replace the names of a principal's sessions by their ids, and return the ids."""
    rows = Session.objects.filter(principal_id=principal_id)
    rows.exclude(key=F("id")).update(key=F("id"))
    return list(rows.values_list("pk", flat=True))


def erase_mails(user_id: str) -> int:
    """Forget what mail servers said of a person's address, and what they wanted mail about."""
    deleted, _ = NotificationSubscription.objects.filter(user_id=user_id).delete()
    return deleted + MailDelivery.objects.filter(user_id=user_id).update(error="")


_EMPTIED = (
    "tool_name", "input", "resource", "salt", "action_digest", "reason", "gates", "finding", "result",
    "error", "idempotency_key", "traceparent",
)  # fmt: skip


def _empty(call: ToolCall, mark: Mark) -> None:
    if call.definition_digest is None:
        call.tool_name = "erased"  # no tool of that name was known: the name is the caller's own text
    call.input, call.resource = dict(mark), None
    call.salt, call.action_digest = b"", ""
    call.reason, call.gates = "", [{**row, "reason": "", "remediation": None} for row in call.gates]
    call.finding = None if call.finding is None else {**call.finding, "note": ""}
    call.result = None if call.result is None else _result(mark)
    call.error = None if call.error is None else _error(call.error)
    call.idempotency_key = call.traceparent = None


def _result(mark: Mark) -> dict[str, object]:
    return {
        "output": dict(mark),
        "output_digest": "",
        "bytes": 0,
        "truncated": False,
        "redactions": 0,
        "content_type": "application/json",
    }


def _error(error: Mapping[str, Any]) -> dict[str, Any]:
    code = (error.get("detail") or {}).get("code")
    return {"kind": error.get("kind"), "message": "", "detail": {} if code is None else {"code": code}}
