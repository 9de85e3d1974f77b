"""Verbs on bearer tokens. Each is one transaction with its events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from django.db import transaction

from governance import authority, idempotency
from governance.authority import needs
from governance.idempotency import Ticket
from governance.journal.ledger import record
from governance.operations.signing_in import step_up
from identity import elevation, minting, revocation, token_use
from identity.authentication import Authenticated
from identity.authorization import strength_of
from identity.minting import MintedToken, TokenWishes
from identity.models import ApiToken
from identity.roles import Permission
from identity.selectors import DEFAULT, user_by_name, workspace_by_slug
from identity.token_rules import DEFAULT_OVERLAP_SECONDS, LOOPBACK, MOST_REPORTED
from identity.token_selectors import require_token
from identity.tokens import TokenKind
from identity.types import AuthStrength, Principal
from kernel.errors import AuthenticationError, InvalidError, NotFoundError
from kernel.record import system_actor
from policy.types import EntityRef

MOST_EXPOSED = 8
Render = Callable[[ApiToken], object]


@needs(Permission.TOKENS_MINT)
def mint(
    *,
    principal: Principal,
    wishes: TokenWishes,
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> MintedToken:
    """Mint a token for oneself or for an agent; its text is in this answer and nowhere else.

    `render` makes what a replay of the ticket is answered with, so it knows nothing of the text.
    `tokens.mint` is asked for every kind but one's own `usr`. Raises as `minting.mint_wished`.
    """
    with transaction.atomic(durable=True):
        minted = minting.mint_wished(wishes=wishes, minter=principal, now=now, record=record)
        _require_policy(principal, minted.token, now)
        _store(ticket, render, minted.token, status=201)
    return minted


@needs(Permission.TOKENS_MINT)
def rotate(
    *,
    principal: Principal,
    token_id: str,
    overlap_seconds: int = DEFAULT_OVERLAP_SECONDS,
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> MintedToken:
    """Mint the successor of a token; the old one works for `overlap_seconds` more. Asks what `mint` asks.

    Raises ConflictError `already_rotated` or `state_changed`, NotFoundError, and as `mint`.
    """
    with transaction.atomic(durable=True):
        minted = minting.rotate_token(
            token_id=token_id, overlap_seconds=overlap_seconds, minter=principal, now=now, record=record
        )
        _require_policy(principal, minted.token, now)
        _store(ticket, render, minted.token, status=201)
    return minted


@needs(Permission.API_TOKENS_MANAGE)
def revoke(
    *,
    principal: Principal,
    token_id: str,
    reason: str,
    now: datetime,
    ticket: Ticket | None = None,
    render: Render | None = None,
) -> ApiToken:
    """End a token for the very next request; ending it again answers the first result.

    One's own needs a login by second factor, anybody else's `api_tokens.manage` in its workspace.
    Works while the feature `api_tokens` is off. NotFoundError for a token out of sight.
    """
    with transaction.atomic(durable=True):
        token = require_token(principal, token_id)
        if token.principal_user_id != principal.id:
            authority.require_verb(
                principal,
                Permission.API_TOKENS_MANAGE,
                token.workspace_id,
                now,
                resource=EntityRef("Token", token.pk),
            )
        elif strength_of(principal, now) < AuthStrength.MFA:
            raise AuthenticationError("step_up_required", "Revoking a token needs a one-time code.")
        token = revocation.revoke_token(
            token_id=token_id, reason=reason, actor=principal.actor(), now=now, record=record
        )
        _store(ticket, render, token, status=200)
    return token


@needs(None)
def report_leaked(*, texts: Sequence[str], client_ip: str, now: datetime) -> int:
    """Revoke every token whose text somebody found; return how many of them still worked.

    Possession is the proof. InvalidError for more than 100 texts. The caller counts reports for each
    `client_ip` before it comes here.
    """
    if len(texts) > MOST_REPORTED:
        raise InvalidError("invalid", f"At most {MOST_REPORTED} tokens in one report.")
    with transaction.atomic(durable=True):
        return revocation.revoke_leaked(texts=texts, actor=system_actor("api"), now=now, record=record)


@needs(None)
def elevate(*, principal: Principal, code: str, now: datetime, ticket: Ticket | None = None) -> None:
    """Let a one-time code count for five minutes for the personal token that calls, from its network.

    AuthenticationError `step_up_required` for a wrong code, RefusedError for any other credential.
    """
    elevation.require_elevatable(principal)
    step_up(principal=principal, code=code, now=now)
    with transaction.atomic(durable=True):
        elevation.elevate_token(principal=principal, now=now)
        idempotency.store(ticket, status=204, body={}, object_id=principal.token_id)


@needs(None)
def mint_admin(
    *,
    username: str,
    scopes: Sequence[str],
    days: int | None,
    allowed_networks: Sequence[str] = LOOPBACK,
    now: datetime,
) -> MintedToken:
    """Mint a token of kind `adm` for a person who may log in; whoever holds the machine asks for it."""
    with transaction.atomic(durable=True):
        user = user_by_name(username)
        if user is None or not user.is_active or not user.can_log_in:
            raise NotFoundError("not_found", "There is no such person who may log in.")
        return minting.mint_admin_token(
            user=user,
            workspace=workspace_by_slug(DEFAULT),
            scopes=scopes,
            days=days,
            allowed_networks=allowed_networks,
            actor=system_actor("shell"),
            now=now,
            record=record,
        )


@needs(None)
def note_use(*, used: Authenticated, now: datetime) -> None:
    """Note that a token was used, at most once a minute."""
    if token_use.is_due(used, now):
        with transaction.atomic(durable=True):
            token_use.note_use(used=used, now=now)


@needs(None)
def note_exposure(*, texts: Sequence[str], place: str, client_ip: str, now: datetime) -> None:
    """Flag tokens whose text came in a `query` or a `body`, for their owners to see.

    Nothing is locked or written for texts that are no token's, whoever sends them.
    """
    if not token_use.has_unflagged(texts[:MOST_EXPOSED]):
        return
    with transaction.atomic(durable=True):
        token_use.note_exposure(
            texts=texts[:MOST_EXPOSED],
            place=place,
            client_ip=client_ip,
            actor=system_actor("api"),
            now=now,
            record=record,
        )


def _require_policy(principal: Principal, token: ApiToken, now: datetime) -> None:
    """Ask Cedar about a token that is minted for somebody else than its minter; refusing undoes it."""
    if token.kind != TokenKind.USER:
        resource = EntityRef("Token", token.pk)
        authority.require_policy(principal, Permission.TOKENS_MINT, resource, token.workspace_id, now)


def _store(ticket: Ticket | None, render: Render | None, token: ApiToken, *, status: int) -> None:
    if render is not None:
        idempotency.store(ticket, status=status, body=render(token), object_id=token.pk)
