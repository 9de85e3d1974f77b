"""Pages of bearer tokens: who holds which, how it stands, and its end. Minting is in `minting.py`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet
from django.http import HttpResponse
from django.shortcuts import redirect

from governance.admin.access import Visit
from governance.admin.layout import show
from governance.admin.names import names_of
from governance.admin.once import Told
from governance.admin.pages import page
from governance.admin.paging import ListPage, choice_filter, list_page, text_filter
from governance.admin.verbs import Answered, Offer, do, form_of, notify, offer, reasoned, text, verb
from governance.idempotency import Ticket
from governance.operations import tokens as operations
from identity.models import ApiToken
from identity.roles import Permission
from identity.token_selectors import STATES, ends_at, require_token, token_state, visible_tokens
from identity.tokens import TokenKind

SOON = timedelta(days=7)
_LOOKUP = re.compile(r"(?:^|plr_[a-z]{3}_)([0-9A-Za-z]{12})(?=$|_)")
"""The public part of a token's text, alone, in a prefix as listed, or in the whole text."""
KINDS = {"agt": "agent", "usr": "personal", "svc": "service", "adm": "admin"}


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One token as listed; `ends_soon` is true for a working one with at most seven days left."""

    token: ApiToken
    state: str
    kind: str
    prefix: str
    holder: str
    ends_at: datetime
    ends_soon: bool


def row_of(token: ApiToken, now: datetime) -> TokenRow:
    """Return a token as the lists and its page show it."""
    state, ends = token_state(token, now), ends_at(token)
    return TokenRow(
        token=token,
        state=state,
        kind=KINDS.get(token.kind, token.kind),
        prefix=f"plr_{token.kind}_{token.lookup}",
        holder=str(token.principal_agent or token.principal_user or ""),
        ends_at=ends,
        ends_soon=state in ("active", "overlapping") and ends - now <= SOON,
    )


def rows_of(tokens: list[ApiToken], now: datetime) -> list[TokenRow]:
    """Return tokens as rows of the common table."""
    return [row_of(token, now) for token in tokens]


@page(Permission.TOKENS_READ)
def tokens(visit: Visit) -> HttpResponse:
    """List the tokens within reach, newest first."""
    filters = {
        "state": choice_filter(visit, "state", frozenset(STATES)),
        "kind": choice_filter(visit, "kind", frozenset(KINDS)),
        "text": text_filter(visit, "text"),
    }
    found = list_page(visit, _filtered(visit, filters), prefix="tok", filters=filters)
    return show(
        visit,
        "console/tokens.html",
        {
            "title": "Tokens",
            "found": found,
            "rows": rows_of(found.rows, visit.now),
            "filters": filters,
            "states": STATES,
            "kinds": KINDS.items(),
            "mint": offer(visit, Permission.TOKENS_MINT),
        },
    )


def _filtered(visit: Visit, filters: dict[str, str]) -> QuerySet[ApiToken]:
    rows = visible_tokens(visit.principal)
    if filters["kind"]:
        rows = rows.filter(kind=filters["kind"])
    if filters["state"]:
        rows = rows.filter(_in_state(filters["state"], visit.now))
    if filters["text"]:
        wanted = filters["text"]
        rows = rows.filter(
            Q(label__icontains=wanted)
            | Q(lookup__in=_LOOKUP.findall(wanted))
            | Q(principal_agent__name__icontains=wanted)
            | Q(principal_user__username__icontains=wanted)
        )
    return rows


def _in_state(state: str, now: datetime) -> Q:
    """The WHERE clause of what `token_state` derives."""
    if state == "revoked":
        return Q(revoked_at__isnull=False)
    ended = Q(expires_at__lte=now) | Q(overlap_ends_at__isnull=False, overlap_ends_at__lte=now)
    if state == "expired":
        return Q(revoked_at__isnull=True) & ended
    return Q(revoked_at__isnull=True, overlap_ends_at__isnull=state == "active") & ~ended


@page(None)
def my_tokens(visit: Visit) -> HttpResponse:
    """List one's own tokens, whatever one's roles."""
    found: ListPage[ApiToken] = list_page(visit, _own(visit), prefix="tok", filters={})
    return show(
        visit,
        "console/my_tokens.html",
        {"title": "My tokens", "found": found, "rows": rows_of(found.rows, visit.now)},
    )


def _own(visit: Visit) -> QuerySet[ApiToken]:
    return visible_tokens(visit.principal).filter(principal_user_id=visit.user.pk)


@page(None)
def token_page(visit: Visit, token_id: str) -> HttpResponse:
    """Show one token of one's own, or one within reach."""
    return shown(visit, token_id)


def shown(visit: Visit, token_id: str, answered: Answered | None = None) -> HttpResponse:
    """Return the page of a token, with a verb that came back open."""
    token = require_token(visit.principal, token_id)
    successor = visible_tokens(visit.principal).filter(rotated_from_id=token.pk).first()
    names = names_of([token.minted_by])
    return show(
        visit,
        "console/token.html",
        {
            "title": f"Token {token.label}",
            "row": row_of(token, visit.now),
            "token": token,
            "minted_by": names.get(token.minted_by, token.minted_by),
            "successor": successor,
            "is_own": token.principal_user_id == visit.user.pk,
            "lists_all": visit.holds(Permission.TOKENS_READ),
            "rotate": form_of(visit, "rotate", offer_to_rotate(visit, token), answered),
            "revoke": form_of(visit, "revoke", _offer_to_revoke(visit, token), answered),
        },
        status=answered.told.status if answered else 200,
    )


def offer_to_rotate(visit: Visit, token: ApiToken) -> Offer:
    """Return whether this person may mint a successor now."""
    state, blocked = token_state(token, visit.now), ""
    if state == "revoked":
        blocked = "A revoked token has no successor; mint another."
    elif token.overlap_ends_at is not None:
        blocked = "This token has a successor already."
    elif token.kind == TokenKind.ADMIN:
        blocked = "Admin tokens are minted on the server's own command line only."
    own = token.kind == TokenKind.USER and token.principal_user_id == visit.user.pk
    if token.kind == TokenKind.USER and not own:
        blocked = "Only the person it belongs to rotates a personal token."
    needs = None if own else Permission.TOKENS_MINT
    return offer(visit, needs, workspace_id=token.workspace_id, blocked=blocked, fresh=True)


def _offer_to_revoke(visit: Visit, token: ApiToken) -> Offer:
    own = token.principal_user_id == visit.user.pk
    blocked = "It is revoked already." if token.revoked_at else ""
    needs = None if own else Permission.API_TOKENS_MANAGE
    return offer(visit, needs, workspace_id=token.workspace_id, blocked=blocked)


@verb(Permission.API_TOKENS_MANAGE, sees=None)
def revoke(visit: Visit, token_id: str) -> HttpResponse:
    """End a token for the very next request."""
    token, reason = require_token(visit.principal, token_id), text(visit, "reason")

    def work(stepped: Visit, ticket: Ticket) -> Told:
        done = "The token is revoked. The next request with it is refused."
        operations.revoke(
            principal=stepped.principal,
            token_id=token.pk,
            reason=reasoned(reason),
            now=stepped.now,
            ticket=ticket,
            render=lambda made: {"sentence": done},
        )
        return Told(done, object_id=token.pk)

    told = do(
        visit, route=f"tokens/{token.pk}/revoke", subject=token.pk, fields={"reason": reason}, work=work
    )
    if not told.is_done:
        return shown(visit, token_id, Answered("revoke", told))
    notify(visit, told)
    return redirect("admin:token", token_id=token_id)
