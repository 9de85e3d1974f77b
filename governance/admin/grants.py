"""Pages of what people allowed beyond one call, and of what they denied for a while."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse

from approvals.grant_selectors import REMINDED_BEFORE, in_state, shown_state, visible_denials, visible_grants
from approvals.models import DenialMemory, Grant
from approvals.types import GrantStatus, Scope
from governance.admin.access import Visit
from governance.admin.layout import show
from governance.admin.names import names_of
from governance.admin.pages import page
from governance.admin.paging import ListPage, choice_filter, list_page, text_filter
from governance.admin.verbs import Answered, Offer, form_of, offer
from governance.grants import shape_of, shown as shown_words, words_with
from governance.models import ToolCall
from governance.selectors import visible_calls
from governance.staleness import Stale, plainly_stale, stale_because
from identity.models import Agent
from identity.roles import Permission
from kernel.errors import NotFoundError

READ, REVOKE = Permission.APPROVALS_READ, Permission.GRANTS_REVOKE
MOST_JUDGED = 50
"""How many active grants are held against the rules when the stale ones are asked for."""
MOST_USES = 50
ANY = "any"
STATES = tuple(state.value for state in GrantStatus)
LASTING = (Scope.TEMPORARY, Scope.ALWAYS)
SCOPES = (
    (Scope.ONCE.value, "Once"),
    (Scope.SESSION.value, "Session"),
    (Scope.TEMPORARY.value, "Temporary"),
    (Scope.ALWAYS.value, "Always"),
)
VIEWS = (("soon", "Lasting, end within 7 days"), ("stale", "Stale"))
STALE_WORDS = {
    Stale.TOOL_CHANGED: "The tool has another definition than the one that was allowed.",
    Stale.SKILL_CHANGED: "The skill is another version than the one that was allowed.",
    Stale.PRINCIPAL_NOT_LIVE: "The agent, or its owner, may not act at present.",
    Stale.OWNER_CHANGED: "The agent has another owner since.",
    Stale.REVIEWERS_CHANGED: "Of the people who allowed it, too few may still decide.",
    Stale.OBLIGATIONS_CHANGED: "The rules ask for more, or for other things, by now.",
    Stale.POLICY_DENIES: "The rules deny such a call by now.",
    Stale.UNKNOWN: "Whether it still counts cannot be told.",
}


@dataclass(frozen=True, slots=True)
class GrantRow:
    """One grant as listed; `resource` is what the allowed call was about.

    `stale` says why an active one covers nothing, and is empty for one that counts.
    """

    grant: Grant
    state: str
    words: str
    resource: str
    stale: str
    givers: tuple[str, ...]
    may_revoke: bool
    ends_soon: bool

    @property
    def is_active(self) -> bool:
        return self.state == GrantStatus.ACTIVE


@dataclass(frozen=True, slots=True)
class DenialRow:
    """One remembered no: to what, by whom and with which words."""

    denial: DenialMemory
    resource: str
    denier: str
    comment: str
    may_forget: bool


@page(READ)
def grants(visit: Visit) -> HttpResponse:
    """List grants, newest first; those that count unless another state is asked for."""
    return listed(visit)


def listed(visit: Visit, answered: Answered | None = None) -> HttpResponse:
    """Return the list, with a verb that came back open."""
    filters = {
        "state": choice_filter(visit, "state", frozenset((*STATES, ANY))) or GrantStatus.ACTIVE.value,
        "scope": choice_filter(visit, "scope", frozenset(scope for scope, _ in SCOPES)),
        "view": choice_filter(visit, "view", frozenset(view for view, _ in VIEWS)),
        "agent": text_filter(visit, "agent"),
        "tool": text_filter(visit, "tool"),
    }
    found, is_cut = _found(visit, filters)
    rows = _rows(visit, found.rows, in_full=filters["view"] == "stale")
    if filters["view"] == "stale":
        rows = [row for row in rows if row.stale]
    return show(
        visit,
        "console/grants.html",
        {
            "title": "Grants",
            "tab": "grants",
            "found": found,
            "rows": rows,
            "names": names_of(row.grant.principal_id for row in rows),
            "filters": filters,
            "states": STATES,
            "scopes": SCOPES,
            "views": VIEWS,
            "is_filtered": filters["state"] != GrantStatus.ACTIVE or any(list(filters.values())[1:]),
            "is_cut": is_cut,
            "most_judged": MOST_JUDGED,
            "bulk": form_of(visit, "bulk", bulk_offer(visit, [row.may_revoke for row in rows]), answered),
        },
        status=answered.told.status if answered else 200,
    )


@page(READ)
def grant_page(visit: Visit, grant_id: str) -> HttpResponse:
    """Show one grant: what it covers, what has to match, who allowed it, what used it."""
    return shown(visit, grant_id)


def shown(visit: Visit, grant_id: str, answered: Answered | None = None) -> HttpResponse:
    """Return the page of a grant, with a verb that came back open."""
    grant = require_grant(visit, grant_id)
    row = _rows(visit, [grant], in_full=True)[0]
    uses = list(grant.used.order_by("-pk")[:MOST_USES])
    calls = visible_calls(visit.principal).in_bulk([use.call_id for use in uses])
    owner = grant.request.requester_owner_id
    return show(
        visit,
        "console/grant.html",
        {
            "title": "Grant",
            "row": row,
            "grant": grant,
            "pattern": shown_words(json.dumps(grant.pattern, indent=2, ensure_ascii=False)),
            "scope_word": dict(SCOPES).get(grant.scope, grant.scope),
            "uses": [(use, calls.get(use.call_id)) for use in uses],
            "most_uses": MOST_USES,
            "names": names_of([grant.principal_id, owner, grant.revoked_by]),
            "owner_id": owner,
            "reviews": [one for one in grant.request.reviews.all() if one.verdict == "allow"],
            "giver_names": names_of(one.reviewer_id for one in grant.request.reviews.all()),
            "sees_agents": visit.holds(Permission.AGENTS_READ),
            "sees_tools": visit.holds(Permission.TOOLS_READ),
            "sees_runs": visit.holds(Permission.RUNS_READ),
            "revoke": form_of(visit, "revoke", _revoke_offer(visit, row), answered),
        },
        status=answered.told.status if answered else 200,
    )


def require_grant(visit: Visit, grant_id: str) -> Grant:
    """Return a grant this person may know of, or raise NotFoundError."""
    found = _with_request(visible_grants(visit.principal, visit.now)).filter(pk=grant_id).first()
    if found is None:
        raise NotFoundError("not_found", "There is no such grant.")
    return found


@page(READ)
def denials(visit: Visit) -> HttpResponse:
    """List the denials that still count, newest first."""
    return denials_listed(visit)


def denials_listed(visit: Visit, answered: Answered | None = None) -> HttpResponse:
    """Return the list, with a verb that came back open."""
    filters = {name: text_filter(visit, name) for name in ("agent", "tool")}
    rows = visible_denials(visit.principal, visit.now)
    if filters["agent"]:
        rows = rows.filter(principal_id__in=_agents(filters["agent"]))
    if filters["tool"]:
        rows = rows.filter(request__subject_label__icontains=filters["tool"])
    rows = rows.select_related("request").prefetch_related("request__reviews")
    found = list_page(visit, rows, prefix="dnl", filters=filters)
    listed_rows = _denial_rows(visit, found.rows)
    offered = bulk_offer(visit, [row.may_forget for row in listed_rows])
    return show(
        visit,
        "console/denials.html",
        {
            "title": "Denials",
            "tab": "denials",
            "found": found,
            "rows": listed_rows,
            "names": names_of(row.denial.principal_id for row in listed_rows),
            "filters": filters,
            "is_filtered": any(filters.values()),
            "bulk": form_of(visit, "bulk", offered, answered),
        },
        status=answered.told.status if answered else 200,
    )


def bulk_offer(visit: Visit, may: list[bool]) -> Offer:
    """Return whether anything of the list may be ticked, or the reason in words."""
    offered = offer(visit, REVOKE)
    if offered.allowed or not any(may):
        return offered
    return Offer(True, needs_code=offered.needs_code)


def _found(visit: Visit, filters: dict[str, str]) -> tuple[ListPage[Grant], bool]:
    """Return the page asked for. The stale ones are looked for among the newest active grants only."""
    rows = _with_request(_filtered(visit, filters))
    if filters["view"] != "stale":
        return list_page(visit, rows, prefix="grt", filters=filters), False
    active = list(rows.filter(in_state([GrantStatus.ACTIVE], visit.now)).order_by("-pk")[: MOST_JUDGED + 1])
    return ListPage(active[:MOST_JUDGED], "", ""), len(active) > MOST_JUDGED


def _filtered(visit: Visit, filters: dict[str, str]) -> QuerySet[Grant]:
    rows = visible_grants(visit.principal, visit.now)
    if filters["state"] != ANY:
        rows = rows.filter(in_state([filters["state"]], visit.now))
    if filters["scope"]:
        rows = rows.filter(scope=filters["scope"])
    if filters["view"] == "soon":
        ends = visit.now + REMINDED_BEFORE
        rows = rows.filter(status=GrantStatus.ACTIVE, scope__in=LASTING, expires_at__lte=ends)
    if filters["agent"]:
        rows = rows.filter(principal_id__in=_agents(filters["agent"]))
    if filters["tool"]:
        rows = rows.filter(subject_label__icontains=filters["tool"])
    return rows


def _agents(named: str) -> QuerySet[Agent, Any]:
    return Agent.objects.filter(name__icontains=named).values("pk")


def _with_request(rows: QuerySet[Grant]) -> QuerySet[Grant]:
    return rows.select_related("request").defer("request__context_text").prefetch_related("request__reviews")


def _rows(visit: Visit, found: list[Grant], *, in_full: bool) -> list[GrantRow]:
    """Return grants as rows. Only `in_full` each is held against the rules, which takes its time."""
    givers = {
        grant.pk: [one.reviewer_id for one in grant.request.reviews.all() if one.verdict == "allow"]
        for grant in found
    }
    names = names_of(one for people in givers.values() for one in people)
    asked = ToolCall.objects.filter(pk__in=[grant.request.subject_id for grant in found])
    resources = dict(asked.values_list("pk", "resource"))
    tools = {(grant.tool, grant.tool_definition_hash) for grant in found}
    shapes = {key: shape_of(*key) for key in tools}
    if in_full:
        stale = {grant.pk: why for grant in found if (why := stale_because(grant, visit.now))}
    else:
        stale = plainly_stale(found, shapes, visit.now)
    return [
        _row(
            visit,
            grant,
            words=words_with(grant, shapes[grant.tool, grant.tool_definition_hash]),
            resource=resources.get(grant.request.subject_id) or "",
            stale=stale.get(grant.pk),
            givers=tuple(names.get(one, one) for one in givers[grant.pk]),
        )
        for grant in found
    ]


def _row(
    visit: Visit, grant: Grant, *, words: str, resource: str, stale: Stale | None, givers: tuple[str, ...]
) -> GrantRow:
    state = shown_state(grant, visit.now)
    is_active = state == GrantStatus.ACTIVE
    return GrantRow(
        grant=grant,
        state=state,
        words=words,
        resource=resource,
        stale=STALE_WORDS[stale] if stale else "",
        givers=givers,
        may_revoke=is_active and visit.holds(REVOKE, grant.workspace_id),
        ends_soon=is_active and grant.scope in LASTING and grant.expires_at <= visit.now + REMINDED_BEFORE,
    )


def _revoke_offer(visit: Visit, row: GrantRow) -> Offer:
    ended = "" if row.is_active else "It has ended; there is nothing to take back."
    return offer(visit, REVOKE, workspace_id=row.grant.workspace_id, blocked=ended)


def _denial_rows(visit: Visit, found: list[DenialMemory]) -> list[DenialRow]:
    denied = {
        row.pk: next((one for one in row.request.reviews.all() if one.verdict == "deny"), None)
        for row in found
    }
    names = names_of(one.reviewer_id for one in denied.values() if one is not None)
    rows = []
    for row in found:
        review = denied[row.pk]
        rows.append(
            DenialRow(
                denial=row,
                resource=str(row.request.context.get("resource") or ""),
                denier=names.get(review.reviewer_id, review.reviewer_id) if review else "",
                comment=review.comment if review else "",
                may_forget=visit.holds(REVOKE, row.request.workspace_id),
            )
        )
    return rows
