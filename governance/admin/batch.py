"""Several requests of one agent for one tool, answered together: one table, one comment, one code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import redirect

from approvals.models import ApprovalRequest
from approvals.selectors import pending_for
from approvals.types import Verdict
from governance.admin.access import Visit
from governance.admin.approval_diff import leaves
from governance.admin.approvals import READ
from governance.admin.deciding import errors_of
from governance.admin.inbox import InboxItem, items
from governance.admin.layout import show
from governance.admin.once import Told, has_intent, new_intent, once
from governance.admin.pages import page
from governance.admin.stepping_up import needs_code, step_up_if_given
from governance.admin.verbs import notify, text
from governance.idempotency import Ticket
from governance.operations import approvals as operations
from governance.operations.approvals import MOST_AT_ONCE as MOST, Chosen, Row
from governance.safety.visible import visible
from kernel.ids import is_id

MOST_COLUMNS = 8
CHOOSE = "Choose whether to allow or to deny them."


@dataclass(frozen=True, slots=True)
class Table:
    """What differs between the requests: a column for each place, a row for each request.

    `same` are the places in which all agree; `left_off` differ too and have no column.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[InboxItem, tuple[str, ...]], ...]
    same: tuple[tuple[str, str], ...]
    left_off: int


@page(READ)
def together(visit: Visit) -> HttpResponse:
    """Show the ticked requests beside each other; a POST answers each of them by itself."""
    if visit.request.method != "POST":
        return _page(visit, _ids(visit.request.GET.getlist("id")))
    chosen = [_chosen(one) for one in visit.request.POST.getlist("chosen")]
    return _decide(visit, [one for one in chosen if one is not None])


def _ids(named: list[str]) -> list[str]:
    return list(dict.fromkeys(one for one in named if is_id("apr", one)))[: MOST + 1]


def _chosen(text: str) -> Chosen | None:
    """Return the request and the version of it that the table showed."""
    request_id, _, version = text.partition(":")
    known = is_id("apr", request_id) and version.isascii() and version.isdigit() and len(version) < 9
    return Chosen(request_id, int(version)) if known else None


def _decide(visit: Visit, chosen: list[Chosen]) -> HttpResponse:
    verdict, comment = visit.request.POST.get("verdict", ""), text(visit, "comment")
    ids = [one.request_id for one in chosen]
    if verdict not in frozenset(Verdict) or not has_intent(visit):
        return _page(visit, ids, Told(CHOOSE, 422))
    rows: list[Row] = []

    def work(_: Ticket) -> Told:
        rows.extend(
            operations.decide_many(
                principal=visit.principal,
                chosen=chosen,
                verdict=verdict,
                comment=comment,
                otp_verified_at=step_up_if_given(visit),
                surface="console",
                now=visit.now,
            )
        )
        return Told(_said(rows))

    fields = {
        "chosen": [f"{one.request_id}:{one.seen_version}" for one in chosen],
        "verdict": verdict,
        "comment": comment,
    }
    told = once(visit, route="approvals/together", fields=fields, work=work)
    if told.refusal is not None:
        return _page(visit, ids, told)
    notify(visit, told)
    return redirect("admin:approvals")


def _said(rows: Sequence[Row]) -> str:
    """Return how many were answered, and why the others were not."""
    done = sum(row.outcome is not None for row in rows)
    reasons = Counter(row.refusal.detail or row.refusal.code for row in rows if row.refusal is not None)
    others = "".join(f" {count} not: {reason}" for reason, count in reasons.most_common())
    return f"{done} of {len(rows)} answered.{others}"


def _page(visit: Visit, ids: Sequence[str], told: Told | None = None) -> HttpResponse:
    rows = pending_for(visit.principal, visit.now).filter(pk__in=ids[:MOST]).order_by("pk")
    found = items(visit, list(rows))
    context = {
        "title": "Decide together",
        "items": found,
        "reason": why_not(found, len(ids)),
        "table": table_of(found) if found else None,
        "first": found[0] if found else None,
        "intent": new_intent(),
        "comment": visit.request.POST.get("comment", ""),
        "sentence": told.sentence if told else "",
        "errors": errors_of(told.refusal, told.sentence) if told and told.refusal else {},
        "needs_code": needs_code(visit),
    }
    return show(visit, "console/approvals_together.html", context, status=told.status if told else 200)


def why_not(found: Sequence[InboxItem], asked: int) -> str:
    """Return why these requests are not answered together, or an empty text."""
    if asked > MOST:
        return f"At most {MOST} requests are decided together."
    if not found:
        return "None of the ticked requests waits any more."
    if len({_kind(one.request) for one in found}) > 1:
        return "Only requests of one agent for one tool are decided together."
    if not all(one.together for one in found):
        return "One of them is above medium risk, or is not yours to decide; open it by itself."
    return ""


def _kind(request: ApprovalRequest) -> tuple[str, str, str]:
    return request.requester_id, request.subject_type, request.subject_label


def table_of(found: Sequence[InboxItem]) -> Table:
    """Return the arguments beside each other, by JSON pointer."""
    values = [leaves(_arguments(one.request)) for one in found]
    pointers = list(dict.fromkeys(at for value in values for at in value))
    differing = [at for at in pointers if len({value.get(at) for value in values}) > 1]
    same = tuple((visible(at), visible(values[0][at])) for at in pointers if at not in set(differing))
    columns = differing[:MOST_COLUMNS]
    return Table(
        columns=tuple(visible(at) for at in columns),
        rows=tuple(
            (one, tuple(visible(value.get(at, "")) for at in columns))
            for one, value in zip(found, values, strict=True)
        ),
        same=same[:MOST],
        left_off=len(differing) - len(columns),
    )


def _arguments(request: ApprovalRequest) -> object:
    return request.context.get("parameters_view")
