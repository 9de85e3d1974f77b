"""`principal_of`: the only reader of bearer credentials.

Every refusal looks the same to the caller: one status, one code, one body. The inner reason is an
attribute of the error for the journal and the counters.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from identity.access import safe_permissions
from identity.flags import registry
from identity.models import ApiToken, User
from identity.roles import AGENT_PERMISSIBLE, narrowed
from identity.selectors import (
    has_factor,
    permissions_at,
    principal_of_agent,
    principal_of_user,
    standings,
)
from identity.tokens import TokenKind, parse_token, token_digest
from identity.types import AuthStrength, Principal, PrincipalKind
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


class RejectedCredentialError(AuthenticationError):
    """401 `unauthenticated`, equal for every cause. `token_id` is set when a token was recognised."""

    def __init__(self, reason: Rejection, token_id: str | None = None) -> None:
        self.reason = reason
        self.token_id = token_id
        super().__init__("unauthenticated", "A valid bearer token is required.")


def principal_of(
    *, authorization: Sequence[str], client_ip: str, request_id: str, now: datetime
) -> Principal:
    """Return who holds this credential, or raise RejectedCredentialError.

    `authorization` are all values of the `Authorization` header as received. Checks in this order:
    form, lookup, digest, revocation, expiry, principal in use.
    """
    text = _bearer_text(authorization)
    token = _genuine(text, now)
    principal = _principal(token, client_ip=client_ip, request_id=request_id, now=now)
    if principal is None or not principal.active:
        raise RejectedCredentialError(Rejection.PRINCIPAL_INACTIVE, token.pk)
    return principal


def _bearer_text(values: Sequence[str]) -> str:
    if not values:
        raise RejectedCredentialError(Rejection.MISSING)
    if len(values) > 1 or len(values[0]) > LONGEST_HEADER or "\0" in values[0]:
        raise RejectedCredentialError(Rejection.MALFORMED)
    scheme, _, text = values[0].partition(" ")
    if scheme.lower() != "bearer":
        raise RejectedCredentialError(Rejection.MALFORMED)
    return text.strip(" ")


def _genuine(text: str, now: datetime) -> ApiToken:
    parts = parse_token(text)
    if parts is None:
        raise RejectedCredentialError(Rejection.MALFORMED)
    related = ApiToken.objects.select_related(
        "workspace", "principal_user", "principal_agent__owner", "principal_agent__workspace"
    )
    token = related.filter(lookup=parts.lookup).first()
    stored = _DUMMY_DIGEST if token is None else bytes(token.digest)
    same = hmac.compare_digest(stored, token_digest(text))
    if token is None:
        raise RejectedCredentialError(Rejection.UNKNOWN)
    if not same or token.kind != parts.kind:
        raise RejectedCredentialError(Rejection.DIGEST, token.pk)
    if token.revoked_at is not None:
        raise RejectedCredentialError(Rejection.REVOKED, token.pk)
    if token.expires_at <= now:
        raise RejectedCredentialError(Rejection.EXPIRED, token.pk)
    return token


def _principal(token: ApiToken, *, client_ip: str, request_id: str, now: datetime) -> Principal | None:
    if token.workspace.archived_at is not None:
        return None
    agent, user = token.principal_agent, token.principal_user
    if token.kind == TokenKind.AGENT and agent is not None:
        return principal_of_agent(
            agent=agent, token=token, client_ip=client_ip, request_id=request_id, now=now
        )
    if user is None or not user.is_active:
        return None
    if token.kind == TokenKind.USER:
        return principal_of_user(
            user=user,
            workspace_id=token.workspace_id,
            strength=_strength_of_user_token(user),
            client_ip=client_ip,
            request_id=request_id,
            authenticated_at=now,
            now=now,
            token=token,
        )
    if token.kind == TokenKind.SERVICE:
        return _service(token, user, client_ip, request_id, now)
    return None


def _strength_of_user_token(user: User) -> AuthStrength:
    """A personal token is minted behind a second factor and stands for that login while it exists."""
    return AuthStrength.MFA if has_factor(user.pk) else AuthStrength.TOKEN


def _service(token: ApiToken, user: User, client_ip: str, request_id: str, now: datetime) -> Principal:
    flags = registry()
    people = (user.pk, token.minted_by)
    found = standings(user_ids=people, workspace_id=token.workspace_id, now=now, flags=flags)
    own = found[user.pk]
    held = safe_permissions(flags, permissions_at(own) & AGENT_PERMISSIBLE)
    return Principal(
        kind=PrincipalKind.SERVICE,
        id=token.pk,
        owner_id=user.pk,
        workspace_id=token.workspace_id,
        roles=own.local | own.wide,
        permissions=narrowed(held, token.scopes),
        auth_strength=AuthStrength.TOKEN,
        client_ip=client_ip,
        request_id=request_id,
        authenticated_at=now,
        token_id=token.pk,
        vouching=found[token.minted_by],
        flags=flags,
    )
