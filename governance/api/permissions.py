"""Every view names its permission; a view without one refuses everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from identity.roles import Permission
from identity.types import Principal
from kernel.errors import AuthenticationError, RefusedError

if TYPE_CHECKING:
    from rest_framework.views import APIView


class HoldsPermission(BasePermission):
    """Early refusal by scope; the services check again under their lock."""

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
        if permission is None or permission in principal.permissions:
            return True
        raise RefusedError("insufficient_scope", f"This credential does not hold {permission.value}.")
