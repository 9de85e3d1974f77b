"""`authenticate`: the only reader of bearer credentials.

Every refusal looks the same to the caller: one status, one code, one body. The inner reason is an
attribute of the error for the journal and the counters.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from identity.models import ApiToken, TokenElevation, User
from identity.networks import UNKNOWN_NETWORK, is_within, network_of, parse_networks
from identity.selectors import (
    agent_is_live,
    has_factor,
    principal_of_agent,
    principal_of_service,
    principal_of_user,
)
from identity.token_selectors import ends_at
from identity.tokens import TokenKind, parse_token, token_digest
from identity.types import AuthStrength, Principal
from kernel.errors import AuthenticationError

LONGEST_HEADER = 512
_DUMMY_DIGEST = token_digest("no such token")


class Rejection(StrEnum):
    """Why a credential was refused. Journal and counters only, never the caller."""

    MISSING = "missing"
    MALFORMED = "malformed"
    UNKNOWN = "unknown"
    DIGEST = "digest"
    REVOKED = "revoked"
    EXPIRED = "expired"
    PRINCIPAL_INACTIVE = "principal_inactive"
    NETWORK = "network"
    DEVICE_BINDING = "device_binding"


class RejectedCredentialError(AuthenticationError):
    """401 `unauthenticated`, equal for every cause. `token_id` is set when a token was recognised."""

    def __init__(self, reason: Rejection, token_id: str | None = None) -> None:
        self.reason = reason
        self.token_id = token_id
        super().__init__("unauthenticated", "A valid bearer token is required.")


@dataclass(frozen=True, slots=True)
class Authenticated:
    """Who holds a credential, and what limits and answers need to know of the token.

    `family` and `rate_per_minute` belong to the rate limit. `overlap_ends_at` and `rotated_at` are set
    for a token that was rotated and still works. `last_used_at` is as it stood before this request.
    """

    principal: Principal
    token_id: str
    kind: TokenKind
    family: str
    rate_per_minute: int
    overlap_ends_at: datetime | None
    rotated_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a request comes from, beside its credential."""

    client_ip: str
    request_id: str
    device_id: str | None


def authenticate(
    *,
    authorization: Sequence[str],
    client_ip: str,
    request_id: str,
    now: datetime,
    device_id: str | None = None,
) -> Authenticated:
    """Return who holds this credential, or raise RejectedCredentialError.

    `authorization` are all values of the `Authorization` header as received, `device_id` the device
    whose certificate came with the request. Checks in this order: form, lookup, digest, revocation,
    expiry, principal in use, network, device.
    """
    token = _genuine(_bearer_text(authorization))
    return _admitted(token, _Origin(client_ip, request_id, device_id), now)


def authenticate_again(earlier: Authenticated, *, now: datetime) -> Authenticated:
    """Ask everything but the secret anew, for a request that takes long; RejectedCredentialError if it ended.

    The principal in the answer holds what it holds at `now`.
    """
    token = _found(earlier.kind, pk=earlier.token_id)
    if token is None:
        raise RejectedCredentialError(Rejection.UNKNOWN, earlier.token_id)
    who = earlier.principal
    return _admitted(token, _Origin(who.client_ip, who.request_id, who.device_id), now)


def require_live(found: Authenticated, *, now: datetime) -> None:
    """Raise RejectedCredentialError when token, principal or workspace ended meanwhile. One query."""
    token = _found(found.kind, pk=found.token_id)
    if token is None:
        raise RejectedCredentialError(Rejection.UNKNOWN, found.token_id)
    _require_usable(token, now)


def principal_of(
    *, authorization: Sequence[str], client_ip: str, request_id: str, now: datetime
) -> Principal:
    """As `authenticate`, returning the principal alone."""
    return authenticate(
        authorization=authorization, client_ip=client_ip, request_id=request_id, now=now
    ).principal


def genuine_tokens(texts: Sequence[str]) -> list[ApiToken]:
    """Return the rows whose very text is among `texts`, whatever their state, in the order of their ids."""
    digests = {parts.lookup: token_digest(text) for text in texts if (parts := parse_token(text)) is not None}
    rows = ApiToken.objects.filter(lookup__in=digests).order_by("pk")
    return [row for row in rows if hmac.compare_digest(bytes(row.digest), digests[row.lookup])]


def _bearer_text(values: Sequence[str]) -> str:
    if not values:
        raise RejectedCredentialError(Rejection.MISSING)
    if len(values) > 1 or len(values[0]) > LONGEST_HEADER or "\0" in values[0]:
        raise RejectedCredentialError(Rejection.MALFORMED)
    scheme, _, text = values[0].partition(" ")
    if scheme.lower() != "bearer":
        raise RejectedCredentialError(Rejection.MALFORMED)
    return text.strip(" ")


def _genuine(text: str) -> ApiToken:
    parts = parse_token(text)
    if parts is None:
        raise RejectedCredentialError(Rejection.MALFORMED)
    token = _found(parts.kind, lookup=parts.lookup)
    stored = _DUMMY_DIGEST if token is None else bytes(token.digest)
    same = hmac.compare_digest(stored, token_digest(text))
    if token is None:
        raise RejectedCredentialError(Rejection.UNKNOWN)
    if not same or token.kind != parts.kind:
        raise RejectedCredentialError(Rejection.DIGEST, token.pk)
    return token


_OF_AGENTS = ("workspace", "principal_agent__owner")
_OF_PEOPLE = ("workspace", "principal_user", "elevation")


def _found(kind: TokenKind, **unique: str) -> ApiToken | None:
    """Return the row with what a token of this kind is judged by, in one query.

    The kind decides what is joined, because a database plans few joins faster than many. A row of
    another kind is refused before anybody looks at more of it.
    """
    related = _OF_AGENTS if kind is TokenKind.AGENT else _OF_PEOPLE
    token = next(iter(ApiToken.objects.select_related(*related).filter(**unique)), None)
    agent = token.principal_agent if token is not None and kind is TokenKind.AGENT else None
    if token is not None and agent is not None and agent.workspace_id == token.workspace_id:
        agent.workspace = token.workspace
    return token


def _require_usable(token: ApiToken, now: datetime) -> None:
    if token.revoked_at is not None:
        raise RejectedCredentialError(Rejection.REVOKED, token.pk)
    if ends_at(token) <= now:
        raise RejectedCredentialError(Rejection.EXPIRED, token.pk)
    if not _in_use(token):
        raise RejectedCredentialError(Rejection.PRINCIPAL_INACTIVE, token.pk)


def _in_use(token: ApiToken) -> bool:
    """Tell whether the workspace and whom the token stands for are in use."""
    agent, user = token.principal_agent, token.principal_user
    if token.workspace.archived_at is not None:
        return False
    if agent is not None:
        return token.kind == TokenKind.AGENT and agent_is_live(agent)
    return user is not None and user.is_active and token.kind != TokenKind.AGENT


def _admitted(token: ApiToken, origin: _Origin, now: datetime) -> Authenticated:
    _require_usable(token, now)
    if not _may_come_from(token, origin.client_ip):
        raise RejectedCredentialError(Rejection.NETWORK, token.pk)
    if token.bound_device is not None and token.bound_device != origin.device_id:
        raise RejectedCredentialError(Rejection.DEVICE_BINDING, token.pk)
    rotated = token.overlap_ends_at is not None
    return Authenticated(
        principal=_principal(token, origin, now),
        token_id=token.pk,
        kind=TokenKind(token.kind),
        family=token.family,
        rate_per_minute=token.rate_per_minute,
        overlap_ends_at=token.overlap_ends_at,
        rotated_at=token.successor.created_at if rotated else None,
        last_used_at=token.last_used_at,
    )


def _may_come_from(token: ApiToken, address: str) -> bool:
    """An empty list is no restriction; one that cannot be read lets nobody in."""
    if token.allowed_networks == []:
        return True
    try:
        return is_within(address, parse_networks(token.allowed_networks))
    except (ValueError, TypeError, AttributeError):
        return False


def _principal(token: ApiToken, origin: _Origin, now: datetime) -> Principal:
    agent, user = token.principal_agent, token.principal_user
    if agent is not None:
        return principal_of_agent(
            agent=agent, token=token, client_ip=origin.client_ip, request_id=origin.request_id, now=now
        )
    if user is not None and token.kind in (TokenKind.USER, TokenKind.ADMIN):
        return _person(token, user, origin, now)
    if user is not None and token.kind == TokenKind.SERVICE:
        return principal_of_service(
            token=token, client_ip=origin.client_ip, request_id=origin.request_id, now=now
        )
    raise RejectedCredentialError(Rejection.PRINCIPAL_INACTIVE, token.pk)


def _person(token: ApiToken, user: User, origin: _Origin, now: datetime) -> Principal:
    strength, proved_at = _strength(token, user, origin.client_ip, now)
    return principal_of_user(
        user=user,
        workspace_id=token.workspace_id,
        strength=strength,
        client_ip=origin.client_ip,
        request_id=origin.request_id,
        authenticated_at=proved_at,
        now=now,
        token=token,
    )


def _strength(token: ApiToken, user: User, client_ip: str, now: datetime) -> tuple[AuthStrength, datetime]:
    """A person's token was minted behind a second factor and stands for that login while both exist."""
    if not has_factor(user.pk):
        return AuthStrength.TOKEN, now
    elevation: TokenElevation | None = getattr(token, "elevation", None)
    if elevation is not None and _counts(elevation, token, user, client_ip, now):
        return AuthStrength.FRESH_MFA, elevation.at
    return AuthStrength.MFA, now


def _counts(elevation: TokenElevation, token: ApiToken, user: User, client_ip: str, now: datetime) -> bool:
    """A code counts from where it was entered and until the roles of its owner change."""
    network = network_of(client_ip)
    return (
        token.kind == TokenKind.USER
        and elevation.at <= now < elevation.expires_at
        and network != UNKNOWN_NETWORK
        and elevation.network == network
        and elevation.authority_epoch == user.authority_epoch
    )
