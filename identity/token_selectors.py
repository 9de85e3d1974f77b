"""What identity answers about tokens. Reads only."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from django.db.models import Q, QuerySet

from identity.models import ApiToken
from identity.roles import Permission, permissions_of
from identity.types import Principal, PrincipalKind
from kernel.errors import NotFoundError

TokenState = Literal["active", "overlapping", "expired", "revoked"]
STATES: tuple[TokenState, ...] = ("active", "overlapping", "expired", "revoked")


def visible_tokens(principal: Principal) -> QuerySet[ApiToken]:
    """Return the tokens a person may know of: their own, and with `tokens.read` those of the workspace.

    Roles in `instance` see every workspace. An agent or service sees none.
    """
    tokens = ApiToken.objects.select_related("principal_user", "principal_agent", "workspace")
    if principal.kind is not PrincipalKind.USER or not principal.active:
        return tokens.none()
    if Permission.TOKENS_READ not in principal.permissions:
        return tokens.filter(principal_user_id=principal.id)
    if Permission.TOKENS_READ in permissions_of(principal.instance_roles, in_instance=True):
        return tokens
    return tokens.filter(Q(principal_user_id=principal.id) | Q(workspace_id=principal.workspace_id))


def require_token(principal: Principal, token_id: str) -> ApiToken:
    """Return a visible token, or raise NotFoundError; a foreign id answers like an unknown one."""
    token = visible_tokens(principal).filter(pk=token_id).first()
    if token is None:
        raise NotFoundError("not_found", "There is no such token.")
    return token


def ends_at(token: ApiToken) -> datetime:
    """Return when a token stops working by itself: at its expiry or with the overlap of its rotation."""
    if token.overlap_ends_at is None:
        return token.expires_at
    return min(token.expires_at, token.overlap_ends_at)


def token_state(token: ApiToken, now: datetime) -> TokenState:
    """Return how a token stands at `now`. A rotated one counts as expired once its overlap is over."""
    if token.revoked_at is not None:
        return "revoked"
    if ends_at(token) <= now:
        return "expired"
    return "active" if token.overlap_ends_at is None else "overlapping"


def in_states(states: Iterable[str], now: datetime) -> Q:
    """Return the WHERE clause of what `token_state` answers at `now`."""
    ended = Q(expires_at__lte=now) | Q(overlap_ends_at__lte=now)
    clauses = {
        "revoked": Q(revoked_at__isnull=False),
        "expired": Q(revoked_at__isnull=True) & ended,
        "overlapping": Q(revoked_at__isnull=True, overlap_ends_at__gt=now, expires_at__gt=now),
        "active": Q(revoked_at__isnull=True, overlap_ends_at__isnull=True, expires_at__gt=now),
    }
    wanted = Q(pk__in=())
    for state in states:
        wanted |= clauses[state]
    return wanted


def is_usable(token: ApiToken, now: datetime) -> bool:
    """Tell whether a token opens anything at `now`, as far as its own row says."""
    return token.revoked_at is None and now < ends_at(token)


def working_token(token_id: str, now: datetime) -> ApiToken | None:
    """Return the token whose scopes bound what `token_id` began, or None when nothing of it may go on.

    What a token began outlives its rotation and goes on under the last token of its line. It does not
    outlive its revocation, even where a successor is in use.
    """
    token = ApiToken.objects.filter(pk=token_id).first()
    if token is None or token.revoked_at is not None:
        return None
    if is_usable(token, now):
        return token
    if token.overlap_ends_at is None:
        return None
    heir = ApiToken.objects.filter(family=token.family, successor__isnull=True).first()
    return heir if heir is not None and is_usable(heir, now) else None
