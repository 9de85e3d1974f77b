"""Bearer authentication: DRF's hook around identity's one reader of credentials."""

from __future__ import annotations

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from identity.authentication import RejectedCredentialError, Rejection, principal_of
from identity.types import Principal
from kernel.clock import utc_now
from kernel.errors import AuthenticationError


class BearerAuthentication(BaseAuthentication):
    """Put the `Principal` of the token into `request.user` and its id into `request.auth`.

    A session cookie is never looked at, so no page can forge an API call from a browser.
    """

    def authenticate(self, request: Request) -> tuple[Principal, str]:
        if "token" in request.query_params or "access_token" in request.query_params:
            raise RejectedCredentialError(Rejection.MALFORMED)
        principal = principal_of(
            authorization=authorization_values(request),
            client_ip=getattr(request, "palyra_client_ip", ""),
            request_id=getattr(request, "palyra_request_id", ""),
            now=utc_now(),
        )
        return principal, principal.token_id or ""

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="palyra"'


def caller(request: Request) -> Principal:
    """Return who sent an authenticated request; AuthenticationError for anybody else."""
    principal: object = request.user
    if not isinstance(principal, Principal):
        raise AuthenticationError
    return principal


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
