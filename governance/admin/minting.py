"""Minting and rotating tokens. The text of a token is in the answer to the post that made it, once."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import redirect

from governance.admin.access import Visit
from governance.admin.layout import show
from governance.admin.once import Told
from governance.admin.pages import page
from governance.admin.reveal import Secret, reveal
from governance.admin.tokens import shown
from governance.admin.verbs import Answered, do, form_of, notify, number, offer, text, verb
from governance.idempotency import Ticket
from governance.operations import tokens as operations
from identity.inserting import invalid
from identity.lifecycle import AgentState
from identity.minting import MintedToken, TokenWishes
from identity.models import Agent, ApiToken
from identity.roles import Permission
from identity.token_rules import (
    DEFAULT_DAYS,
    DEFAULT_OVERLAP_SECONDS,
    DEFAULT_RATE,
    GROUPS,
    LONGEST_DAYS,
    READONLY,
    may_hold,
)
from identity.token_selectors import require_token
from identity.tokens import TokenKind

MOST_AGENTS = 200
GROUP_WORDS = {
    "agent": ("Agent", "Open runs, propose calls, read its own results, use MCP."),
    "compat": ("OpenAI-compatible", "Chat, responses, embeddings, models and tools of the compatible API."),
    READONLY: ("Read only", "Every reading permission you hold and this kind may hold."),
}
MINTED = "The token was minted. Its text was shown once and is not shown again."


@dataclass(frozen=True, slots=True)
class ScopeGroup:
    """The permissions of one noun, as checkboxes."""

    noun: str
    scopes: tuple[str, ...]


def offered_scopes(visit: Visit, kind: TokenKind) -> tuple[ScopeGroup, ...]:
    """Return what this person may put into a token of this kind: what they hold and it may hold."""
    groups: dict[str, list[str]] = {}
    for scope in sorted(visit.principal.permissions & may_hold(kind)):
        groups.setdefault(scope.partition(".")[0], []).append(scope)
    return tuple(ScopeGroup(noun, tuple(scopes)) for noun, scopes in groups.items())


@page(Permission.TOKENS_READ)
def mint(visit: Visit) -> HttpResponse:
    """Mint a token for an agent."""
    return _mint(visit, TokenKind.AGENT)


@page(None)
def mint_own(visit: Visit) -> HttpResponse:
    """Mint a personal token for oneself."""
    return _mint(visit, TokenKind.USER)


def _mint(visit: Visit, kind: TokenKind) -> HttpResponse:
    if visit.request.method != "POST":
        return _form(visit, kind, None)
    told = do(
        visit,
        route=f"tokens/mint/{kind}",
        subject=visit.user.pk,
        fields={name: visit.request.POST.getlist(name) for name in _FIELDS},
        work=lambda stepped, ticket: _minted(stepped, kind, ticket),
    )
    return _answer(visit, told) if told.is_done else _form(visit, kind, Answered("mint", told))


_FIELDS = ("label", "agent", "scopes", "days", "rate", "networks")


def _minted(visit: Visit, kind: TokenKind, ticket: Ticket) -> Told:
    minted = operations.mint(
        principal=visit.principal,
        wishes=_wishes(visit, kind),
        now=visit.now,
        ticket=ticket,
        render=lambda token: {"sentence": MINTED},
    )
    return told_of(minted)


def told_of(minted: MintedToken) -> Told:
    """Return the first answer; the repeat of it knows only the sentence."""
    return Told(MINTED, object_id=minted.token.pk, secret=minted.text)


def _wishes(visit: Visit, kind: TokenKind) -> TokenWishes:
    networks = text(visit, "networks").replace(",", " ").split()
    return TokenWishes(
        label=text(visit, "label"),
        kind=kind,
        agent_id=_agent(visit) if kind is TokenKind.AGENT else None,
        scopes=tuple(visit.request.POST.getlist("scopes")),
        expires_in_days=number(visit, "days", "/expires_in_days", DEFAULT_DAYS[kind]),
        rate_per_minute=number(visit, "rate", "/rate_per_minute", DEFAULT_RATE),
        allowed_networks=tuple(networks),
    )


def _agent(visit: Visit) -> str:
    chosen = text(visit, "agent")
    if not chosen:
        raise invalid("/agent", "required", "Choose an agent.")
    return chosen


def _form(visit: Visit, kind: TokenKind, answered: Answered | None) -> HttpResponse:
    own = kind is TokenKind.USER
    offered = offer(visit, None if own else Permission.TOKENS_MINT, fresh=True)
    groups = offered_scopes(visit, kind)
    held = {scope for group in groups for scope in group.scopes}
    wanted = visit.request.GET.get("agent", "")
    return show(
        visit,
        "console/mint.html",
        {
            "title": "New personal token" if own else "New token for an agent",
            "is_own": own,
            "form": form_of(visit, "mint", offered, answered),
            "groups": groups,
            "presets": _presets(own, held),
            "agents": [] if own else [(row.pk, f"{row.name} ({row.workspace})") for row in _agents(visit)],
            "wanted": wanted,
            "days": DEFAULT_DAYS[kind],
            "most_hint": f"1 to {LONGEST_DAYS[kind]}.",
            "rate": DEFAULT_RATE,
        },
        status=answered.told.status if answered else 200,
    )


def _presets(own: bool, held: set[str]) -> list[tuple[str, str, str]]:
    """The groups whose every scope this person could give; a group is expanded when the token is minted."""
    names = [name for name, scopes in GROUPS.items() if not own and set(scopes) <= held]
    return [(name, *GROUP_WORDS[name]) for name in (*names, READONLY)]


def _agents(visit: Visit) -> list[Agent]:
    rows = Agent.objects.select_related("workspace").exclude(state=AgentState.ARCHIVED)
    if visit.reach is not None:
        rows = rows.filter(workspace_id=visit.reach)
    return list(rows.order_by("name", "pk")[:MOST_AGENTS])


@verb(Permission.TOKENS_MINT, sees=None)
def rotate(visit: Visit, token_id: str) -> HttpResponse:
    """Mint the successor of a token; the old one works a little longer."""
    token, overlap = require_token(visit.principal, token_id), text(visit, "overlap")

    def work(stepped: Visit, ticket: Ticket) -> Told:
        return told_of(
            operations.rotate(
                principal=stepped.principal,
                token_id=token.pk,
                overlap_seconds=number(stepped, "overlap", "/overlap_seconds", DEFAULT_OVERLAP_SECONDS),
                now=stepped.now,
                ticket=ticket,
                render=lambda made: {"sentence": MINTED},
            )
        )

    told = do(
        visit, route=f"tokens/{token.pk}/rotate", subject=token.pk, fields={"overlap": overlap}, work=work
    )
    return _answer(visit, told) if told.is_done else shown(visit, token_id, Answered("rotate", told))


def _answer(visit: Visit, told: Told) -> HttpResponse:
    """The reveal to the post that made the token; a repeat of that post is led to the token's page."""
    if not told.secret or told.object_id is None:
        notify(visit, told)
        return (
            redirect("admin:token", token_id=told.object_id)
            if told.object_id
            else redirect("admin:my_tokens")
        )
    token: ApiToken = require_token(visit.principal, told.object_id)
    holder = str(token.principal_agent or token.principal_user or "")
    return reveal(
        visit,
        Secret(
            title="Copy this token now",
            lead="It is shown this once. Only a digest of it is kept, so nobody can show it again.",
            text=told.secret,
            label=f"Token {token.label} of {holder}",
            back=f"/admin/tokens/{token.pk}/",
            back_word="I have copied it",
        ),
    )
