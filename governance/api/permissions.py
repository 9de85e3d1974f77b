"""Every view names its permission; a view without one refuses everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from governance.authority import require_permission
from identity.roles import Permission
from identity.types import Principal
from kernel.clock import utc_now
from kernel.errors import AuthenticationError

if TYPE_CHECKING:
    from rest_framework.views import APIView


class HoldsPermission(BasePermission):
    """Early refusal by the one matrix; the services check again under their lock."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        principal: object = request.user
        if not isinstance(principal, Principal):
            raise AuthenticationError
        method = request.method or ""
        needed: dict[str, Permission | None] = getattr(view, "permissions", {})
        if method in ("OPTIONS", "HEAD"):
            method = "GET" if "GET" in needed else next(iter(needed), "")
        if method not in needed:
            return method not in view.allowed_methods
        permission = needed[method]
        if permission is not None:
            require_permission(principal, permission, principal.workspace_id, utc_now())
        return True
