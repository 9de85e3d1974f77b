"""Step-up of a personal token: a one-time code counts for five minutes, from one network."""

from __future__ import annotations

from datetime import datetime, timedelta

from identity.authorization import FRESH_CODE_SECONDS
from identity.models import ApiToken, TokenElevation, User
from identity.networks import UNKNOWN_NETWORK, network_of
from identity.token_selectors import is_usable
from identity.tokens import TokenKind
from identity.types import Principal, PrincipalKind
from kernel.errors import AuthenticationError, RefusedError


def require_elevatable(principal: Principal) -> None:
    """Raise RefusedError unless a person calls with a personal token from a known network."""
    personal = ApiToken.objects.filter(pk=principal.token_id, kind=TokenKind.USER).exists()
    if principal.kind is not PrincipalKind.USER or not personal:
        raise RefusedError("role_required", "Only a personal token can be stepped up.")
    if network_of(principal.client_ip) == UNKNOWN_NETWORK:
        raise RefusedError("role_required", "The address of the caller is not known.")


def elevate_token(*, principal: Principal, now: datetime) -> TokenElevation:
    """Let the code that was verified at `now` count for this token, from this network, for five minutes.

    It ends early with the token's rotation or revocation and with a change of the owner's roles.
    AuthenticationError for a token that ended meanwhile.
    """
    token = ApiToken.objects.select_for_update().filter(pk=principal.token_id).first()
    if token is None or not is_usable(token, now):
        raise AuthenticationError
    epoch = User.objects.values_list("authority_epoch", flat=True).get(pk=principal.id)
    elevation, _ = TokenElevation.objects.update_or_create(
        token=token,
        defaults={
            "network": network_of(principal.client_ip),
            "authority_epoch": epoch,
            "at": now,
            "expires_at": now + timedelta(seconds=FRESH_CODE_SECONDS),
        },
    )
    return elevation
