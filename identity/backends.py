"""Django's authentication backend: a password proves a person, the matrix answers `has_perm`."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.hashers import check_password, make_password
from django.http import HttpRequest
from django.utils import timezone

from identity.models import User
from identity.roles import Permission
from identity.selectors import holders, user_by_name

_BY_CODENAME = {f"identity.{permission.codename}": permission for permission in Permission}


class MatrixBackend(BaseBackend):
    """No superuser, no groups, no permissions assigned by hand."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **credentials: Any,
    ) -> User | None:
        """Return the active person with this name and password.

        One password hash is computed whether the name exists or not, so time tells nothing.
        """
        if username is None or password is None:
            return None
        user = user_by_name(username)
        if user is None or not user.has_usable_password():
            make_password(password)
            return None
        return user if _is_password_of(user, password) and _may_log_in(user) else None

    def get_user(self, user_id: str) -> User | None:
        """Return the person of a session while they may log in."""
        user = User.objects.filter(pk=user_id).first()
        return user if user is not None and _may_log_in(user) else None

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        """Answer `identity.<noun>_<verb>`: does this person hold it in any workspace now?"""
        permission = _BY_CODENAME.get(perm)
        if permission is None or not isinstance(user_obj, User):
            return False
        return user_obj.pk in holders(permission, timezone.now())


def _is_password_of(user: User, password: str) -> bool:
    """Tell whether it is, and renew an outdated hash where it still stands.

    Hashing is slow: a password that was replaced or taken away meanwhile must not come back by it.
    """

    def renew(right: str) -> None:
        renewed = make_password(right)
        if User.objects.filter(pk=user.pk, password=user.password).update(password=renewed):
            user.password = renewed

    return check_password(password, user.password, renew)


def _may_log_in(user: User) -> bool:
    return user.is_active and user.can_log_in
