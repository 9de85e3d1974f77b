"""Every view names its permission; a view without one refuses everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from governance.authority import require_permission
from identity.authentication import Authenticated
from identity.flags import require_tokens_allowed
from identity.reach import require_workspace
from identity.roles import Permission
from identity.types import Principal
from kernel.clock import utc_now
from kernel.errors import AuthenticationError
from kernel.ids import require_id

if TYPE_CHECKING:
    from rest_framework.views import APIView


class HoldsPermission(BasePermission):
    """Early refusal by the one matrix; the services check again under their lock."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        principal: object = request.user
        if not isinstance(principal, Principal):
            raise AuthenticationError
        _require_bearer_allowed(request, principal)
        method = request.method or ""
        needed: dict[str, Permission | None] = getattr(view, "permissions", {})
        if method in ("OPTIONS", "HEAD"):
            method = "GET" if "GET" in needed else next(iter(needed), "")
        if method not in needed:
            return method not in view.allowed_methods
        permission = needed[method]
        if permission is not None:
            require_permission(principal, permission, _place(principal, view), utc_now())
        return True


def _place(principal: Principal, view: APIView) -> str:
    """The workspace that a path names, else the principal's own. One out of reach answers as unknown."""
    named = view.kwargs.get("workspace_id")
    if named is None:
        return principal.workspace_id
    return require_workspace(principal, require_id("wsp", named)).pk


def _require_bearer_allowed(request: Request, principal: Principal) -> None:
    """The feature `api_tokens` is asked for here, after the rate limit and before any scope."""
    credential: object = request.auth
    if isinstance(credential, Authenticated):
        require_tokens_allowed(principal, credential.kind)
