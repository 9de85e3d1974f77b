"""Bearer authentication: DRF's hook around identity's one reader of credentials."""

from __future__ import annotations

from datetime import datetime

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from governance.api import admission
from governance.api.misplaced import misplaced_tokens
from governance.operations import tokens
from identity import authentication
from identity.authentication import Authenticated, RejectedCredentialError, Rejection, authenticate
from identity.flags import require_tokens_allowed
from identity.types import Principal
from kernel.clock import utc_now
from kernel.errors import AuthenticationError


class BearerAuthentication(BaseAuthentication):
    """Put the `Principal` of the token into `request.user` and `Authenticated` into `request.auth`.

    A session cookie is never looked at, so no page can forge an API call from a browser. Failures are
    counted against the address, what gets in against the limit of the token.
    """

    def authenticate(self, request: Request) -> tuple[Principal, Authenticated]:
        now = utc_now()
        try:
            found = _authenticated(request, now)
        except RejectedCredentialError as refusal:
            admission.refuse(refusal, client_ip=client_ip_of(request), now=now)
        admission.admit(request._request, found, now)
        return found.principal, found

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="palyra"'


def caller(request: Request) -> Principal:
    """Return who sent an authenticated request; AuthenticationError for anybody else."""
    principal: object = request.user
    if not isinstance(principal, Principal):
        raise AuthenticationError
    return principal


def credential(request: Request) -> Authenticated:
    """Return what is known of the token of an authenticated request; AuthenticationError without one."""
    found: object = request.auth
    if not isinstance(found, Authenticated):
        raise AuthenticationError
    return found


def require_live(request: Request) -> None:
    """Raise the one refusal when the token of a long request ended meanwhile."""
    authentication.require_live(credential(request), now=utc_now())


def caller_now(request: Request) -> Principal:
    """Return who sent a long request with what they hold by now; the one refusal if they are gone."""
    again = authentication.authenticate_again(credential(request), now=utc_now())
    require_tokens_allowed(again.principal, again.kind)
    return again.principal


def client_ip_of(request: Request) -> str:
    """Return the address of the client, as the proxies in force say it is."""
    return str(getattr(request, "palyra_client_ip", ""))


def _authenticated(request: Request, now: datetime) -> Authenticated:
    _refuse_misplaced(request, now)
    return authenticate(
        authorization=authorization_values(request),
        client_ip=client_ip_of(request),
        request_id=getattr(request, "palyra_request_id", ""),
        now=now,
    )


def _refuse_misplaced(request: Request, now: datetime) -> None:
    """A token in a query or body is refused and its owner is told, whatever the header holds."""
    found = misplaced_tokens(request)
    if found is None:
        return
    tokens.note_exposure(texts=found.texts, place=found.place, client_ip=client_ip_of(request), now=now)
    raise RejectedCredentialError(Rejection.MALFORMED)


def authorization_values(request: Request) -> tuple[str, ...]:
    """Return every Authorization value sent; a repeated header arrives joined by a comma."""
    value = request.META.get("HTTP_AUTHORIZATION")
    return () if value is None else tuple(part.strip() for part in value.split(","))


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # untyped base hook
    """How the scheme appears in OpenAPI."""

    target_class = BearerAuthentication
    name = "bearer"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "plr_<kind>_<lookup>_<secret>"}
